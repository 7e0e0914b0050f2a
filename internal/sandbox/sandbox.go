// Package sandbox writes drop-ins that let certlatch's own units write where
// the configuration says, and nowhere else. The sandbox is no boundary against
// certlatch itself; see ARCHITECTURE.md.
package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/paths"
)

// unitNames returns the names of the services that certlatch's packages install.
func unitNames() []string {
	return []string{"certlatch-recover.service", "certlatch-retry.service", "certlatch-watch.service"}
}

// Places are the directories of units (systemd.unit(5)).
type Places struct {
	Packages      string // units that packages install
	Administrator string // units and drop-ins of the administrator
}

// Usual returns the directories of units on a host.
func Usual() Places { return Places{"/usr/lib/systemd/system", "/etc/systemd/system"} }

// Installed returns those of certlatch's units that are installed.
func (p Places) Installed() []string {
	return slices.DeleteFunc(unitNames(), func(unit string) bool {
		return !exists(filepath.Join(p.Packages, unit)) && !exists(filepath.Join(p.Administrator, unit))
	})
}

// dropIn returns the path of the drop-in of a unit.
func (p Places) dropIn(unit string) string {
	return filepath.Join(p.Administrator, unit+".d", "paths.conf")
}

// Write writes the drop-in of each unit, and returns the paths of those that it
// wrote. systemd does not read them by itself.
func (p Places) Write(cfg *config.Config) (written []string, err error) {
	for _, unit := range unitNames() {
		path := p.dropIn(unit)
		if err := disk.MakeAll(filepath.Dir(path), disk.Own(0o755)); err != nil {
			return written, fmt.Errorf("write drop-in: %w", err)
		}
		if err := disk.Replace(path, []byte(DropIn(cfg)), 0o644); err != nil {
			return written, fmt.Errorf("write drop-in: %w", err)
		}
		written = append(written, path)
	}
	return written, nil
}

// Outdated returns the installed units that may not write to all that the
// configuration names.
func (p Places) Outdated(cfg *config.Config) []string {
	return slices.DeleteFunc(p.Installed(), func(unit string) bool {
		text, err := os.ReadFile(p.dropIn(unit))
		return err == nil && hasAllSettings(string(text), DropIn(cfg))
	})
}

// hasAllSettings reports whether a drop-in has every setting of another. It may
// have more: that of a time when directories had yet to be made.
func hasAllSettings(has, wants string) bool {
	for line := range strings.Lines(wants) {
		if !strings.HasPrefix(line, "#") && !strings.Contains(has, line) {
			return false
		}
	}
	return true
}

// DropIn returns the drop-in that lets the units write beside their own
// directories. A path that is missing when a unit starts must not keep it from
// starting, hence the dashes; each path is a mount of its own for the unit
// (systemd.exec(5)).
func DropIn(cfg *config.Config) string {
	var text strings.Builder
	fmt.Fprintf(&text, "# Made of %s by certlatch config systemd, which makes it anew.\n[Service]\n", cfg.Path)
	dirs := writtenTo(cfg)
	for _, path := range dirs {
		// Spaces separate paths, and % begins a specifier.
		fmt.Fprintf(&text, "ReadWritePaths=\"-%s\"\n", strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(path))
	}
	if slices.ContainsFunc(dirs, func(path string) bool {
		return paths.Within(path, "/tmp") || paths.Within(path, "/var/tmp")
	}) {
		fmt.Fprintln(&text, "# A service is met there.\nPrivateTmp=no")
	}
	return text.String()
}

// writtenTo returns the directories that deployments write to, sorted, each once.
func writtenTo(cfg *config.Config) []string {
	var dirs []string
	if cfg.State != config.DefaultState {
		dirs = append(dirs, cfg.State)
	}
	for _, t := range cfg.Targets {
		if t.Directory != "" {
			dir := fixedPart(t.Directory)
			dirs = append(dirs, dir)
			for !exists(dir) { // certlatch will make it, and must be allowed to
				dir = filepath.Dir(dir)
			}
			dirs = append(dirs, dir)
		}
		for _, path := range []string{t.Certificate, t.Key, t.Chain, t.Combined} {
			if path != "" {
				dirs = append(dirs, fixedPart(filepath.Dir(path)))
			}
		}
		if at, ok := t.Options.(deployers.MeetingOptions); ok {
			dirs = append(dirs, at.Meeting()...)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// fixedPart returns the part of a directory above {lineage}.
func fixedPart(dir string) string {
	before, _, named := strings.Cut(dir, "{lineage}")
	if !named {
		return dir
	}
	return filepath.Dir(before + "x")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
