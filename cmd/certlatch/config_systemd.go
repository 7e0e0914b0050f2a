package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/systemd"
)

// unitNames are the services that certlatch's packages bring.
var unitNames = []string{"certlatch-recover.service", "certlatch-retry.service", "certlatch-watch.service"}

// unitsDir is where an administrator's units and drop-ins are
// (systemd.unit(5)).
const unitsDir = "/etc/systemd/system"

func (p *program) configSystemdCommand() *cli.Command {
	return &cli.Command{
		Name: "systemd", Usage: "let certlatch's units write where the configuration says, and nowhere else",
		Description: "Writes the drop-in paths.conf of certlatch-recover, certlatch-retry and certlatch-watch. Run it\n" +
			"again when the paths of targets have changed. Needs root.\n\n" +
			"Example: certlatch config systemd --print\n\nExit codes: 0; 1 unexpected; 2 the configuration is not well.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "print", Usage: "only show it"}},
		Action: func(c *cli.Context) error {
			cfg, err := p.loadConfig(c)
			if err != nil {
				return err
			}
			if c.Bool("print") {
				fmt.Fprint(p.stdout, dropIn(cfg))
				return nil
			}
			if err := p.writeDropIns(c.Context, cfg); err != nil {
				return err
			}
			_, err = fmt.Fprintln(p.stdout, "\nsystemctl try-restart certlatch-watch.service lets the daemon have it too, where it runs")
			return err
		},
	}
}

// writeDropIns lets the units follow a configuration from their next start on.
func (p *program) writeDropIns(ctx context.Context, cfg *config.Config) error {
	for _, unit := range unitNames {
		path := dropInPath(unit)
		if err := disk.MakeAll(filepath.Dir(path), disk.Own(0o755)); err != nil {
			return fmt.Errorf("write drop-in: %w", err)
		}
		if err := disk.Replace(path, []byte(dropIn(cfg)), 0o644); err != nil {
			return fmt.Errorf("write drop-in: %w", err)
		}
		fmt.Fprintln(p.stdout, path)
	}
	if !systemd.Booted() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	manager, err := systemd.Connect(ctx)
	if err != nil {
		return err
	}
	defer manager.Close()
	return manager.ReadUnitFiles(ctx)
}

func dropInPath(unit string) string { return filepath.Join(unitsDir, unit+".d", "paths.conf") }

// installedUnits returns those that a package or an administrator has put there.
func installedUnits() []string {
	return slices.DeleteFunc(slices.Clone(unitNames), func(unit string) bool {
		return !exists(filepath.Join("/usr/lib/systemd/system", unit)) && !exists(filepath.Join(unitsDir, unit))
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// dropIn says what the units may write to beside their own directories. A path
// that is missing when a unit starts must not keep it from starting, hence the
// dashes; each path is a mount of its own for the unit (systemd.exec(5)).
func dropIn(cfg *config.Config) string {
	var text strings.Builder
	fmt.Fprintf(&text, "# Made of %s by certlatch config systemd, which makes it anew.\n[Service]\n", cfg.Path)
	paths := writtenTo(cfg)
	for _, path := range paths {
		// Spaces part paths, and % begins a specifier.
		fmt.Fprintf(&text, "ReadWritePaths=\"-%s\"\n", strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(path))
	}
	if slices.ContainsFunc(paths, func(path string) bool {
		return strings.HasPrefix(path+"/", "/tmp/") || strings.HasPrefix(path+"/", "/var/tmp/")
	}) {
		fmt.Fprintln(&text, "# A service is met there.\nPrivateTmp=no")
	}
	return text.String()
}

// writtenTo gives the directories that deployments write to, sorted, each once.
func writtenTo(cfg *config.Config) []string {
	var dirs []string
	if cfg.State != config.DefaultState {
		dirs = append(dirs, cfg.State)
	}
	for _, t := range cfg.Targets {
		if t.Directory != "" {
			dir := common(t.Directory)
			dirs = append(dirs, dir)
			for !exists(dir) { // certlatch will make it, and must be let to
				dir = filepath.Dir(dir)
			}
			dirs = append(dirs, dir)
		}
		for _, path := range []string{t.Certificate, t.Key, t.Chain, t.Combined} {
			if path != "" {
				dirs = append(dirs, common(filepath.Dir(path)))
			}
		}
		if at, ok := t.Options.(interface{ Meeting() []string }); ok {
			dirs = append(dirs, at.Meeting()...)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// common gives the part of a directory that is the same for all lineages.
func common(dir string) string {
	before, _, named := strings.Cut(dir, "{lineage}")
	if !named {
		return dir
	}
	return filepath.Dir(before + "x")
}
