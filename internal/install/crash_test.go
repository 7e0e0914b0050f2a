package install

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/fault"
	"github.com/certlatch/certlatch/internal/need"
)

// TestDurable checks the order of the system calls, which a recovery from a
// power cut at any instant depends on: contents are synced before they are
// renamed, the journal and its directory before anything else, and the other
// directories after every change.
func TestDurable(t *testing.T) {
	fault.NeedStrace(t)
	p := inMemory(t)
	p.prepare(t, inPlace, true)
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-qq", "-y", "-s", "4096", "-o", trace, "-e", "trace=write,fsync,renameat,linkat,unlinkat", os.Args[0], p.root)
	cmd.Env = append(os.Environ(), helperVariable+"="+helpDeploy+" "+string(inPlace), "GORACE=atexit_sleep_ms=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	data, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`\.certlatch-\w+`).ReplaceAllString(string(data), "TEMP")
	var got []string
	for _, call := range regexp.MustCompile(`(\w+)\(\d+<`+p.root+`/([^>]*)>(?:, "([^"]*)")?(?:, \d+<[^>]*>, "([^"]*)")?`).FindAllStringSubmatch(text, -1) {
		switch name, path := call[1], call[2]; name {
		case "write", "fsync":
			got = append(got, name+" "+path)
		default:
			got = append(got, strings.TrimSpace(name+" "+path+"/ "+call[3]+" "+call[4]))
		}
	}
	want := []string{
		"write state/journal/draft.json", "fsync state/journal/draft.json",
		"renameat state/journal/ draft.json intent.json", "fsync state/journal",
		"write etc/private/TEMP", "write etc/certs/TEMP",
		"linkat etc/private/ key.pem TEMP", "linkat etc/certs/ cert.pem TEMP",
		"fsync etc/private/TEMP", "fsync etc/certs/TEMP",
		"fsync etc/certs", "fsync etc/private",
		"renameat etc/private/ TEMP key.pem", "renameat etc/certs/ TEMP cert.pem",
		"fsync etc/certs", "fsync etc/private",
		"renameat state/journal/ intent.json kept.json", "fsync state/journal",
		"unlinkat etc/private/ TEMP", "unlinkat etc/certs/ TEMP",
		"fsync etc/certs", "fsync etc/private",
		"unlinkat state/journal/ kept.json", "fsync state/journal",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("system calls (-want +got):\n%s", diff)
	}
}

// manyVariable has this program install the sets of TestManyAreDurable in a place.
const manyVariable = "CERTLATCH_TEST_MANY"

// TestManyAreDurable wants all files and names of many sets, which are synced at
// once, to be durable before the first is renamed.
func TestManyAreDurable(t *testing.T) {
	const many = 300 // more than are open at once
	for _, l := range []layout{inPlace, managed} {
		if root := os.Getenv(manyVariable); root != "" {
			deploy(t, place{filepath.Join(root, string(l))}, manySets(t, filepath.Join(root, string(l)), l, many)...)
		}
	}
	if os.Getenv(manyVariable) != "" {
		return
	}
	need.Root(t) // managed directories become root's
	fault.NeedStrace(t)
	root, trace := inMemory(t).root, filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-qq", "-y", "-o", trace, "-e", "trace=fsync,renameat", os.Args[0], "-test.run=^TestManyAreDurable$")
	cmd.Env = append(os.Environ(), manyVariable+"="+root, "GORACE=atexit_sleep_ms=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	data, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []layout{inPlace, managed} {
		calls := regexp.MustCompile(`\d{8}T\d+Z-\w+`).ReplaceAllString(string(data), "TIME")
		calls = regexp.MustCompile(`\.certlatch-\w+`).ReplaceAllString(calls, "TEMP")
		renamed := regexp.MustCompile(`renameat\(\d+<` + root + `/` + string(l) + `/tls/`).FindStringIndex(calls)
		if renamed == nil {
			t.Fatalf("%s: nothing is renamed", l)
		}
		files := regexp.MustCompile(`fsync\(\d+<`+root+`/`+string(l)+`/tls/\d+/(TEMP|TIME/\w+\.pem)>`).FindAllString(calls[:renamed[0]], -1)
		if len(files) != 2*many {
			t.Errorf("%s: before the first rename %d files are synced", l, len(files))
		}
		dirs := regexp.MustCompile(`fsync\(\d+<`+root+`/`+string(l)+`/tls/\d+>`).FindAllString(calls[:renamed[0]], -1)
		if len(dirs) < many {
			t.Errorf("%s: before the first rename %d directories are synced", l, len(dirs))
		}
	}
}

// manySets returns many sets in a place.
func manySets(t *testing.T, root string, l layout, many int) (sets []Set) {
	t.Helper()
	for i := range many {
		dir := filepath.Join(root, "tls", strconv.Itoa(i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		set := Set{Target: "web", Lineage: strconv.Itoa(i)}
		if l == managed {
			set.Directory, set.Generation = dir, "20260102T150405Z-new"
			dir = filepath.Join(dir, current)
		}
		for _, name := range []string{"fullchain.pem", "privkey.pem"} {
			set.Files = append(set.Files, File{
				Path: filepath.Join(dir, name), Data: []byte(name), UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o600, HoldsKey: name == "privkey.pem",
			})
		}
		sets = append(sets, set)
	}
	return sets
}

// inMemory returns a place where fsync costs nothing, if there is one: in these
// tests the power stays on.
func inMemory(t *testing.T) place {
	t.Helper()
	root, err := os.MkdirTemp("/dev/shm", "certlatch-test-")
	if err != nil {
		return place{t.TempDir()}
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	return place{root}
}

// abandon commits sets and ends there, like a process that is killed.
func (p place) abandon(t *testing.T, sets ...Set) {
	t.Helper()
	tx, err := p.installer().Stage(sets)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	tx.close()
}

// prepare makes the directories that must be there, and installs the old pair.
func (p place) prepare(t *testing.T, l layout, installed bool) {
	t.Helper()
	if l == inPlace {
		for _, path := range []string{p.key(), p.cert()} {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if installed {
		deploy(t, p, p.set(l, oldPair))
	}
}

func deploy(t *testing.T, p place, sets ...Set) {
	t.Helper()
	tx, err := p.installer().Stage(sets)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := tx.Keep(); err != nil {
		t.Fatal(err)
	}
}

func contents(files []File) (all []string) {
	for _, f := range files {
		all = append(all, f.Path+": "+string(f.Data))
	}
	return all
}

// names returns the paths in a place, without the state directory, where a pair
// is installed; with before, in place of the old pair.
func (p place) names(l layout, installed pair, before bool) []string {
	switch {
	case l == inPlace && installed.key == "":
		return []string{"etc", "etc/certs", "etc/private"}
	case l != managed && installed.key != "":
		return []string{"etc", "etc/certs", "etc/certs/cert.pem", "etc/private", "etc/private/key.pem"}
	case installed.key == "":
		return nil
	}
	const dir = "etc/tls/sip.example"
	names := []string{"etc", "etc/tls", dir, dir + "/current"}
	generations := []string{installed.generation}
	if before {
		generations = []string{oldPair.generation, installed.generation}
	}
	for _, g := range generations {
		names = append(names, dir+"/"+g, dir+"/"+g+"/fullchain.pem", dir+"/"+g+"/privkey.pem")
	}
	slices.Sort(names)
	return names
}

// tree returns the paths of everything below a directory. Of the state
// directory it returns only what is in that of the journal.
func tree(t *testing.T, root string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path)
		if name != "." && name != "state" && name != "state/journal" {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}
