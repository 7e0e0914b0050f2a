package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPackageVersion(t *testing.T) {
	date := time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)
	for described, want := range map[string]string{
		"v1.2.3":                  "1.2.3",
		"1.2.3":                   "1.2.3",
		"v1.2.3-rc1":              "1.2.3~rc1",
		"v1.2.3-5-g0a1b2c3":       "1.2.3+5.g0a1b2c3",
		"v1.2.3-rc1-5-g0a1b2c3":   "1.2.3~rc1+5.g0a1b2c3",
		"v1.2.3-5-g0a1b2c3-dirty": "1.2.3+5.g0a1b2c3+dirty",
		"0a1b2c3":                 "0~20261123060000.0a1b2c3",
		"1234567":                 "0~20261123060000.1234567",
		"devel":                   "0~20261123060000.devel",
		"some-branch-v1_2":        "0~20261123060000.somebranchv12",
	} {
		if got := packageVersion(described, date); got != want {
			t.Errorf("%s becomes %s, want %s", described, got, want)
		}
	}
}

func TestDebianChangelog(t *testing.T) {
	date := time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)
	b := build{source: t.TempDir(), version: "1.1.0", date: date}
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(b.source, "CHANGELOG.md"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("# Changes\n\nSentences.\n\n## Unreleased\n\n- One that is so long that it takes\n  more than a line in the form of Debian, whose limit is eighty columns.\n- Two.\n\n## 1.0.0, 2026-01-02\n\n- First.\n")
	got, err := b.debianChangelog()
	want := `certlatch (1.1.0-1) unstable; urgency=medium

  * One that is so long that it takes more than a line in the form of Debian,
    whose limit is eighty columns.
  * Two.

 -- ` + maintainer + `  Mon, 23 Nov 2026 06:00:00 +0000

certlatch (1.0.0-1) unstable; urgency=medium

  * First.

 -- ` + maintainer + `  Fri, 02 Jan 2026 00:00:00 +0000

`
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s", err, got)
	}
	// Changes that are dated are those of the version, also under an empty heading
	// for the next; a later commit has an entry of its own.
	write("## Unreleased\n\n## 1.1.0, 2026-01-02\n\n- First.\n")
	if got, err := b.debianChangelog(); err != nil || !strings.HasPrefix(string(got), "certlatch (1.1.0-1) unstable; urgency=medium\n\n  * First.\n") {
		t.Errorf("%v\n%s", err, got)
	}
	b.version = "1.1.0+5.g0a1b2c3"
	if got, err := b.debianChangelog(); err != nil || !strings.HasPrefix(string(got), "certlatch (1.1.0+5.g0a1b2c3-1) unstable; urgency=medium\n\n  * No change") {
		t.Errorf("%v\n%s", err, got)
	}
	write("## 1.0.0\n\n- First.\n")
	if _, err := b.debianChangelog(); err == nil || !strings.Contains(err.Error(), "YYYY-MM-DD") {
		t.Errorf("a heading without a date: %v", err)
	}
}
