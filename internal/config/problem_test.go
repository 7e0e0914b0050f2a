package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what is said about the files in testdata/problems")

// wrongFile is a wrong configuration and what is said about it. They stand
// one after the other in testdata/problems: === NAME, the file, ==>, the
// messages.
type wrongFile struct{ name, input, says string }

func readWrongFiles(t *testing.T, path string) []wrongFile {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var files []wrongFile
	for section := range strings.SplitSeq("\n"+string(data), "\n=== ") {
		if section == "" {
			continue
		}
		name, rest, _ := strings.Cut(section, "\n")
		input, says, ok := strings.Cut("\n"+rest, "\n==>\n")
		if !ok {
			t.Fatalf("%s: %s has no messages", path, name)
		}
		files = append(files, wrongFile{name, strings.TrimPrefix(input+"\n", "\n"), strings.TrimSuffix(says, "\n")})
	}
	return files
}

func TestProblems(t *testing.T) {
	paths, err := filepath.Glob("testdata/problems/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no wrong files: %v", err)
	}
	nowhere := func(string) bool { return false }
	for _, path := range paths {
		var updated strings.Builder
		for _, file := range readWrongFiles(t, path) {
			t.Run(filepath.Base(path)+"/"+file.name, func(t *testing.T) {
				_, err := parse("config.yaml", []byte(file.input), nowhere)
				if _, ok := errors.AsType[*Error](err); !ok {
					t.Fatalf("got %v, want an *Error", err)
				}
				if *update {
					updated.WriteString("=== " + file.name + "\n" + file.input + "==>\n" + err.Error() + "\n")
				} else if diff := cmp.Diff(file.says, err.Error()); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		}
		if *update {
			if err := os.WriteFile(path, []byte(updated.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
