// Package hookfiles puts certlatch into the hooks of ACME clients on this host,
// takes it out again, and checks whether it is there. What belongs there is
// package hooks's business.
//
// It writes over nothing and removes nothing that certlatch did not write. It
// does not promise that a client runs what is installed, nor that all parts are
// there where an installation failed half way: installing again completes it.
package hookfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/disk"
)

// RefusedError says why a client's hooks were left as they are.
type RefusedError struct{ What, Remedy string }

func (e *RefusedError) Error() string { return e.What }

// Place is a client's hooks on this host.
type Place struct {
	client hooks.Caller
	setup  hooks.Setup
	dir    string // empty: the client has none
	self   string // certlatch's path
}

// Usual returns the place in which a client's hooks usually are, for the
// certlatch at the path self.
func Usual(client hooks.Caller, self string) Place {
	p := Place{client: client, setup: client.Setup(self), self: self}
	if len(p.setup.Dirs) > 0 {
		p.dir = p.setup.Dirs[max(0, slices.IndexFunc(p.setup.Dirs, exists))]
	}
	return p
}

// In returns the place for a client whose hooks are in dir, or a *RefusedError
// where the client has no directory of hooks.
func In(dir string, client hooks.Caller, self string) (Place, error) {
	p := Usual(client, self)
	if len(p.setup.Parts) == 0 {
		return Place{}, &RefusedError{client.Name() + " has no directory of hooks", "certlatch hook print " + client.Name() + " shows what it has"}
	}
	var err error
	p.dir, err = filepath.Abs(dir)
	return p, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Install installs every part, and returns a text on what was installed and
// what is left to do by hand. It fails with a *RefusedError where the client
// would not look there, or a file of somebody else's is in the way.
func (p Place) Install() (string, error) {
	if needs := filepath.Join(p.dir, p.setup.Needs); p.setup.Needs != "" && !exists(needs) {
		return "", &RefusedError{
			What:   fmt.Sprintf("%s does not exist, so %s does not look there for a hook", needs, p.client.Name()),
			Remedy: "certlatch hook print " + p.client.Name() + " shows what to do by hand",
		}
	}
	for _, part := range p.setup.Parts {
		if err := p.checkOurs(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	var done strings.Builder
	for _, part := range p.setup.Parts {
		if err := p.installPart(part); err != nil {
			return done.String(), fmt.Errorf("install the hook: %w", err)
		}
		fmt.Fprintln(&done, p.describe(part))
	}
	for _, own := range p.ownHooks() {
		fmt.Fprintln(&done, own)
	}
	return done.String() + p.advice(), nil
}

// Remove removes every part that is there, and returns a text on what was
// removed. It fails with a *RefusedError at the first that is somebody else's.
func (p Place) Remove() (string, error) {
	if len(p.setup.Parts) == 0 {
		return fmt.Sprintf("%s has no directory of hooks: take certlatch out of what calls %[1]s\n", p.client.Name()), nil
	}
	var done strings.Builder
	// What makes the client look at the others goes first.
	for _, part := range slices.Backward(p.setup.Parts) {
		path := p.path(part)
		switch err := p.checkOurs(part); {
		case errors.Is(err, fs.ErrNotExist):
			fmt.Fprintf(&done, "%s is not there\n", path)
			continue
		case err != nil:
			return done.String(), err
		}
		if err := disk.Remove(path); err != nil {
			return done.String(), fmt.Errorf("remove the hook: %w", err)
		}
		fmt.Fprintf(&done, "removed %s\n", path)
	}
	return done.String(), nil
}

// Instructions returns a text on what Install would put where, and what is to
// be done by hand.
func (p Place) Instructions() string {
	var text strings.Builder
	for _, part := range p.setup.Parts {
		fmt.Fprintln(&text, p.describe(part))
		for line := range strings.Lines(part.Text) {
			fmt.Fprintf(&text, "    %s", line)
		}
	}
	return text.String() + p.advice()
}

// advice returns the text on what is to be done by hand.
func (p Place) advice() string {
	if len(p.setup.Parts) == 0 {
		return p.setup.Advice
	}
	return "\n" + p.setup.Advice
}

func (p Place) path(part hooks.Part) string { return filepath.Join(p.dir, part.Name) }

func (p Place) describe(part hooks.Part) string {
	if part.Link != "" {
		return p.path(part) + " -> " + part.Link
	}
	return fmt.Sprintf("%s (%04o)", p.path(part), part.Mode())
}

// checkOurs fails where the part is not there (fs.ErrNotExist), or where it is
// somebody else's (*RefusedError).
func (p Place) checkOurs(part hooks.Part) error {
	path := p.path(part)
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	var is bool
	if part.Link != "" && info.Mode().Type() == fs.ModeSymlink {
		var to string
		to, err = os.Readlink(path)
		is = to == p.self || filepath.Base(to) == "certlatch"
	} else if part.Link == "" && info.Mode().IsRegular() {
		var text []byte
		text, err = os.ReadFile(path)
		is = hooks.Wrote(p.client, string(text))
	}
	if err != nil {
		return fmt.Errorf("look at the hook: %w", err)
	}
	if !is {
		return &RefusedError{path + " is there, and is not certlatch's", "see what it is, and move it away"}
	}
	return nil
}

// installPart installs a part, unless it is there as it should be.
func (p Place) installPart(part hooks.Part) error {
	path := p.path(part)
	if err := disk.MakeAll(filepath.Dir(path), disk.Own(0o755)); err != nil {
		return err
	}
	if part.Link != "" {
		if to, err := os.Readlink(path); err == nil && to == part.Link {
			return nil
		}
		return disk.ReplaceLink(part.Link, path)
	}
	if as, err := readFile(path); err == nil && as == (file{part.Text, part.Mode(), os.Geteuid()}) {
		return nil
	}
	return disk.Replace(path, []byte(part.Text), part.Mode())
}

// file is what is compared of a file that root may run.
type file struct {
	text string
	mode fs.FileMode // the group's bits are the mask where there is an ACL
	uid  int
}

// maxFile bounds what is read of a hook, in bytes. Any has far fewer.
const maxFile = 1 << 20

func readFile(path string) (file, error) {
	dir, err := disk.Open(filepath.Dir(path))
	if err != nil {
		return file{}, err
	}
	defer dir.Close()
	info, err := dir.Stat(filepath.Base(path))
	if err != nil {
		return file{}, err
	}
	text, _, err := dir.Read(filepath.Base(path), maxFile)
	return file{string(text), info.Mode, info.UID}, err
}

// ownHooks returns a line for each lineage that has a hook of its own beside
// certlatch, as far as that can be read.
func (p Place) ownHooks() []string {
	own := p.setup.Own
	if own.Line == nil {
		return nil
	}
	pattern := own.Files
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(p.dir, pattern)
	}
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil
	}
	var said []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if found := own.Line.FindSubmatch(text); found != nil {
			said = append(said, fmt.Sprintf("%s has a hook of its own, %.100q: %s", file, found[1], own.Effect))
		}
	}
	return said
}
