package architecture

import (
	"fmt"
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

// in reports whether the file is one of the paths, or below one.
func (s source) in(paths []string) bool {
	return slices.ContainsFunc(paths, func(p string) bool { return s.path == p || strings.HasPrefix(s.path, p+"/") })
}

// imports returns the paths that the file imports.
func (s source) imports() (paths []string) {
	for _, spec := range s.syntax.Imports {
		if imported, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, imported)
		}
	}
	return paths
}

// importNames returns the import path behind each name that the file uses for
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

// repository returns the repository's Go source.
func repository(t *testing.T) (all tree) {
	t.Helper()
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
		all = append(all, parse(t, name, string(text)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found only %d files: this looks at the wrong directory", len(all))
	}
	return all
}

// TestArchitecture checks the repository by every rule.
func TestArchitecture(t *testing.T) {
	all := repository(t)
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, found := range r.check(all) {
				t.Error(found)
			}
		})
	}
}

// TestPermissionsAreUsed wants whoever may do something to do it: a permission
// that nobody needs any more is withdrawn.
func TestPermissionsAreUsed(t *testing.T) {
	find, used := actOf(), map[string]bool{}
	key := func(act int, allowed string) string { return fmt.Sprint(act, " ", allowed) }
	for _, f := range repository(t) {
		if f.test {
			continue
		}
		f.mentions(func(imported, name string) {
			i := find(imported, name)
			for _, allowed := range acts[max(i, 0)].allowed {
				if i >= 0 && f.in([]string{allowed}) {
					used[key(i, allowed)] = true
				}
			}
		})
	}
	for i, a := range acts {
		for _, allowed := range a.allowed {
			if !used[key(i, allowed)] {
				t.Errorf("%s does not use %s of %s", allowed, a.names, a.packages)
			}
		}
	}
}

// TestToldIsUsed wants internal/report to mention all that it may mention.
func TestToldIsUsed(t *testing.T) {
	used := map[string][]string{}
	for _, f := range repository(t) {
		if !f.test && f.in([]string{"internal/report"}) {
			f.mentions(func(imported, name string) { used[imported] = append(used[imported], name) })
		}
	}
	for imported, names := range told {
		for name := range strings.SplitSeq(names, "|") {
			if !slices.Contains(used[imported], name) {
				t.Errorf("internal/report does not use %s of %s", name, imported)
			}
		}
	}
}

// TestRulesCanFail checks sources that break each rule, and some that do not.
func TestRulesCanFail(t *testing.T) {
	const bad, good = true, false
	for _, c := range []struct {
		rule    string
		path    string
		text    string
		against bool
	}{
		{"imports go where they may", "internal/deploy/run.go", `package deploy; import "os/exec"`, bad},
		{"imports go where they may", "internal/deploy/run_test.go", `package deploy; import "os/exec"`, good},
		{"imports go where they may", "internal/command/run.go", `package command; import "os/exec"`, good},
		{"imports go where they may", "internal/tools/demo/main.go", `package main; import "os/exec"`, good},
		{"imports go where they may", "internal/deploy/bus.go", `package deploy; import "github.com/coreos/go-systemd/v22/dbus"`, bad},
		{"imports go where they may", "cmd/certlatch/bus.go", `package main; import "github.com/coreos/go-systemd/v22/dbus"`, bad},
		{"imports go where they may", "internal/daemon/a.go", `package daemon; import "github.com/fsnotify/fsnotify"`, bad},
		{"imports go where they may", "internal/watch/a.go", `package watch; import "github.com/fsnotify/fsnotify"`, good},
		{"imports go where they may", "cmd/certlatch/log.go", `package main; import "github.com/coreos/go-systemd/v22/journal"`, bad},
		{"imports go where they may", "internal/systemd/log.go", `package systemd; import "github.com/coreos/go-systemd/v22/journal"`, good},
		{"imports go where they may", "internal/probe/log.go", `package probe; import "github.com/coreos/go-systemd/v22/journal"`, bad},
		{"imports go where they may", "cmd/certlatch/main.go", `package main; import "github.com/certlatch/certlatch/internal/pki"`, bad},
		{"imports go where they may", "cmd/certlatch/main_test.go", `package main; import "github.com/certlatch/certlatch/internal/pki"`, good},
		{"imports go where they may", "hooks/a.go", `package hooks; import "github.com/certlatch/certlatch/hooks/hookstest"`, bad},
		{"imports go where they may", "hooks/hookstest/a.go", `package hookstest; import "testing"`, good},
		{"imports go where they may", "deployers/nginx/a.go", `package nginx; import "github.com/certlatch/certlatch/deployers/deployertest"`, bad},
		{"imports go where they may", "deployers/nginx/a_test.go", `package nginx; import "github.com/certlatch/certlatch/deployers/deployertest"`, good},
		{"imports go where they may", "internal/disk/c.go", `package disk; import "unsafe"`, bad},
		{"imports go where they may", "internal/deploy/a.go", `package deploy; import "database/sql"`, bad},
		{"imports go where they may", "internal/rows/a.go", `package rows; import "database/sql"`, good},
		{"imports go where they may", "internal/deploy/a.go", `package deploy; import "net/http"`, bad},
		{"imports go where they may", "internal/revocation/a.go", `package revocation; import "net/http"`, good},
		{"imports go where they may", "internal/revocation/a.go", `package revocation; import "net/http/httputil"`, bad},
		{"imports go where they may", "internal/deploy/a.go", `package deploy; import "net/smtp"`, bad},
		{"imports go where they may", "internal/deploy/a.go", `package deploy; import "log/syslog"`, bad},
		{"imports go where they may", "internal/deploy/a.go", `package deploy; import "io/ioutil"`, bad},
		{"imports go where they may", "internal/deploy/a.go", `package deploy; import "runtime/pprof"`, bad},
		{"imports go where they may", "internal/deploy/a.go", `package deploy; import "testing"`, bad},
		{"imports go where they may", "internal/deploy/a.go", `package deploy; import "log/slog"`, good},
		{"imports go where they may", "internal/deploy/a.go", `package deploy; import "os/user"`, bad},
		{"imports go where they may", "internal/deploy/a.go", `package deploy; import "os/signal"`, bad},
		{"imports go where they may", "internal/deploy/a.go", `package deploy; import "github.com/urfave/cli/v2"`, bad},
		{"imports go where they may", "internal/deploy/a.go", `package deploy; import "gopkg.in/yaml.v3"`, bad},
		{"imports go where they may", "internal/deploy/a.go", `package deploy; import "golang.org/x/sys/unix"`, good},
		{"imports go where they may", "internal/deploy/a.go", `package deploy; import "golang.org/x/sys/execabs"`, bad},
		{"imports go where they may", "internal/deploy/a.go", `package deploy; import "example.org/shells/run"`, bad},

		{"rooms know only whom they should", "deployers/a.go", `package deployers; import "github.com/certlatch/certlatch/internal/config"`, bad},
		{"rooms know only whom they should", "deployers/a.go", `package deployers; import ("io/fs"; "net/netip"; "net/url"; "github.com/certlatch/certlatch/internal/lineage")`, good},
		{"rooms know only whom they should", "deployers/a.go", `package deployers; import "net"`, bad},
		{"rooms know only whom they should", "deployers/nginx/a.go", `package nginx; import "os"`, bad},
		{"rooms know only whom they should", "deployers/nginx/a.go", `package nginx; import "github.com/certlatch/certlatch/internal/command"`, bad},
		{"rooms know only whom they should", "deployers/nginx/a.go", `package nginx; import ("regexp"; "github.com/certlatch/certlatch/deployers"; "github.com/certlatch/certlatch/internal/endpoint")`, good},
		{"rooms know only whom they should", "hooks/a.go", `package hooks; import "os"`, bad},
		{"rooms know only whom they should", "hooks/a.go", `package hooks; import "github.com/certlatch/certlatch/internal/hookfiles"`, bad},
		{"rooms know only whom they should", "hooks/hookstest/a.go", `package hookstest; import ("os"; "github.com/certlatch/certlatch/internal/hookfiles")`, good},
		{"rooms know only whom they should", "internal/proposal/a.go", `package proposal; import "os"`, bad},
		{"rooms know only whom they should", "internal/proposal/a.go", `package proposal; import "github.com/certlatch/certlatch/deployers"`, good},
		{"rooms know only whom they should", "hooks/a.go", `package hooks; import "gopkg.in/yaml.v3"`, bad},
		{"rooms know only whom they should", "internal/lineage/a.go", `package lineage; import "github.com/certlatch/certlatch/internal/policy"`, bad},
		{"rooms know only whom they should", "internal/install/a.go", `package install; import "github.com/certlatch/certlatch/internal/state"`, bad},
		{"rooms know only whom they should", "internal/install/a.go", `package install; import "github.com/certlatch/certlatch/internal/disk"`, good},
		{"rooms know only whom they should", "internal/config/a.go", `package config; import "github.com/certlatch/certlatch/internal/deploy"`, bad},
		{"rooms know only whom they should", "internal/watch/a.go", `package watch; import "github.com/certlatch/certlatch/internal/deploy"`, bad},
		{"rooms know only whom they should", "internal/hookfiles/a.go", `package hookfiles; import "github.com/certlatch/certlatch/hooks"`, good},
		{"rooms know only whom they should", "internal/hookfiles/a.go", `package hookfiles; import "github.com/certlatch/certlatch/internal/config"`, bad},
		{"rooms know only whom they should", "internal/daemon/a.go", `package daemon; import "github.com/certlatch/certlatch/internal/deploy"`, good},
		{"rooms know only whom they should", "internal/config/a.go", `package config; import "github.com/certlatch/certlatch/deployers"`, good},
		{"rooms know only whom they should", "internal/config/a.go", `package config; import "github.com/certlatch/certlatch/cmd/certlatch"`, bad},

		{"rooms know only whom they should", "internal/report/a.go", `package report; import "github.com/certlatch/certlatch/internal/inspect"`, good},
		{"rooms know only whom they should", "internal/report/a.go", `package report; import "github.com/certlatch/certlatch/internal/deploy"`, bad},
		{"rooms know only whom they should", "internal/inspect/a.go", `package inspect; import "github.com/certlatch/certlatch/internal/deploy"`, bad},
		{"rooms know only whom they should", "internal/condition/a.go", `package condition; import "os"`, bad},
		{"rooms know only whom they should", "internal/facts/a.go", `package facts; import "github.com/certlatch/certlatch/internal/prepare"`, bad},
		{"rooms know only whom they should", "internal/report/a.go", `package report; import "github.com/certlatch/certlatch/internal/config"`, bad},
		{"rooms know only whom they should", "internal/report/a.go", `package report; import "os"`, bad},
		{"rooms know only whom they should", "internal/completion/a.go", `package completion; import "github.com/urfave/cli/v2"`, bad},
		{"rooms know only whom they should", "internal/completion/a.go", `package completion; import "github.com/certlatch/certlatch/hooks"`, bad},
		{"rooms know only whom they should", "internal/report/a.go", `package report; import "crypto/tls"`, bad},
		{"rooms know only whom they should", "internal/report/a.go", `package report; import "io"`, good},
		{"rooms know only whom they should", "cmd/certlatch/a.go", `package main; import "github.com/certlatch/certlatch/internal/report"`, good},
		{"rooms know only whom they should", "internal/daemon/a.go", `package daemon; import "github.com/certlatch/certlatch/internal/report"`, bad},
		{"rooms know only whom they should", "internal/deploy/a.go", `package deploy; import "github.com/certlatch/certlatch/internal/report"`, bad},
		{"rooms know only whom they should", "internal/deploy/a_test.go", `package deploy; import "github.com/certlatch/certlatch/internal/report"`, good},

		{"rooms know only whom they should", "internal/served/a.go", `package served; import "github.com/certlatch/certlatch/internal/deploy"`, bad},

		{"a service is known by the table alone", "deployers/all/a.go", `package all; import "github.com/certlatch/certlatch/deployers/nginx"`, good},
		{"a service is known by the table alone", "deployers/kamailio/a.go", `package kamailio; import "github.com/certlatch/certlatch/deployers/nginx"`, bad},
		{"a service is known by the table alone", "deployers/kamailio/a.go", `package kamailio; import "github.com/certlatch/certlatch/deployers/sipscript"`, good},
		{"a service is known by the table alone", "deployers/nginx/a.go", `package nginx; import "github.com/certlatch/certlatch/deployers/sipscript"`, bad},
		{"a service is known by the table alone", "deployers/kamailio/a.go", `package kamailio; import "github.com/certlatch/certlatch/deployers/all"`, bad},
		{"a service is known by the table alone", "deployers/a.go", `package deployers; import "github.com/certlatch/certlatch/deployers/all"`, bad},
		{"a service is known by the table alone", "internal/config/a.go", `package config; import "github.com/certlatch/certlatch/deployers/all"`, good},
		{"a service is known by the table alone", "internal/config/a.go", `package config; import "github.com/certlatch/certlatch/deployers/opensips"`, bad},
		{"a service is known by the table alone", "internal/config/a_test.go", `package config; import "github.com/certlatch/certlatch/deployers/opensips"`, good},
		{"a service is known by the table alone", "internal/systemd/a.go", `package systemd; import "github.com/certlatch/certlatch/deployers"`, good},
		{"a service is known by the table alone", "internal/systemd/a.go", `package systemd; import "github.com/certlatch/certlatch/deployers/all"`, bad},

		{"who only tells of something does not do it", "internal/report/a.go", `package report; import "github.com/certlatch/certlatch/internal/outcome"; var _ = outcome.Outcome{}`, good},
		{"who only tells of something does not do it", "internal/report/a.go", `package report; import "github.com/certlatch/certlatch/internal/inspect"; var _ = inspect.Inspector{}`, bad},
		{"who only tells of something does not do it", "internal/report/a.go", `package report; import i "github.com/certlatch/certlatch/internal/inspect"; var _ i.Inspector`, bad},
		{"who only tells of something does not do it", "internal/report/a.go", `package report; import "github.com/certlatch/certlatch/internal/served"; var _ = served.ProbeEndpoint`, bad},
		{"who only tells of something does not do it", "internal/report/a.go", `package report; import "github.com/certlatch/certlatch/internal/srv"; var _ = srv.Lookup`, bad},
		{"who only tells of something does not do it", "internal/report/a.go", `package report; import "github.com/certlatch/certlatch/internal/state"; var _ = state.View`, bad},
		{"who only tells of something does not do it", "internal/report/a.go", `package report; import "github.com/certlatch/certlatch/internal/lineage"; var _ = lineage.Read`, bad},
		{"who only tells of something does not do it", "internal/report/a.go", `package report; import "time"; var _ = time.Now`, bad},
		{"who only tells of something does not do it", "internal/report/a_test.go", `package report; import "time"; var _ = time.Now`, good},
		{"who only tells of something does not do it", "internal/daemon/a.go", `package daemon; import "time"; var _ = time.Now`, good},

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

		{"effects have one gate each", "internal/deploy/a.go", `package deploy; func f(file interface{ Chmod(uint32) error }) { file.Chmod(0) }`, bad},
		{"effects have one gate each", "internal/disk/a.go", `package disk; func f(file interface{ Chmod(uint32) error }) { file.Chmod(0) }`, good},
		{"effects have one gate each", "internal/deploy/a.go", `package deploy; import "os"; var _ = []any{os.Stat, os.ReadFile, os.ReadDir, os.ErrNotExist, os.Geteuid}`, good},
		{"effects have one gate each", "internal/deploy/a.go", `package deploy; import "syscall"; var _ = []any{syscall.EROFS, syscall.SIGHUP, syscall.Stat_t{}, syscall.O_RDONLY}`, good},
		{"effects have one gate each", "internal/deploy/a.go", `package deploy; import ("net"; "crypto/tls"); var _ = []any{net.ParseIP, net.JoinHostPort, tls.VersionName}`, good},
		{"effects have one gate each", "internal/deploy/a.go", `package deploy; import k "golang.org/x/sys/unix"; var _ = k.Kill`, bad},
		{"effects have one gate each", "internal/process/a.go", `package process; import "os"; var _ = os.FindProcess`, good},
		{"effects have one gate each", "internal/process/a.go", `package process; import "os"; var _ = os.StartProcess`, bad},
		{"effects have one gate each", "internal/probe/a.go", `package probe; import "net"; var _ = net.Dialer{}`, good},
		{"effects have one gate each", "internal/command/command.go", `package command; import "syscall"; var _ = syscall.Kill`, good},
		{"effects have one gate each", "internal/command/outside.go", `package command; import "syscall"; var _ = syscall.Kill`, bad},
		{"effects have one gate each", "internal/disk/a.go", `package disk; import "golang.org/x/sys/unix"; var _ = unix.Kill`, bad},
		{"effects have one gate each", "internal/deploy/a.go", `package deploy; type t struct{ Kill, Exec int }; func f(v t) int { return v.Kill + v.Exec }`, good},

		{"paths are compared in one place", "internal/deploy/a.go", `package deploy; import "strings"; func f(path, dir string) bool { return strings.HasPrefix(path, dir+"/") }`, bad},
		{"paths are compared in one place", "internal/deploy/a.go", `package deploy; import s "strings"; func f(path, dir string) bool { return s.HasPrefix(path, s.TrimSuffix(dir, "/")+"/") }`, bad},
		{"paths are compared in one place", "internal/deploy/a.go", `package deploy; import "strings"; func f(path, dir string) (string, bool) { return strings.CutPrefix(path+"/", "/tmp/") }`, bad},
		{"paths are compared in one place", "internal/deploy/a.go", `package deploy; import "strings"; func f(text string) bool { return strings.HasPrefix(text, "/") }`, good},
		{"paths are compared in one place", "internal/paths/a.go", `package paths; import "strings"; func f(path, dir string) bool { return strings.HasPrefix(path, dir+"/") }`, good},

		{"an outcome has one writer", "internal/deploy/a.go", `package deploy; import "github.com/certlatch/certlatch/internal/outcome"; var o = outcome.Outcome{Detail: "a"}`, bad},
		{"an outcome has one writer", "internal/deploy/a.go", `package deploy; import o "github.com/certlatch/certlatch/internal/outcome"; var x = &o.Outcome{}`, bad},
		{"an outcome has one writer", "internal/deploy/a.go", `package deploy; func f(e ended) { e.outcome.Detail = "a" }`, bad},
		{"an outcome has one writer", "internal/deploy/a.go", `package deploy; func f(e ended) { e.outcome = e.outcome.Noting("a") }`, good},
		{"an outcome has one writer", "internal/outcome/a.go", `package outcome; var o = Outcome{Detail: "a"}`, good},
		{"an outcome has one writer", "internal/deploy/a.go", `package deploy; import "github.com/certlatch/certlatch/internal/outcome"; var r outcome.Report`, good},

		{"processes are looked at in one place", "internal/deploy/a.go", `package deploy; import "os"; func f() { os.ReadFile("/proc/1/stat") }`, bad},
		{"processes are looked at in one place", "internal/deploy/a.go", `package deploy; const path = "/proc"`, bad},
		{"processes are looked at in one place", "internal/deploy/a.go", `package deploy; const path = "/process"`, good},
		{"processes are looked at in one place", "internal/process/a.go", `package process; const path = "/proc/%d"`, good},

		{"nothing happens at import", "internal/probe/a.go", `package probe; func init() {}`, bad},
		{"nothing happens at import", "internal/probe/a.go", `package probe; type t int; func (t) init() {}`, good},
		{"nothing happens at import", "internal/probe/a.go", `package probe; import _ "net/http/pprof"`, bad},
		{"nothing happens at import", "internal/probe/a.go", `package probe; import "regexp"; var a = []any{regexp.MustCompile("a")}`, bad},
		{"nothing happens at import", "internal/probe/a.go", `package probe; import "regexp"; var a = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile("a") })`, good},
		{"nothing happens at import", "internal/probe/a.go", `package probe; import "regexp"; func f() { var _ = regexp.MustCompile("a") }`, good},
		{"nothing happens at import", "internal/probe/a_test.go", `package probe; import "regexp"; var a = regexp.MustCompile("a")`, good},
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

	find, reached := actOf(), map[int]bool{}
	for _, room := range roomsWithout(repository(t), testTools) {
		for imported, names := range mentioned {
			for _, name := range unnoticed(t, find, room, imported, names, reached) {
				t.Errorf("%s may use %s of %s", room, name, imported)
			}
		}
	}
	for i, a := range acts {
		if !reached[i] && a.packages != noPackage {
			t.Errorf("nothing shows that this act is noticed: %s of %s", a.names, a.packages)
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

// roomsWithout returns the directories with packages of the program, and one that
// there is not yet.
func roomsWithout(all tree, others []string) []string {
	rooms := []string{"internal/another"}
	for _, f := range all {
		if !f.test && !f.in(others) && !slices.Contains(rooms, f.dir()) {
			rooms = append(rooms, f.dir())
		}
	}
	return rooms
}

// unnoticed returns which names of a package a room may use although no act
// allows it to, and notes the acts that are noticed.
func unnoticed(t *testing.T, find func(imported, name string) int, room, imported, names string, reached map[int]bool) (may []string) {
	if imported == module+room {
		return nil
	}
	for name := range strings.FieldsSeq(names) {
		f := parse(t, room+"/a.go", fmt.Sprintf("package a; import (%q); var _ = %s.%s", imported, path.Base(imported), name))
		i := find(imported, name)
		switch {
		case effectsBy(find, tree{f}) != nil:
			reached[i] = true
		case i < 0 || !f.in(acts[i].allowed):
			may = append(may, name)
		}
	}
	return may
}

// mentioned is, by package, what only the rooms that have that effect may use.
var mentioned = map[string]string{
	module + "internal/disk":       `Replace ReplaceLink Put MakeDir MakeAll MakeWhole Remove RemoveFiles SweepDrafts Lock NewFIFO Open Dir Attr`,
	module + "internal/lineage":    `Read Unreadable Digest`,
	module + "internal/install":    `New Installer`,
	module + "internal/state":      `Open WriteSnapshot`,
	module + "internal/process":    `Signal`,
	module + "internal/command":    `Run Ask Feed CanRead`,
	module + "internal/probe":      `Handshake Prove`,
	module + "internal/control":    `Call`,
	module + "internal/systemd":    `Connect Manager Service`,
	module + "internal/revocation": `Check`,
	module + "internal/srv":        `Lookup`,
	module + "internal/rows":       `Databases`,
	module + "internal/host":       `RoomAt ClockSynchronised AppArmorProfiles`,
	module + "internal/watch":      `New`,
	module + "internal/hookfiles":  `In Usual`,
	module + "internal/sandbox":    `Usual`,
	module + "internal/served":     `ProbeEndpoint ProbeDomain`,
	"fmt":                          `Print Printf Println Scan Scanln`,
	"path/filepath":                `EvalSymlinks Rel`,
	"os": `WriteFile Create CreateTemp Rename Remove RemoveAll Mkdir MkdirAll MkdirTemp Chmod Chown Lchown Chtimes Symlink Link Truncate
		Stdin Stdout Stderr Readlink CopyFS OpenRoot OpenInRoot Root NewFile Pipe OpenFile O_WRONLY O_RDWR O_APPEND O_CREATE O_TRUNC
		FindProcess Process StartProcess ProcAttr Setenv Unsetenv Clearenv Chdir Getenv LookupEnv Environ ExpandEnv Exit`,
	"syscall": `Kill Exec ForkExec StartProcess SysProcAttr ProcAttr Credential Open O_CREAT O_WRONLY Creat Write Pwrite Rename Unlink Mkdir Mkfifo Mknod
		Chmod Fchmod Chown Fchown Truncate Ftruncate Link Symlink Setxattr Getxattr Flock Fsync Sendfile Utimes
		Socket Connect Bind Sendto Sendmsg SetsockoptInt SockaddrUnix AF_INET InotifyInit1 InotifyAddWatch IN_CREATE
		Syscall RawSyscall6 Setuid Setresuid Setgroups Chroot Mount Unmount Umask PtraceAttach Reboot Mmap Statfs Getrlimit Setrlimit Settimeofday Adjtimex Sysinfo`,
	"golang.org/x/sys/unix": `Readlink Readlinkat Kill Tgkill PidfdOpen PidfdSendSignal Exec Open Openat Openat2 OpenByHandleAt O_CREAT O_TMPFILE Creat Write Pwritev Rename Renameat Renameat2
		Unlink Unlinkat Rmdir Mkdirat Mkfifoat Mknodat Fchmodat Fchmodat2 Fchown Fchownat Lchown Ftruncate Fallocate Linkat Symlinkat
		Setxattr Lsetxattr Fsetxattr Fremovexattr Fgetxattr Flistxattr Lgetxattr UtimesNanoAt Flock FcntlFlock CopyFileRange Splice
		Socket Socketpair Connect Accept4 SendmsgN Recvfrom InotifyInit1 InotifyAddWatch IN_MODIFY FanotifyInit FanotifyMark
		Syscall Setresuid Setns Unshare PivotRoot Mount MemfdCreate ProcessVMWritev Prlimit Statfs Fstatfs ClockSettime ClockAdjtime
		Prctl IoctlGetWinsize Poll ClockGettime Dup3 Pipe2 Eventfd Setpriority Sethostname Capset Setgroups SetfsuidRetUid SetfsgidRetGid`,
	"net": `Dial DialTimeout DialTCP DialUDP DialUnix Dialer Listen ListenPacket ListenTCP ListenUnixgram ListenConfig FileConn FileListener
		LookupHost LookupAddr LookupSRV LookupTXT Resolver DefaultResolver ResolveTCPAddr`,
	"crypto/tls": `Client Dial DialWithDialer Dialer Listen NewListener Server QUICClient`,
	"log":        `Fatal Fatalf Fatalln Panic`,
}
