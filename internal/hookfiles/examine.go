package hookfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Examine returns checks of whether the client calls certlatch for each of some
// lineages that it keeps.
func (p Place) Examine(wanted []lineage.Lineage) []deployers.Check {
	name, memory := p.client.Name(), p.setup.Memory
	check := func(level deployers.Level, remedy, says string, args ...any) []deployers.Check {
		return []deployers.Check{deployers.NewCheck(deployers.Hook, level, remedy, says, args...)}
	}
	without := func(does func(text string) bool) []lineage.Lineage {
		return slices.DeleteFunc(slices.Clone(wanted), func(l lineage.Lineage) bool { return p.remembers(l, does) })
	}
	switch {
	case len(p.setup.Parts) == 0:
		return check(deployers.Fine, "", "nothing can be put into the hooks of %s; certlatch hook print %[1]s shows the line that calls certlatch", name)
	case len(without(memory.Alone)) == 0:
		return check(deployers.Fine, "", "%s calls certlatch for each lineage that a target takes", name)
	}
	install := "certlatch hook install " + name
	for _, part := range p.setup.Parts {
		switch err := p.checkRuns(part); {
		case errors.Is(err, fs.ErrNotExist):
			return check(deployers.Warned, install, "%s does not call certlatch after a renewal: %s is not there, or leads nowhere", name, p.path(part))
		case err != nil:
			return check(deployers.Wrong, install, "%s cannot call certlatch: %v", name, err)
		}
	}
	if memory.Choose == nil || len(without(memory.Calls)) == 0 {
		return check(deployers.Fine, "", "%s calls certlatch: %s", name, p.path(p.setup.Parts[0]))
	}
	var checks []deployers.Check
	for _, l := range without(memory.Calls) {
		checks = append(checks, check(deployers.Warned, memory.Choose(directoryOf(l)), "%s does not call certlatch for %s, which has to be chosen once for each", name, l.Name)...)
	}
	return checks
}

// checkRuns fails where a part is not there, not certlatch's, or cannot be
// executed though it should.
func (p Place) checkRuns(part hooks.Part) error {
	if err := p.checkOurs(part); err != nil {
		return err
	}
	info, err := os.Stat(p.path(part))
	if err != nil {
		return err
	}
	if (part.Link != "" || part.Run) && info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not executable", p.path(part))
	}
	return nil
}

// remembers reports whether does holds for what the client remembers of a
// lineage.
func (p Place) remembers(l lineage.Lineage, does func(text string) bool) bool {
	if p.setup.Memory.File == nil {
		return false
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(l.Fullchain), p.setup.Memory.File(directoryOf(l))))
	return err == nil && does(string(text))
}

// directoryOf returns the name of the directory that a lineage's files are in.
func directoryOf(l lineage.Lineage) string { return filepath.Base(filepath.Dir(l.Fullchain)) }
