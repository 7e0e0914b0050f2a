package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/inspect"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/proposal"
	"github.com/certlatch/certlatch/internal/report"
	"github.com/certlatch/certlatch/internal/sandbox"
)

// surveyLimit bounds the survey of a host. Services' own programs take seconds
// at most.
const surveyLimit = time.Minute

func (p *program) initCommand() *cli.Command {
	return &cli.Command{
		Name:  "init",
		Usage: "look at this host and write a first configuration",
		Description: "Looks for the certificates that ACME clients keep, and for what nginx, Kamailio,\n" +
			"OpenSIPS, Prosody, Asterisk, HAProxy, Postfix, Dovecot, coturn and ejabberd take theirs\n" +
			"from; brings the two together by names and paths, and writes a commented configuration.\n" +
			"Where there is one, shows the targets that lineages without any could have, and adds\n" +
			"them with --update, behind the last. Needs root.\n\n" +
			"Example: certlatch init --print\n\n" +
			"Exit codes: 0 done; 1 unexpected; 2 usage, or a configuration that is wrong or cannot be added to.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "print", Usage: "only show the configuration"},
			&cli.BoolFlag{Name: "update", Usage: "add targets to the configuration that is there, for lineages and services without one"},
			&cli.StringSliceFlag{Name: "lineages", Usage: "look there, in place of the usual places: `CLIENT:DIRECTORY`; may be repeated"},
		},
		Action: p.init,
	}
}

func (p *program) init(c *cli.Context) error {
	if err := checkArguments(c, 0, 0); err != nil {
		return err
	}
	path, err := filepath.Abs(c.String("config"))
	if err != nil {
		return fmt.Errorf("find out where the configuration goes: %w", err)
	}
	if info, err := os.Lstat(path); err == nil && !c.Bool("print") {
		if !info.Mode().IsRegular() || c.IsSet("lineages") {
			return refuseOverwrite(path)
		}
		return p.initAgain(c.Context, path, c.Bool("update"))
	}
	roots, err := parseRoots(c.StringSlice("lineages"))
	if err != nil {
		return err
	}
	proposed, err := p.survey(c.Context, roots)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := proposed.Write(&text); err != nil {
		return err
	}
	cfg, err := config.Parse(path, text.Bytes())
	if err != nil {
		return fmt.Errorf("what was found makes no configuration: %w", err)
	}
	if c.Bool("print") {
		tellBeside(p.stderr, cfg)
		_, err := p.stdout.Write(text.Bytes())
		return err
	}
	if err := writeConfiguration(path, text.Bytes(), proposed.Secret); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "wrote %s\n", path)
	if path == defaultConfig && len(sandbox.Usual().Installed()) > 0 {
		if err := p.writeDropIns(c.Context, cfg); err != nil {
			return err
		}
	}
	tellBeside(p.stdout, cfg)
	_, err = fmt.Fprint(p.stdout, report.NextSteps(proposed, withHooks(proposed.Roots)))
	return err
}

// initAgain shows the targets that are proposed for lineages which no target of the
// configuration takes, and for services that have no target, and adds them where it is to.
func (p *program) initAgain(ctx context.Context, path string, update bool) error {
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at configuration: %w", err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	proposed, err := p.survey(ctx, cfg.Roots)
	if err != nil {
		return err
	}
	hasService := func(name string) bool {
		return slices.ContainsFunc(cfg.Targets, func(t config.Target) bool { return t.Service == name })
	}
	proposed = proposed.Beyond(cfg.Demand().Takes, hasService, cfg.HasTarget)
	var entries string
	for _, t := range proposed.Targets {
		entry, err := t.Entry()
		if err != nil {
			return err
		}
		if !t.Idle { // those are to be decided upon first, and said below
			entries += entry
		}
	}
	if entries == "" {
		tellBeside(p.stdout, cfg)
		_, err := fmt.Fprintf(p.stdout, "%s stays as it is: there is no target to add\n%s", path, report.Undecided(proposed))
		return err
	}
	text, behind, err := config.Extend(path, before, entries)
	if err != nil {
		return &prepare.RequestError{What: err.Error(), Remedy: "certlatch init --print shows what would stand in a new one"}
	}
	after, err := config.Parse(path, text)
	if err != nil {
		return fmt.Errorf("what was found makes no configuration: %w", err)
	}
	if _, err := fmt.Fprint(p.stdout, report.Added(path, behind, entries)); err != nil || !update {
		tellBeside(p.stdout, after)
		fmt.Fprintln(p.stdout, "\ncertlatch init --update adds this")
		return err
	}
	if info.Sys().(*syscall.Stat_t).Gid != uint32(os.Getegid()) {
		return &prepare.RequestError{What: path + " belongs to another group, which a new file would not", Remedy: "write the lines into it by hand"}
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, before) {
		return &prepare.RequestError{What: path + " was changed meanwhile", Remedy: "call certlatch init --update again"}
	}
	if err := disk.Replace(path, text, info.Mode().Perm()); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	fmt.Fprintf(p.stdout, "\nadded to %s\n", path)
	if path == defaultConfig && len(sandbox.Usual().Installed()) > 0 {
		if err := p.writeDropIns(ctx, after); err != nil {
			return err
		}
	}
	tellBeside(p.stdout, after)
	_, err = fmt.Fprint(p.stdout, report.NextSteps(proposed, nil))
	return err
}

// withHooks returns the names of the clients that keep lineages in the roots
// and have hooks.
func withHooks(roots []lineage.Root) []string {
	var clients []string
	for _, root := range roots {
		if _, ok := hooks.For(root.Client); ok {
			clients = append(clients, root.Client)
		}
	}
	return clients
}

// parseRoots parses the values of --lineages; nil: there are none.
func parseRoots(given []string) ([]lineage.Root, error) {
	var roots []lineage.Root
	for _, text := range given {
		client, dir, _ := strings.Cut(text, ":")
		keeper, ok := hooks.KeeperFor(client)
		if !ok || !filepath.IsAbs(dir) {
			return nil, &usageError{fmt.Sprintf("%q is not CLIENT:DIRECTORY", text), "write it as certbot:/etc/letsencrypt/live"}
		}
		roots = append(roots, keeper.Root(filepath.Clean(dir)))
	}
	return roots, nil
}

// survey returns a proposal for this host.
func (p *program) survey(ctx context.Context, roots []lineage.Root) (proposal.Proposal, error) {
	ctx, cancel := context.WithTimeout(ctx, surveyLimit)
	defer cancel()
	site := prepare.Site{Config: &config.Config{Roots: roots}, World: p.world(), Log: p.log}
	host, err := inspect.Inspector{Site: site}.Survey(ctx)
	return proposal.Make(host), err
}

func refuseOverwrite(path string) error {
	return &prepare.RequestError{What: path + " exists, and is left as it is", Remedy: "certlatch init --print shows what would stand in a new one"}
}

// writeConfiguration creates a configuration file, which must not exist yet. It
// has mode 0644, or 0600 where it is to hold a password (secret).
func writeConfiguration(path string, text []byte, secret bool) error {
	mode := fs.FileMode(0o644)
	if secret {
		mode = 0o600
	}
	if err := disk.MakeAll(filepath.Dir(path), disk.Own(0o755)); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := disk.Put(path, text, mode); errors.Is(err, fs.ErrExist) {
		return refuseOverwrite(path)
	} else if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}
