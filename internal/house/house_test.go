package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// tree is the repository's Go source.
type tree []source

// source is one file of it.
type source struct {
	path   string // below the repository's top
	test   bool
	syntax *ast.File
}

func parse(t *testing.T, name, text string) source {
	t.Helper()
	syntax, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return source{name, strings.HasSuffix(name, "_test.go"), syntax}
}

func (s source) dir() string { return path.Dir(s.path) }

// in tells whether the file is one of the paths, or below one.
func (s source) in(paths []string) bool {
	return slices.ContainsFunc(paths, func(p string) bool { return s.path == p || strings.HasPrefix(s.path, p+"/") })
}

// imports gives the paths that the file imports.
func (s source) imports() (paths []string) {
	for _, spec := range s.syntax.Imports {
		if imported, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, imported)
		}
	}
	return paths
}

// importNames gives the import path behind each name that the file uses for
// a package.
func (s source) importNames() map[string]string {
	names := map[string]string{}
	for i, imported := range s.imports() {
		name := path.Base(imported)
		if as := s.syntax.Imports[i].Name; as != nil {
			name = as.Name
		}
		names[name] = imported
	}
	return names
}

// TestHouse holds every rule over the repository.
func TestHouse(t *testing.T) {
	var repository tree
	top := os.DirFS("../..")
	err := fs.WalkDir(top, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		text, err := fs.ReadFile(top, name)
		if err != nil {
			return err
		}
		repository = append(repository, parse(t, name, string(text)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(repository) < 20 {
		t.Fatalf("found only %d files: this looks at the wrong directory", len(repository))
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, found := range r.check(repository) {
				t.Error(found)
			}
		})
	}
}

// TestRulesCanFail shows each rule sources that are against it, and such that
// are not.
func TestRulesCanFail(t *testing.T) {
	const bad, good = true, false
	for _, c := range []struct {
		rule    string
		path    string
		text    string
		against bool
	}{
		{"imports go where they may", "internal/engine/run.go", `package engine; import "os/exec"`, bad},
		{"imports go where they may", "internal/engine/run_test.go", `package engine; import "os/exec"`, good},
		{"imports go where they may", "internal/command/run.go", `package command; import "os/exec"`, good},
		{"imports go where they may", "internal/tools/demo/main.go", `package main; import "os/exec"`, good},
		{"imports go where they may", "internal/engine/bus.go", `package engine; import "github.com/coreos/go-systemd/v22/dbus"`, bad},
		{"imports go where they may", "cmd/certlatch/bus.go", `package main; import "github.com/coreos/go-systemd/v22/dbus"`, bad},
		{"imports go where they may", "internal/daemon/a.go", `package daemon; import "github.com/fsnotify/fsnotify"`, bad},
		{"imports go where they may", "internal/watch/a.go", `package watch; import "github.com/fsnotify/fsnotify"`, good},
		{"imports go where they may", "cmd/certlatch/log.go", `package main; import "github.com/coreos/go-systemd/v22/journal"`, good},
		{"imports go where they may", "internal/probe/log.go", `package probe; import "github.com/coreos/go-systemd/v22/journal"`, bad},
		{"imports go where they may", "cmd/certlatch/main.go", `package main; import "github.com/certlatch/certlatch/internal/pki"`, bad},
		{"imports go where they may", "cmd/certlatch/main_test.go", `package main; import "github.com/certlatch/certlatch/internal/pki"`, good},
		{"imports go where they may", "internal/disk/c.go", `package disk; import "unsafe"`, bad},

		{"rooms know only whom they should", "deployers/a.go", `package deployers; import "github.com/certlatch/certlatch/internal/config"`, bad},
		{"rooms know only whom they should", "deployers/a.go", `package deployers; import ("io/fs"; "net/netip"; "net/url"; "github.com/certlatch/certlatch/internal/lineage")`, good},
		{"rooms know only whom they should", "deployers/a.go", `package deployers; import "net"`, bad},
		{"rooms know only whom they should", "hooks/a.go", `package hooks; import "os"`, bad},
		{"rooms know only whom they should", "internal/proposal/a.go", `package proposal; import "os"`, bad},
		{"rooms know only whom they should", "internal/proposal/a.go", `package proposal; import "github.com/certlatch/certlatch/deployers"`, good},
		{"rooms know only whom they should", "hooks/a.go", `package hooks; import "gopkg.in/yaml.v3"`, bad},
		{"rooms know only whom they should", "internal/lineage/a.go", `package lineage; import "github.com/certlatch/certlatch/internal/policy"`, bad},
		{"rooms know only whom they should", "internal/install/a.go", `package install; import "github.com/certlatch/certlatch/internal/state"`, bad},
		{"rooms know only whom they should", "internal/install/a.go", `package install; import "github.com/certlatch/certlatch/internal/disk"`, good},
		{"rooms know only whom they should", "internal/config/a.go", `package config; import "github.com/certlatch/certlatch/internal/engine"`, bad},
		{"rooms know only whom they should", "internal/watch/a.go", `package watch; import "github.com/certlatch/certlatch/internal/engine"`, bad},
		{"rooms know only whom they should", "internal/daemon/a.go", `package daemon; import "github.com/certlatch/certlatch/internal/engine"`, good},
		{"rooms know only whom they should", "internal/config/a.go", `package config; import "github.com/certlatch/certlatch/deployers"`, good},
		{"rooms know only whom they should", "internal/config/a.go", `package config; import "github.com/certlatch/certlatch/cmd/certlatch"`, bad},

		{"effects have one gate each", "internal/state/a.go", `package state; import "os"; var _ = os.WriteFile`, bad},
		{"effects have one gate each", "internal/state/a.go", `package state; import f "os"; var _ = f.RemoveAll`, bad},
		{"effects have one gate each", "internal/state/a.go", `package state; import "os"; var _ = os.O_CREATE | os.O_RDWR`, bad},
		{"effects have one gate each", "internal/state/a.go", `package state; import "os"; var _ = os.ReadFile`, good},
		{"effects have one gate each", "internal/state/a.go", `package state; import "golang.org/x/sys/unix"; var _ = unix.Renameat2`, bad},
		{"effects have one gate each", "internal/state/a.go", `package state; import "golang.org/x/sys/unix"; var _ = unix.Fchown`, bad},
		{"effects have one gate each", "internal/state/a_test.go", `package state; import "os"; var _ = os.WriteFile`, good},
		{"effects have one gate each", "internal/disk/a.go", `package disk; import "golang.org/x/sys/unix"; var _ = unix.Renameat2`, good},
		{"effects have one gate each", "cmd/certlatch/hook.go", `package main; import "os"; func f() { os.Exit(1) }`, bad},
		{"effects have one gate each", "cmd/certlatch/main.go", `package main; import "os"; func f() { os.Exit(1) }`, good},
		{"effects have one gate each", "cmd/certlatch/main.go", `package main; import "log"; func f() { log.Fatalf("") }`, bad},

		{"nothing happens at import", "internal/probe/a.go", `package probe; func init() {}`, bad},
		{"nothing happens at import", "internal/probe/a.go", `package probe; type t int; func (t) init() {}`, good},
		{"nothing happens at import", "internal/probe/a.go", `package probe; import _ "net/http/pprof"`, bad},
		{"nothing happens at import", "templates/a.go", `package templates; import _ "embed"`, good},

		{"a package is introduced once", "internal/probe/a.go", `package probe`, bad},
		{"a package is introduced once", "internal/probe/a.go", "// Package probe probes.\npackage probe", good},

		{"a package is named by what it does", "internal/a/a.go", `package util`, bad},
		{"a package is named by what it does", "internal/a/a_test.go", `package helpers_test`, bad},
		{"a package is named by what it does", "internal/a/a.go", `package utility`, good},
	} {
		i := slices.IndexFunc(rules, func(r rule) bool { return r.name == c.rule })
		if i < 0 {
			t.Fatalf("no rule is called %q", c.rule)
		}
		found := rules[i].check(tree{parse(t, c.path, c.text)})
		if against := len(found) > 0; against != c.against {
			t.Errorf("%s: %s: %s\nfound %q", c.rule, c.path, c.text, found)
		}
	}

	twice := tree{parse(t, "internal/probe/a.go", "// One.\npackage probe"), parse(t, "internal/probe/b.go", "// Two.\npackage probe")}
	if oneComment(twice) == nil {
		t.Error("a package with two comments passes")
	}
	for _, r := range rules {
		if r.check(twice[:1]) != nil {
			t.Errorf("%s: there is nothing wrong with %s", r.name, twice[0].path)
		}
	}
}
