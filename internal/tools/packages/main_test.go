package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReproducible makes the packages and repositories of them in two places and
// compares every byte.
func TestReproducible(t *testing.T) {
	here, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	there := filepath.Join(t.TempDir(), "a", "copy")
	copyTree(t, here, there)
	first, second := makePackages(t, here), makePackages(t, there)
	// Two packages and a bill for each architecture, and the sums; for apt two
	// packages, four indexes, Release and sources; for dnf two, three and one.
	if len(first) != 7+8+6 || len(second) != len(first) {
		t.Errorf("%d files were made, and %d in another place", len(first), len(second))
	}
	for name, content := range first {
		if !bytes.Equal(content, second[name]) {
			t.Errorf("%s differs in another place", name)
		}
	}

	bill, ok := first["certlatch_1.2.3~rc1_arm64.cdx.json"]
	var parsed struct {
		Components []struct{ PURL string }
	}
	if err := json.Unmarshal(bill, &parsed); !ok || err != nil || !strings.Contains(string(bill), "pkg:golang/gopkg.in/yaml.v3@v") {
		t.Errorf("the bill of materials: %v\n%s", err, bill)
	}
	for _, c := range parsed.Components {
		if !strings.HasPrefix(c.PURL, "pkg:golang/") {
			t.Errorf("a component has the package URL %q", c.PURL)
		}
	}
}

// makePackages runs make package in a source tree, and returns the files that
// it made.
func makePackages(t *testing.T, tree string) map[string][]byte {
	t.Helper()
	out := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "make", "--directory="+tree, "package",
		"VERSION=v1.2.3-rc1", "SOURCE_DATE_EPOCH=1700000000", "PACKAGES="+out,
		"RELEASE=-repositories", "URL=http://packages.example")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	made := map[string][]byte{}
	err := filepath.WalkDir(out, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		made[strings.TrimPrefix(path, out+"/")], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// copyTree copies the sources, and neither their history nor what was built.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	pack := exec.CommandContext(t.Context(), "tar", "-c", "-C", from, "--exclude=./.git", "--exclude=./.build", ".")
	unpack := exec.CommandContext(t.Context(), "tar", "-x", "-C", to)
	var err error
	if unpack.Stdin, err = pack.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := unpack.Start(); err != nil {
		t.Fatal(err)
	}
	if err := pack.Run(); err != nil {
		t.Fatal(err)
	}
	if err := unpack.Wait(); err != nil {
		t.Fatal(err)
	}
}

// TestPages wants every page of the manual to be there, and examples in it to be set
// off from the text around them.
func TestPages(t *testing.T) {
	b := build{source: "../../.."}
	names, err := b.pages()
	if err != nil || len(names) < 3 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		zipped, err := b.page(name)
		if err != nil {
			t.Fatal(err)
		}
		unzipped, err := gzip.NewReader(bytes.NewReader(zipped))
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(unzipped)
		if err != nil {
			t.Fatal(err)
		}
		examples := bytes.Count(page, []byte("\n.EX\n"))
		if examples == 0 || examples != bytes.Count(page, []byte("\n.RS 4\n.EX\n")) || examples != bytes.Count(page, []byte("\n.EE\n.RE\n")) {
			t.Errorf("%s has %d examples that are not all set off", name, examples)
		}
	}
}
