// Package deployertest is what every service must hold. What a service lacks is
// a flaw that names the next step.
//
// It knows no service: it makes hosts that are empty, broken and hostile, and
// asks every deployer for a plan on each. It does not promise to notice that a
// plan is wrong for its service, only that it can be carried out.
package deployertest

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/deployers"
)

// Run tests a row of the table. The test must run in the directory of package
// all.
func Run(t *testing.T, d deployers.Deployer) {
	for _, flaw := range flaws(d, "..") {
		t.Error(flaw)
	}
}

// suite collects what is wrong with one service.
type suite struct {
	deployer deployers.Deployer
	words    string // the directory of package deployers
	room     string // that of the service
	found    []string
	seen     map[string]bool
	tells    bool // it has said that the service takes other files than the target's
}

// flaws returns what is wrong with a service, the directory of package deployers
// being dir.
func flaws(d deployers.Deployer, dir string) []string {
	s := &suite{deployer: d, words: dir, room: filepath.Join(dir, d.Name()), seen: map[string]bool{}}
	if s.checkRoom() {
		s.checkSource()
		blocks := s.checkOptions()
		s.checkPlans(blocks)
		s.checkDiscovery()
		s.checkManual()
	}
	return s.found
}

// flaw adds a flaw, once, with the service's name before it.
func (s *suite) flaw(format string, args ...any) {
	text := s.deployer.Name() + ": " + fmt.Sprintf(format, args...)
	if !s.seen[text] {
		s.seen[text] = true
		s.found = append(s.found, text)
	}
}

// names matches the names that a service may have: they are keys of the
// configuration and names of directories.
var names = regexp.MustCompile(`^[a-z][a-z0-9]*$`)

// checkRoom wants the service to have a room of its name, and reports whether
// there is anything else to check.
func (s *suite) checkRoom() bool {
	name := s.deployer.Name()
	if !names.MatchString(name) {
		s.flaw("Name returns %q: let it have small letters and digits", name)
		return false
	}
	if in := path.Base(reflect.TypeOf(s.deployer).PkgPath()); in != name {
		s.flaw("its deployer is in package %s: put it into a room of its name, deployers/%s", in, name)
	}
	return true
}

// checkManual wants the manual and a first configuration to name the service.
func (s *suite) checkManual() {
	name := s.deployer.Name()
	for _, want := range []struct{ file, text, step string }{
		{"packaging/man/certlatch-services.7.md", "\n# " + strings.ToUpper(name) + "\n", "write a chapter on it: what certlatch does, what to do beforehand, how it fails"},
		{"packaging/man/certlatch.yaml.5.md", "\n## " + name + "\n", "write a section on its block under SERVICE BLOCKS, with a paragraph a key"},
		{"packaging/man/certlatch.yaml.5.md", " *" + name + "*", "name it at the key service"},
		{"packaging/man/certlatch.yaml.5.md", "**" + name + "**", "name its block under TARGETS"},
		{"internal/proposal/config.yaml.tmpl", name, "name it at the key service of the example"},
	} {
		has, err := os.ReadFile(filepath.Join(s.words, "..", want.file))
		if err != nil {
			s.flaw("read %s: %v", want.file, err)
		} else if !strings.Contains(string(has), want.text) {
			s.flaw("%s has no %q: %s", want.file, want.text, want.step)
		}
	}
}
