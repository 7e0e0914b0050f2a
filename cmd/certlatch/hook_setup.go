package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/engine"
)

func (p *program) hookFileCommand(name, use string, action func(place) error) *cli.Command {
	return &cli.Command{
		Name: name, Usage: use, ArgsUsage: "CLIENT",
		Description: "CLIENT is one of " + strings.Join(hooks.Names(), ", ") + ".\n\n" +
			"Example: certlatch hook " + name + " certbot\n\n" +
			"Exit codes: 0 done; 1 unexpected; 2 usage, or something that is not certlatch's is in the way.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "dir", Usage: "the client's hook `DIRECTORY`, where it is not the usual one"}},
		Action: func(c *cli.Context) error {
			at, err := hookPlace(c)
			if err != nil {
				return err
			}
			return action(at)
		},
	}
}

// place is a client's hooks on this host.
type place struct {
	hooks.Client
	hooks.Setup
	dir  string // empty: the client has none
	self string // certlatch
}

func hookPlace(c *cli.Context) (place, error) {
	if err := arguments(c, 1, 1); err != nil {
		return place{}, err
	}
	client, err := clientNamed(c.Args().First())
	if err != nil {
		return place{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return place{}, fmt.Errorf("find out where certlatch is: %w", err)
	}
	at := usualPlace(client, self)
	switch given := c.String("dir"); {
	case given != "" && len(at.Parts) == 0:
		return place{}, &usageError{client.Name() + " has no directory of hooks", "certlatch hook print " + client.Name() + " shows what it has"}
	case given != "":
		at.dir, err = filepath.Abs(given)
	}
	return at, err
}

// usualPlace is a client's hooks where they usually are.
func usualPlace(client hooks.Client, self string) place {
	at := place{Client: client, Setup: client.Setup(self), self: self}
	if len(at.Dirs) > 0 {
		at.dir = at.Dirs[max(0, slices.IndexFunc(at.Dirs, exists))]
	}
	return at
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (p *program) hookInstall(at place) error {
	if needs := filepath.Join(at.dir, at.Needs); at.Needs != "" && !exists(needs) {
		return &engine.RequestError{
			What:   fmt.Sprintf("%s does not exist, so %s does not look there for a hook", needs, at.Name()),
			Remedy: "certlatch hook print " + at.Name() + " shows what to do by hand",
		}
	}
	for _, part := range at.Parts {
		if err := at.ours(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, part := range at.Parts {
		if err := at.put(part); err != nil {
			return fmt.Errorf("install the hook: %w", err)
		}
		fmt.Fprintln(p.stdout, at.describe(part))
	}
	for _, own := range at.ownHooks() {
		fmt.Fprintln(p.stdout, own)
	}
	fmt.Fprintf(p.stdout, "%s%s", gap(at.Parts), at.Advice)
	return nil
}

func (p *program) hookRemove(at place) error {
	if len(at.Parts) == 0 {
		fmt.Fprintf(p.stdout, "%s has no directory of hooks: take certlatch out of what calls %[1]s\n", at.Name())
		return nil
	}
	// What makes the client look at the others goes first.
	for _, part := range slices.Backward(at.Parts) {
		path := at.path(part)
		switch err := at.ours(part); {
		case errors.Is(err, fs.ErrNotExist):
			fmt.Fprintf(p.stdout, "%s is not there\n", path)
			continue
		case err != nil:
			return err
		}
		if err := disk.Remove(path); err != nil {
			return fmt.Errorf("remove the hook: %w", err)
		}
		fmt.Fprintf(p.stdout, "removed %s\n", path)
	}
	return nil
}

func (p *program) hookPrint(at place) error {
	for _, part := range at.Parts {
		fmt.Fprintln(p.stdout, at.describe(part))
		for line := range strings.Lines(part.Text) {
			fmt.Fprintf(p.stdout, "    %s", line)
		}
	}
	fmt.Fprintf(p.stdout, "%s%s", gap(at.Parts), at.Advice)
	return nil
}

// gap parts what is done from what is advised.
func gap(parts []hooks.Part) string {
	if len(parts) == 0 {
		return ""
	}
	return "\n"
}

func (at place) path(part hooks.Part) string { return filepath.Join(at.dir, part.Name) }

func (at place) describe(part hooks.Part) string {
	if part.Link != "" {
		return at.path(part) + " -> " + part.Link
	}
	return fmt.Sprintf("%s (%04o)", at.path(part), part.Mode())
}

// ours fails where the part is not there (fs.ErrNotExist), or where it is
// somebody else's (*engine.RequestError).
func (at place) ours(part hooks.Part) error {
	path := at.path(part)
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	var is bool
	if part.Link != "" && info.Mode().Type() == fs.ModeSymlink {
		var to string
		to, err = os.Readlink(path)
		is = to == at.self || filepath.Base(to) == "certlatch"
	} else if part.Link == "" && info.Mode().IsRegular() {
		var text []byte
		text, err = os.ReadFile(path)
		is = hooks.Wrote(at.Client, string(text))
	}
	if err != nil {
		return fmt.Errorf("look at the hook: %w", err)
	}
	if !is {
		return &engine.RequestError{What: path + " is there, and is not certlatch's", Remedy: "see what it is, and move it away"}
	}
	return nil
}

// put writes the part, unless it is there already as it should be.
func (at place) put(part hooks.Part) error {
	path := at.path(part)
	if err := disk.MakeAll(filepath.Dir(path), disk.Own(0o755)); err != nil {
		return err
	}
	if part.Link != "" {
		if to, err := os.Readlink(path); err == nil && to == part.Link {
			return nil
		}
		return disk.ReplaceLink(part.Link, path)
	}
	if as, err := written(path); err == nil && as == (hookFile{part.Text, part.Mode(), os.Geteuid()}) {
		return nil
	}
	return disk.Replace(path, []byte(part.Text), part.Mode())
}

// hookFile is what matters of a file that root may run.
type hookFile struct {
	text string
	mode fs.FileMode // the group's bits are the mask where there is an ACL
	uid  int
}

// written returns what is at path.
func written(path string) (hookFile, error) {
	dir, err := disk.Open(filepath.Dir(path))
	if err != nil {
		return hookFile{}, err
	}
	defer dir.Close()
	info, err := dir.Stat(filepath.Base(path))
	if err != nil {
		return hookFile{}, err
	}
	text, _, err := dir.Read(filepath.Base(path), hookLimit)
	return hookFile{string(text), info.Mode, info.UID}, err
}

// hookLimit is far more than any hook's file has bytes.
const hookLimit = 1 << 20

// ownHooks says which lineages have hooks of their own beside certlatch, as
// far as that can be read.
func (at place) ownHooks() []string {
	if at.Own.Line == nil {
		return nil
	}
	pattern := at.Own.Files
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(at.dir, pattern)
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
		if found := at.Own.Line.FindSubmatch(text); found != nil {
			said = append(said, fmt.Sprintf("%s has a hook of its own, %.100q: %s", file, found[1], at.Own.Effect))
		}
	}
	return said
}
