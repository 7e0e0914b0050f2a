package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/rpm"
)

func TestReleasable(t *testing.T) {
	date := time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)
	for _, c := range []struct{ described, changelog, want string }{
		{"v1.2.3", "## 1.2.3, 2026-11-22\n\n- New.\n", ""},
		{"v1.2.3", "## Unreleased\n\n## 1.2.3, 2026-11-22\n\n- New.\n", ""},
		{"v1.2.3-rc1", "## 1.2.3-rc1, 2026-11-22\n\n- New.\n", ""},
		{"v1.2.3", "## Unreleased\n\n- New.\n\n## 1.2.3, 2026-11-22\n\n- Old.\n", "the heading ## 1.2.3, YYYY-MM-DD"},
		{"v1.2.3", "## 1.2.2, 2026-11-22\n\n- Old.\n", "the heading ## 1.2.3, YYYY-MM-DD"},
		{"v1.2.3", "# Changes\n", "the heading ## 1.2.3, YYYY-MM-DD"},
		{"v1.2.3-5-g0a1b2c3", "## 1.2.3, 2026-11-22\n\n- Old.\n", "is no version to release"},
		{"v1.2.3-dirty", "## 1.2.3, 2026-11-22\n\n- New.\n", "is no version to release"},
		{"0a1b2c3", "## 1.2.3, 2026-11-22\n\n- New.\n", "is no version to release"},
		{"devel", "## 1.2.3, 2026-11-22\n\n- New.\n", "is no version to release"},
	} {
		b := build{source: t.TempDir(), version: packageVersion(c.described, date), date: date}
		if err := os.WriteFile(filepath.Join(b.source, "CHANGELOG.md"), []byte(c.changelog), 0o644); err != nil {
			t.Fatal(err)
		}
		switch err := b.releasable(c.described); {
		case c.want == "" && err != nil:
			t.Errorf("%s with %q: %v", c.described, c.changelog, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s with %q: %v, want %s", c.described, c.changelog, err, c.want)
		}
	}
}

// TestNothingHalfSigned has gpg fail at one of its calls, and wants nothing to be
// left of what was to be signed. The calls are a try, two for the rpm, the sums, the
// public key, two for apt and its key, and one for dnf.
func TestNothingHalfSigned(t *testing.T) {
	tool := filepath.Join(t.TempDir(), "packages")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", tool, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	bin := t.TempDir()
	fake := `#!/bin/sh
case "$*" in *--list-secret-keys*) echo "sec:u:3072:1:0123:::::::sc:"; exit ;; esac
cat >/dev/null
echo >>"$CALLS"
[ "$(wc -l <"$CALLS")" -lt "$FAILS" ] || { echo "gpg: signing failed: no" >&2; exit 2; }
echo signature
`
	if err := os.WriteFile(filepath.Join(bin, "gpg"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	const last = 9
	for _, fails := range []int{1, 3, 6, last, last + 1} {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), tool, "-version", "v1.2.3", "-epoch", "1700000000", "-out", filepath.Join(dir, "out"),
			"-source", "../../..", "-native", "/bin/true", "-sign", "key", "-repositories", "-url", "http://example", "amd64="+tool)
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "CALLS="+filepath.Join(dir, "calls"), "FAILS="+strconv.Itoa(fails))
		out, err := cmd.CombinedOutput()
		if fails > last {
			if err != nil {
				t.Errorf("gpg has not failed: %v\n%s", err, out)
			}
			continue
		}
		if err == nil || !strings.Contains(string(out), "sign with key key: exit status 2\ngpg: signing failed: no") {
			t.Fatalf("call %d of gpg fails: %v\n%s", fails, err, out)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 1 {
			t.Errorf("call %d of gpg fails, and left are %v, %v", fails, left, err)
		}
	}
}

// TestCutOff reads packages that were cut off, of which the indexes of a repository
// must not be made.
func TestCutOff(t *testing.T) {
	info := nfpm.WithDefaults(&nfpm.Info{Name: "name", Arch: "amd64", Version: "1", Maintainer: "m", Description: "d", MTime: time.Unix(1, 0)})
	var asDeb, asRPM bytes.Buffer
	if err := errors.Join(deb.Default.Package(info, &asDeb), rpm.DefaultRPM.Package(info, &asRPM)); err != nil {
		t.Fatal(err)
	}
	control, err := debControl(asDeb.Bytes())
	if err != nil || field(control, "Package") != "name" || field(control, "Architecture") != "amd64" {
		t.Errorf("%v\n%s", err, control)
	}
	header, err := readRPM(asRPM.Bytes())
	if err != nil || header.text(tagName) != "name" || header.text(tagArch) != "x86_64" || header.number(tagBuildTime) != 1 {
		t.Errorf("%v\n%v", err, header)
	}
	for n := range header.end {
		if _, err := readRPM(asRPM.Bytes()[:n]); err == nil {
			t.Errorf("of %d bytes of an rpm a header is read", n)
		}
	}
	const magicAndHead = 68 // and the first member, which is before the control files
	for n := range magicAndHead + 4 {
		if _, err := debControl(asDeb.Bytes()[:n]); err == nil {
			t.Errorf("of %d bytes of a deb the control file is read", n)
		}
	}
}
