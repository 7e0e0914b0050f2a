package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/spelling"
	"github.com/certlatch/certlatch/templates"
)

func (p *program) templateCommand() *cli.Command {
	return &cli.Command{
		Name: "template", Usage: "print hardened TLS settings for a service", ArgsUsage: "SERVICE",
		Description: "Prints a snippet of the configuration of " + strings.Join(templateNames(), ", ") + ", for the\n" +
			"version that is installed here, or else for the newest known: Mozilla's intermediate\n" +
			"profile. With --target, the paths of that target are filled in.\n\n" +
			"Example: certlatch template nginx --target web\n\n" +
			"Exit codes: 0; 1 unexpected; 2 usage or configuration.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "target", Usage: "fill in the paths of this target: `NAME`"},
		},
		Action: p.template,
	}
}

func templateNames() []string {
	var names []string
	for _, s := range templates.Services() {
		names = append(names, s.Name)
	}
	return names
}

func (p *program) template(c *cli.Context) error {
	if err := checkArguments(c, 1, 1); err != nil {
		return err
	}
	name := c.Args().First()
	at := slices.Index(templateNames(), name)
	if at < 0 {
		return &usageError{fmt.Sprintf("there is no template for %q", name), spelling.Advice(name, templateNames(), "there are templates for "+strings.Join(templateNames(), ", "))}
	}
	service := templates.Services()[at]
	settings := templates.Settings{Fullchain: "/path/to/fullchain.pem", Chain: "/path/to/chain.pem", Key: "/path/to/privkey.pem", Name: "name.example"}
	if c.IsSet("target") {
		t, err := templateTarget(c, name)
		if err != nil {
			return err
		}
		fillIn(&settings, t)
		if options, ok := t.Options.(deployers.RowOptions); ok && options.RowKeys().Database != "" {
			row := options.RowKeys()
			settings.Row = &templates.Row{Table: row.Table, Domain: expandDomain(row.Domain, t), Type: row.Type}
		}
		if options, ok := t.Options.(deployers.ProgramOptions); ok {
			service.Ask[0] = options.Program()
		}
	}
	p.askVersion(c.Context, service, &settings)
	return templates.Write(p.stdout, service, settings)
}

// templateTarget returns the target that --target names, which must be of the
// service.
func templateTarget(c *cli.Context, service string) (config.Target, error) {
	cfg, err := config.Load(c.String("config"))
	if err != nil {
		return config.Target{}, err
	}
	name := c.String("target")
	at := slices.IndexFunc(cfg.Targets, func(t config.Target) bool { return t.Name == name })
	if at < 0 {
		return config.Target{}, prepare.NoTarget(cfg, name)
	}
	if t := cfg.Targets[at]; t.Service != service {
		return t, &usageError{fmt.Sprintf("target %s is of the service %s, not %s", name, t.Service, service), "for example: certlatch template " + t.Service + " --target " + name}
	}
	return cfg.Targets[at], nil
}

// expandDomain returns the domain of a row, with the lineage in it where the target takes
// only one.
func expandDomain(domain string, t config.Target) string {
	if t.IsGlob() {
		return domain
	}
	_, of, named := strings.Cut(t.Lineage, ":")
	if !named {
		of = t.Lineage
	}
	return strings.ReplaceAll(domain, "{lineage}", of)
}

// fillIn sets paths and names from a target, as far as it has them, and from
// the leaf that is installed there. The name is that by which a probe asks, if any
// does: what is printed has to answer it. Where the target takes several lineages,
// {lineage} stays in the paths.
func fillIn(settings *templates.Settings, t config.Target) {
	paths := [3]string{t.Certificate, t.Chain, t.Key}
	if t.Directory != "" {
		for i, name := range []string{"fullchain.pem", "chain.pem", "privkey.pem"} {
			paths[i] = filepath.Join(t.Directory, "current", name)
		}
	}
	for i := range paths {
		if !t.IsGlob() {
			paths[i] = strings.ReplaceAll(paths[i], "{lineage}", t.LineageName())
		}
	}
	if paths[0] != "" {
		settings.Fullchain, settings.Chain, settings.Key = paths[0], paths[1], paths[2]
	}
	names := append(probedNames(t), t.Names...)
	if leaf := installedLeaf(paths[0]); leaf != nil {
		settings.Staple = len(leaf.OCSPServer) > 0
		names = append(names, lineage.Names(leaf)...)
	}
	names = append(names, t.LineageName(), settings.Name)
	settings.Name = names[slices.IndexFunc(names, endpoint.IsHost)]
}

// probedNames returns the names that the probes of a target ask for.
func probedNames(t config.Target) (names []string) {
	for _, e := range t.Probes {
		name := cmp.Or(e.Name, e.Host)
		if _, notAddress := netip.ParseAddr(name); notAddress != nil {
			names = append(names, name)
		}
	}
	return names
}

// installedLeaf returns the leaf in the file at a path; nil: it cannot be read.
func installedLeaf(path string) *x509.Certificate {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	certs, err := lineage.ParseCertificates(text)
	if err != nil {
		return nil
	}
	return certs[0]
}

// versionLimit bounds the wait for a program that prints its version.
const versionLimit = 10 * time.Second

// askVersion sets the version of the installed service, and that of its
// OpenSSL, as the service's program prints them.
func (p *program) askVersion(ctx context.Context, service templates.Service, settings *templates.Settings) {
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	printed, err := command.Run(ctx, service.Ask)
	settings.Version, settings.OpenSSL = service.Installed(printed.Stdout + printed.Stderr)
	if !settings.Version.Known() {
		if err == nil {
			err = errors.New("it prints none")
		}
		p.log.Warn("no version was found, so the newest is assumed", "service", service.Name, "error", err)
	}
}
