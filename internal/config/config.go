// Package config loads, checks and shows the configuration of certlatch.
//
// A wrong file is reported whole: every problem with its line, in the words of
// whoever wrote it, and with its remedy. What a Config holds has passed every
// check that the file alone allows.
//
// It looks at no other file, except that it asks which of the usual places of
// lineages exist where the file names none, and which places are one directory:
// those of lineages, and, where somebody asks, those that targets write to. It does not promise that the
// lineages, directories, users and units exist, or that two globs never bring
// two lineages to one path: that shows when a plan is made.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/lineage"
)

// DefaultState is the state directory where the configuration names none.
const DefaultState = "/var/lib/certlatch"

// DefaultRun is the directory of the snapshot for status and check where the
// state directory is the default one. Any other has it in itself.
const DefaultRun = "/run/certlatch"

// maxSize bounds the file, in bytes. A target takes some 500.
const maxSize = 1 << 20

// Config is the effective configuration: the file with every default.
type Config struct {
	Path    string         // of the file, as given
	State   string         // where history, pending deployments, generations and the lock live
	Run     string         // where the snapshot for status and check lives, for everybody to read
	Roots   []lineage.Root // in the order of the file, or that of hooks.Keepers
	Policy  Policy         // of bundles that are validated for no target
	Targets []Target

	// Doubles are places of lineages that are one directory under two names, of
	// which Roots has the first.
	Doubles []Problem
}

// Target is one target of the configuration.
type Target struct {
	deployers.Target
	Policy Policy // the global one with the target's own laid over it
	Line   int    // where it begins in the file
}

// Policy is what a bundle is judged by.
type Policy struct {
	Trust  string   // "system", "any", or the absolute path of a PEM file of roots
	Accept []string // codes of findings that are only warned about
}

// MissingError says that there is no configuration file. It is
// [fs.ErrNotExist] to [errors.Is].
type MissingError struct{ Path string }

func (e *MissingError) Error() string { return "configuration " + e.Path + " does not exist" }

func (e *MissingError) Is(target error) bool { return target == fs.ErrNotExist }

// Load reads the configuration file at path. Where it has no lineages key,
// the roots are those of the usual places that exist. It fails with a
// *MissingError, an *Error, or what reading the file failed with.
func Load(path string) (*Config, error) {
	file, err := open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &MissingError{path}
	}
	if wrong := new(Error); errors.As(err, &wrong) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("open configuration: %w", err)
	}
	defer file.Close()
	if err := onlyRootWrites(path, file); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return parseOn(host{isDir, isSameDir}, path, data)
}

// open opens a configuration. A FIFO in its place must not hold up a hook until somebody
// writes to it, which a signal would not end (fifo(7)).
func open(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, &Error{path, []Problem{{What: "it is no regular file", Remedy: "move it away, and put the configuration there; certlatch init writes one"}}}
	}
	return os.Open(path)
}

// onlyRootWrites fails where certlatch runs as root and others may write the
// file: commands in it are run as root.
func onlyRootWrites(path string, file *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("look at configuration: %w", err)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if owner == 0 && info.Mode().Perm()&0o022 == 0 {
		return nil
	}
	return &Error{path, []Problem{{
		What:   "others than root may write it, and root runs its commands",
		Remedy: "chown root " + path + " && chmod go-w " + path,
	}}}
}

// StateOf returns the state directory that a configuration file names, which may be
// wrong otherwise, or else the default one. It is for leaving word where the file
// cannot be used, so what others than root may have written is not asked.
func StateOf(path string) string {
	file, err := open(path)
	if err != nil {
		return DefaultState
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxSize))
	if err != nil || onlyRootWrites(path, file) != nil {
		return DefaultState
	}
	for line := range strings.Lines(string(data)) {
		value, is := strings.CutPrefix(line, "state:")
		value, _, _ = strings.Cut(value, " #")
		if value = strings.Trim(value, " \t\r\n\"'"); is && checkPath(value) == nil {
			return value
		}
	}
	return DefaultState
}

// Parse is like [Load] for data that was read from path. It touches no file,
// and takes all the usual places of lineages to exist.
func Parse(path string, data []byte) (*Config, error) {
	return parse(path, data, func(string) bool { return true })
}

// host is what is asked about directories.
type host struct {
	exists func(dir string) bool
	isSame func(dir, other string) bool // whether two names are of one directory
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func isSameDir(dir, other string) bool {
	a, errA := os.Stat(dir)
	b, errB := os.Stat(other)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// parse is like Parse, where only some of the usual places exist.
func parse(path string, data []byte, exists func(dir string) bool) (*Config, error) {
	return parseOn(host{exists, func(_, _ string) bool { return false }}, path, data)
}

func parseOn(on host, path string, data []byte) (*Config, error) {
	var r report
	cfg := &Config{Path: path}
	var doc document
	if root := r.read(data); root != nil && r.decode(root, &doc) {
		r.build(cfg, &doc, on)
	}
	if err := r.err(path); err != nil {
		return nil, err
	}
	return cfg, nil
}

// Wants reports whether the target takes a lineage: its lineage key is the
// lineage's NAME, its CLIENT:NAME, or a glob ([path.Match]) in place of NAME.
func (t Target) Wants(l lineage.Lineage) bool {
	return selector(t.Lineage).takes(l)
}

// IsGlob reports whether the target may take several lineages.
func (t Target) IsGlob() bool {
	_, names := selector(t.Lineage).split()
	return names.glob()
}

// LineageName returns the name, without a client, of the only lineage that the target
// may take; empty where it may take several.
func (t Target) LineageName() string {
	_, names := selector(t.Lineage).split()
	return names.literal()
}

// HasTarget reports whether there is a target with a name.
func (c *Config) HasTarget(name string) bool {
	return slices.ContainsFunc(c.Targets, func(t Target) bool { return t.Name == name })
}
