package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/engine"
	"github.com/certlatch/certlatch/internal/lineage"
)

func (p *program) hookCommand() *cli.Command {
	return &cli.Command{
		Name:      "hook",
		Usage:     "run by an ACME client after a renewal; install, remove or print the hook",
		ArgsUsage: "[CLIENT]",
		Description: "Deploys the lineage that the calling client names in its environment. CLIENT is " + strings.Join(hooks.Names(), ", ") + "\n" +
			"or auto (the default: told from the environment). A lineage that no target wants is\n" +
			"none of its business: exit 0. Ends within 100 seconds. Needs root.\n\n" +
			"Example: certbot renew --deploy-hook \"certlatch hook certbot\"\n\n" + exitsHelp,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "defer", Usage: "only mark the lineage pending"},
			jsonFlag(),
		},
		Action: p.hook,
		Subcommands: []*cli.Command{
			p.hookFileCommand("install", "put certlatch into a client's hooks", p.hookInstall),
			p.hookFileCommand("remove", "take certlatch out of a client's hooks", p.hookRemove),
			p.hookFileCommand("print", "print what to add by hand", p.hookPrint),
		},
	}
}

func (p *program) hook(c *cli.Context) error {
	if err := arguments(c, 0, 1); err != nil {
		return err
	}
	event, err := hookEvent(c.Args().First())
	if err != nil {
		return p.fail(c, err)
	}
	e, err := p.engine(c)
	if err != nil {
		return p.fail(c, err)
	}
	l, err := wantedLineage(e.Config, event)
	if err != nil {
		return p.fail(c, err)
	}
	if l == nil {
		p.log.Info("no target wants this lineage", "path", event.Path)
		return p.show(c, engine.Report{})
	}
	if c.Bool("defer") {
		if err := e.Store.Mark(l.Client, l.Name); err != nil {
			return p.fail(c, err)
		}
		return p.show(c, engine.Report{})
	}
	report, err := e.Deploy(c.Context, engine.Request{
		Lineages: []string{l.String()}, By: "hook " + event.Client, Limits: engine.HookLimits,
	})
	var locked *disk.LockedError
	if errors.As(err, &locked) {
		err = errors.Join(err, e.Store.Mark(l.Client, l.Name))
	}
	if err != nil {
		return p.fail(c, err)
	}
	journalFailures(report)
	return p.show(c, report)
}

// hookEvent reads what the client said.
func hookEvent(name string) (hooks.Event, error) {
	if name == "" || name == "auto" {
		client, err := hooks.Detect(os.Getenv, nil)
		if err != nil {
			return hooks.Event{}, err
		}
		return client.Event(os.Getenv, nil)
	}
	client, err := clientNamed(name)
	if err != nil {
		return hooks.Event{}, err
	}
	return client.Event(os.Getenv, nil)
}

func clientNamed(name string) (hooks.Client, error) {
	client, ok := hooks.For(name)
	if !ok {
		return nil, &usageError{fmt.Sprintf("there is no client %q", name), "known are " + strings.Join(hooks.Names(), ", ")}
	}
	return client, nil
}

// wantedLineage finds the lineage that a client meant; nil: no target wants it.
func wantedLineage(cfg *config.Config, event hooks.Event) (*lineage.Lineage, error) {
	for _, root := range cfg.Roots {
		name := root.NameAt(event.Path)
		if root.Kind.Name != event.Client || name == "" {
			continue
		}
		l, err := root.Find(name)
		if err != nil {
			return nil, &hooks.InputError{Client: event.Client, What: err.Error()}
		}
		for _, t := range cfg.Targets {
			if t.Wants(l) {
				return &l, nil
			}
		}
		return nil, nil
	}
	// A lineage below a root that the configuration does not name: the same
	// name in a target means that the root was forgotten.
	l := lineage.Lineage{Client: event.Client, Name: filepath.Base(event.Path)}
	for _, t := range cfg.Targets {
		if t.Wants(l) {
			return nil, &engine.RequestError{
				What:   fmt.Sprintf("target %s wants %s, but %s is below none of the configured roots", t.Name, l.Name, event.Path),
				Remedy: fmt.Sprintf("add \"- %s: %s\" to lineages in %s", event.Client, filepath.Dir(event.Path), cfg.Path),
			}
		}
	}
	return nil, nil
}

func (p *program) hookFileCommand(name, use string, action cli.ActionFunc) *cli.Command {
	return &cli.Command{
		Name: name, Usage: use, ArgsUsage: "CLIENT", Action: action,
		Description: "CLIENT is one of " + strings.Join(hooks.Names(), ", ") + ".\n\n" +
			"Example: certlatch hook " + name + " certbot\n\n" +
			"Exit codes: 0 done; 1 unexpected; 2 usage.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "dir", Usage: "the client's hook `DIRECTORY`, where it is not the usual one"}},
	}
}

// hookPlace gives the client that the command line names, and where its hook
// belongs.
func hookPlace(c *cli.Context) (hooks.Client, string, error) {
	if err := arguments(c, 1, 1); err != nil {
		return nil, "", err
	}
	client, err := clientNamed(c.Args().First())
	if err != nil {
		return nil, "", err
	}
	setup := client.Setup()
	dir := setup.Dir
	if given := c.String("dir"); given != "" {
		if dir, err = filepath.Abs(given); err != nil {
			return nil, "", err
		}
	}
	return client, filepath.Join(dir, setup.Link), nil
}

func (p *program) hookInstall(c *cli.Context) error {
	client, link, err := hookPlace(c)
	if err != nil {
		return err
	}
	self, err := ownPath()
	if err != nil {
		return err
	}
	if err := disk.MakeAll(filepath.Dir(link), disk.Attr{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o755}); err != nil {
		return fmt.Errorf("make the hook directory: %w", err)
	}
	if is, err := ourLink(link); err != nil {
		return err
	} else if is != self {
		if err := disk.ReplaceLink(self, link); err != nil {
			return fmt.Errorf("install the hook: %w", err)
		}
	}
	fmt.Fprintf(p.stdout, "%s -> %s\n\n", link, self)
	fmt.Fprintf(p.stdout, client.Setup().Advice, self)
	return nil
}

func (p *program) hookRemove(c *cli.Context) error {
	_, link, err := hookPlace(c)
	if err != nil {
		return err
	}
	is, err := ourLink(link)
	if err != nil {
		return err
	}
	if is == "" {
		fmt.Fprintf(p.stdout, "%s is not there\n", link)
		return nil
	}
	if err := disk.Remove(link); err != nil {
		return fmt.Errorf("remove the hook: %w", err)
	}
	fmt.Fprintf(p.stdout, "removed %s\n", link)
	return nil
}

func (p *program) hookPrint(c *cli.Context) error {
	client, link, err := hookPlace(c)
	if err != nil {
		return err
	}
	self, err := ownPath()
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "ln -s %s %s\n\n", self, link)
	fmt.Fprintf(p.stdout, client.Setup().Advice, self)
	return nil
}

// ourLink gives where the hook's link points to; "": it is not there. A file
// of that name which is no link is somebody else's.
func ourLink(path string) (string, error) {
	to, err := os.Readlink(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("look at %s, which should be a link of certlatch's: %w", path, err)
	}
	return to, nil
}

// ownPath is where this program is.
func ownPath() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find out where certlatch is: %w", err)
	}
	return path, nil
}
