// Package hookstest is what every ACME client of package hooks must hold. What a
// client lacks is a flaw that names the next step.
//
// It knows no client's protocol: it lays hostile words in the place of what the
// client was recorded to say. It does not promise to notice what a client makes
// of words that were never recorded.
package hookstest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/hookfiles"
)

// Run tests a client. The test must run in the directory of package hooks.
func Run(t *testing.T, c hooks.Client) {
	for _, flaw := range flaws(t, c, ".") {
		t.Error(flaw)
	}
}

// suite collects what is wrong with one client.
type suite struct {
	client hooks.Client
	dir    string // of package hooks
	temp   func() string
	found  []string
}

// flaws returns what is wrong with a client, the directory of package hooks
// being dir.
func flaws(t testing.TB, c hooks.Client, dir string) []string {
	s := &suite{client: c, dir: dir, temp: t.TempDir}
	s.checkTable()
	s.checkComments()
	recorded := s.recordings()
	s.checkRecorded(recorded)
	s.checkHostile(recorded)
	s.checkLayout()
	s.checkPlaces(recorded)
	for _, self := range []string{"/usr/bin/certlatch", "/opt/it's mine/certlatch"} {
		s.checkSetup(self)
	}
	s.checkManual()
	return s.found
}

// flaw adds a flaw, with the client's name before it.
func (s *suite) flaw(format string, args ...any) {
	s.found = append(s.found, s.client.Name()+": "+fmt.Sprintf(format, args...))
}

func (s *suite) checkTable() {
	name := s.client.Name()
	if _, ok := hooks.For(name); !ok {
		s.flaw("it is not in the table: add it to All in hooks.go")
	}
	if as, ok := hooks.CalledAs("certlatch-hook-" + name); !ok || as.Name() != name {
		s.flaw("certlatch-hook-%s does not call it: Name may have small letters and dots", name)
	}
}

// checkPlaces wants the usual places to be absolute paths, and the client to
// have been recorded in one of them.
func (s *suite) checkPlaces(recorded []recording) {
	places := s.client.Places()
	for _, place := range places {
		if !filepath.IsAbs(place) || filepath.Clean(place) != place {
			s.flaw("the usual place %q is not an absolute path in its shortest form: correct Places", place)
		}
	}
	for _, r := range recorded {
		for _, path := range r.means {
			if slices.Contains(places, filepath.Dir(path)) {
				return
			}
		}
	}
	s.flaw("no recorded call means a lineage in one of its usual places, %q: return from Places where it keeps lineages unless told otherwise, and record a call there", places)
}

// checkManual wants the manual and the packages to name the client.
func (s *suite) checkManual() {
	name := s.client.Name()
	place := append(s.client.Places(), "")[0]
	for _, want := range []struct{ file, text, step string }{
		{"packaging/man/certlatch.8.md", "\n## " + name + "\n", "write a section on it under ACME CLIENTS: what its user sees, and how to get certlatch into it"},
		{"packaging/man/certlatch.yaml.5.md", "\n**" + name + "**\n: Usual place: *" + place + "*", "write a paragraph on it under LINEAGES, with its usual place"},
	} {
		s.checkText(want.file, want.text, want.step)
	}
	if len(s.client.Setup("/usr/bin/certlatch").Parts) == 0 {
		return
	}
	for _, file := range []string{"packaging/deb/prerm", "packaging/rpm/preun"} {
		s.checkText(file, "\n\t"+name+" \\\n", "name it among the clients whose hooks are removed with the package")
	}
}

// checkText wants a file of the repository to hold a text; step is what to do
// where it does not.
func (s *suite) checkText(file, text, step string) {
	has, err := os.ReadFile(filepath.Join(s.dir, "..", file))
	if err != nil {
		s.flaw("read %s: %v", file, err)
	} else if !strings.Contains(string(has), text) {
		s.flaw("%s has no %q: %s", file, text, step)
	}
}

// checkSetup wants the parts for the certlatch at the path self to be
// printable, and installable and removable.
func (s *suite) checkSetup(self string) {
	setup := s.client.Setup(self)
	if !strings.Contains(setup.Advice, "certlatch") || strings.Contains(setup.Advice, "%!") {
		s.flaw("Setup's Advice does not say how certlatch is called: %q", setup.Advice)
	}
	for _, part := range setup.Parts {
		s.checkPart(part, self)
	}
	for _, dir := range setup.Dirs {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
			s.flaw("the hook directory %q is not an absolute path in its shortest form: correct Setup's Dirs", dir)
		}
	}
	if memory := setup.Memory; memory.File != nil && (memory.Calls == nil || memory.Alone == nil) {
		s.flaw("Setup's Memory has a File, and cannot read it: set Calls and Alone")
	}
	switch {
	case len(setup.Parts) == 0:
	case len(setup.Dirs) == 0:
		s.flaw("it has parts, and no directory to put them into: set Setup's Dirs")
	default:
		s.checkInstall(setup, self)
	}
}

func (s *suite) checkPart(part hooks.Part, self string) {
	name := s.client.Name()
	switch {
	case !filepath.IsLocal(part.Name):
		s.flaw("the part %q is not below the hook directory: correct its Name", part.Name)
	case part.Mode()&0o022 != 0:
		s.flaw("the part %s may be written to by others than root: see Part.Mode", part.Name)
	case part.Link == "" && (!hooks.Wrote(s.client, part.Text) || strings.Contains(part.Text, "%!")):
		s.flaw("the part %s is not known as certlatch's own: let its Text hold mark(Name())", part.Name)
	case part.Link != "":
		if as, ok := hooks.CalledAs(part.Name); !ok || as.Name() != name || part.Link != self {
			s.flaw("the link %s does not call it: lead it to self, under the name certlatch-hook-%s", part.Name, name)
		}
	}
	for _, other := range hooks.All() {
		if other.Name() != name && hooks.Wrote(other, part.Text) {
			s.flaw("the part %s is taken for one of %s: let its Text hold no other client's mark", part.Name, other.Name())
		}
	}
}

// checkInstall installs the parts twice and removes them again.
func (s *suite) checkInstall(setup hooks.Setup, self string) {
	dir := filepath.Join(s.temp(), "client", "hooks")
	place, err := hookfiles.In(dir, s.client, self)
	for _, make := range []string{dir, filepath.Join(dir, setup.Needs)} {
		if err == nil {
			err = os.MkdirAll(make, 0o755)
		}
	}
	if err != nil {
		s.flaw("make the hook directory: %v", err)
		return
	}
	for range 2 {
		said, err := place.Install()
		if err != nil {
			s.flaw("its hooks cannot be installed: %v", err)
			return
		}
		for _, part := range setup.Parts {
			path := filepath.Join(dir, part.Name)
			if _, err := os.Lstat(path); err != nil || !strings.Contains(said, path) || !strings.Contains(place.Instructions(), path) {
				s.flaw("the part %s is not installed, or nobody is told: %v", part.Name, err)
			}
		}
	}
	said, err := place.Remove()
	for _, part := range setup.Parts {
		path := filepath.Join(dir, part.Name)
		if _, lerr := os.Lstat(path); err != nil || lerr == nil || !strings.Contains(said, "removed "+path+"\n") {
			s.flaw("the part %s is not removed again, or nobody is told: %v", part.Name, err)
		}
	}
}
