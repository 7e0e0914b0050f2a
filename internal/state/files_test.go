package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// damages are ways in which a file may be damaged, and the error for each.
var damages = []struct {
	name   string
	damage func(t *testing.T, path string)
	says   string
}{
	{"empty", write(""), "is empty"},
	{"truncated", truncate, "ends in the middle"},
	{"random bytes", write("\x80\xffnonsense"), "is no JSON from byte 1 on"},
	{"other JSON", write("[]"), `is JSON of another form: "" cannot be a array`},
	{"of wrong types", write(`{"schema":"certlatch.state/1","records":"none"}`), `is JSON of another form: "records" cannot be a string`},
	{"a time that is none", write(`{"schema":"certlatch.state/1","holds":[{"since":"yesterday"}]}`), "is JSON of another form: parsing time"},
	{"of no schema", write(`{}`), `its schema is ""`},
	{"of a number for a schema", write(`{"schema":"2"}`), `its schema is "2"`},
	{"of another schema", write(`{"schema":"certlatch.status/2"}`), `its schema is "certlatch.status/2"`},
	{"of an earlier version", write(`{"schema":"certlatch.state/0"}`), `its schema is "certlatch.state/0"`},
	{"huge", huge, "is larger than 512 MiB"},
	{"a directory", directory, "is a directory"},
	{"a FIFO", fifo, "is not a regular file"},
	{"a link", link, "is a symlink"},
	{"a link to nowhere", dangling, "is a symlink"},
}

func write(text string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func truncate(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()/2); err != nil {
		t.Fatal(err)
	}
}

func huge(t *testing.T, path string) {
	t.Helper()
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Fatal(err)
	}
}

func directory(t *testing.T, path string) {
	replaceBy(t, path, func() error { return os.MkdirAll(filepath.Join(path, "sub"), 0o700) })
}
func fifo(t *testing.T, path string) {
	replaceBy(t, path, func() error { return syscall.Mkfifo(path, 0o600) })
}
func link(t *testing.T, path string) {
	replaceBy(t, path, func() error { return os.Symlink(path+".elsewhere", path) })
	write(`{"schema":"certlatch.state/1"}`)(t, path+".elsewhere")
}
func dangling(t *testing.T, path string) {
	replaceBy(t, path, func() error { return os.Symlink("nowhere", path) })
}

func replaceBy(t *testing.T, path string, make func() error) {
	t.Helper()
	if err := errors.Join(os.Remove(path), make()); err != nil {
		t.Fatal(err)
	}
}

// held returns a state with a hold, as there is after a service crashed.
func held(t *testing.T) *Store {
	t.Helper()
	store := open(t)
	st, err := store.load(noon)
	if err != nil {
		t.Fatal(err)
	}
	st.Hold("sip", "service-crashed", noon)
	if err := store.Save(st); err != nil {
		t.Fatal(err)
	}
	return store
}

func TestDamagedStateIsReadFromItsCopy(t *testing.T) {
	for _, test := range damages {
		t.Run(test.name, func(t *testing.T) {
			store := held(t)
			test.damage(t, store.statePath())
			st, err := store.load(noon)
			if err != nil {
				t.Fatal(err)
			}
			if st.Held("sip") == nil {
				t.Error("the hold is lost")
			}
			if info, err := os.Stat(store.copyPath()); err != nil || !st.Copied.Equal(info.ModTime().Truncate(time.Second)) {
				t.Errorf("the copy is said to be of %s, %v", st.Copied, err)
			}
			damage := st.Damage
			if damage == nil || damage.Path != store.statePath() || !strings.Contains(damage.What, test.says) {
				t.Fatalf("%v is said", damage)
			}
			if err := store.Save(st); err != nil {
				t.Fatal(err)
			}
			if st, err := store.load(noon); err != nil || st.Damage != nil || st.Held("sip") == nil {
				t.Errorf("it is not mended: %v", err)
			}
			if _, err := os.Lstat(damage.Aside); err != nil {
				t.Errorf("what was damaged is not kept: %v", err)
			}
			aside, err := store.Aside()
			if err != nil || len(aside) != 1 || aside[0] != damage.Aside {
				t.Errorf("set aside are %v, %v", aside, err)
			}
			if err := store.Save(st); err != nil {
				t.Fatal(err)
			}
			if aside, err := store.Aside(); err != nil || len(aside) != 1 {
				t.Errorf("a state that is well is set aside: %v, %v", aside, err)
			}
		})
	}
}

func TestDamagedCopyIsMadeAnew(t *testing.T) {
	for _, test := range damages {
		t.Run(test.name, func(t *testing.T) {
			store := held(t)
			test.damage(t, store.copyPath())
			if damage := store.CheckCopy(); damage == nil || !strings.Contains(damage.What, test.says) {
				t.Errorf("%v is said", damage)
			}
			st, err := store.load(noon)
			if err != nil || st.Damage != nil || st.Held("sip") == nil {
				t.Fatalf("%v, %v", st, err)
			}
			if err := store.Save(st); err != nil {
				t.Fatal(err)
			}
			if damage := store.CheckCopy(); damage != nil {
				t.Error(damage)
			}
		})
	}
}

// TestStateThatCannotBeRead wants an error where neither the state nor its copy
// can be read, with a remedy that works when it is followed word by word.
func TestStateThatCannotBeRead(t *testing.T) {
	later := write(`{"schema":"certlatch.state/2","records":7}`)
	nothing := func(*testing.T, string) {}
	gone := func(t *testing.T, path string) { replaceBy(t, path, func() error { return nil }) }
	empty := write("")
	for _, test := range []struct {
		name        string
		state, copy func(*testing.T, string)
		says        string
		moves       int  // how many files the remedy moves away
		keeps       bool // whether there still is a hold after that
	}{
		{"both are damaged", empty, truncate, "is empty; ", 2, false},
		{"there is no copy", empty, gone, "is empty", 1, false},
		{"there is only a damaged copy", gone, empty, "is empty", 1, false},
		{"a later version wrote it", later, later, "later version of certlatch (certlatch.state/2)", 2, false},
		{"a later version wrote it, and not its copy", later, nothing, "later version", 1, true},
		{"a later version wrote it, and has no copy", later, gone, "later version", 1, false},
		{"a later version wrote it, and the copy is damaged", later, empty, "later version", 2, false},
		{"a later version wrote the copy", empty, later, "later version", 2, false},
		{"a later version wrote the copy alone", gone, later, "later version", 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := held(t)
			test.state(t, store.statePath())
			test.copy(t, store.copyPath())
			before := content(t, store)
			_, err := store.load(noon)
			unread := new(UnreadableError)
			if !errors.As(err, &unread) || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("got %v", err)
			}
			isLater := strings.Contains(test.says, "later")
			if strings.Contains(unread.Remedy(), "install the later certlatch") != isLater {
				t.Errorf("the remedy is %s", unread.Remedy())
			}
			if content(t, store) != before {
				t.Error("what cannot be read was touched")
			}
			moved := 0
			for _, step := range strings.Split(unread.Remedy(), "; ") {
				words := strings.Fields(step)
				if len(words) == 3 && words[0] == "mv" {
					moved++
					if err := os.Rename(words[1], words[2]); err != nil {
						t.Fatal(err)
					}
				}
			}
			st, err := store.load(noon)
			if err != nil || moved != test.moves {
				t.Fatalf("after the remedy, which moves %d files: %v", moved, err)
			}
			if (st.Held("sip") != nil) != test.keeps {
				t.Errorf("the hold is kept: %t", !test.keeps)
			}
			if err := store.Save(st); err != nil {
				t.Error(err)
			}
		})
	}
}

// content returns the names and contents of everything in the state directory.
func content(t *testing.T, store *Store) string {
	t.Helper()
	var text strings.Builder
	if err := filepath.WalkDir(store.dir, func(path string, entry fs.DirEntry, err error) error {
		data, _ := os.ReadFile(path) // of a directory there is none
		fmt.Fprintf(&text, "%s %s %q\n", path, entry.Type(), data)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func TestStateThatIsMissing(t *testing.T) {
	store := held(t)
	if err := os.Remove(store.statePath()); err != nil {
		t.Fatal(err)
	}
	st, err := store.load(noon)
	if err != nil || st.Held("sip") == nil || st.Damage == nil || st.Damage.What != "is missing" {
		t.Fatalf("%+v, %v", st, err)
	}
	for range 2 {
		if err := store.Save(st); err != nil {
			t.Fatal(err)
		}
	}
	if aside, err := store.Aside(); err != nil || aside != nil {
		t.Errorf("set aside are %v, %v", aside, err)
	}
	if err := errors.Join(os.Remove(store.statePath()), os.Remove(store.copyPath())); err != nil {
		t.Fatal(err)
	}
	if st, err := store.load(noon); err != nil || st.Damage != nil || st.Holds != nil {
		t.Errorf("a state that there never was is %+v, %v", st, err)
	}
	if damage := store.CheckCopy(); damage != nil {
		t.Errorf("a copy that there never was: %v", damage)
	}
}

func TestDamagedHistoryGoesOn(t *testing.T) {
	lines := func(bad string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			first, rest, _ := bytes.Cut(data, []byte("\n"))
			write(string(first)+"\n"+bad+"\n"+string(rest))(t, path)
		}
	}
	for _, test := range []struct {
		name   string
		damage func(*testing.T, string)
		says   string
		stay   int // entries
	}{
		{"a line", lines("{"), "of 4 lines some cannot be read (2)", 3},
		{"lines", lines(strings.Repeat("\x00\n", 7) + "null"), "of 11 lines some cannot be read (2, 3, 4, 5, 6 and 3 more)", 3},
		{"five lines", lines(strings.Repeat("\x00\n", 4) + "null"), "of 8 lines some cannot be read (2, 3, 4, 5, 6)", 3},
		{"the last line", truncateBy(5), "of 3 lines some cannot be read (3)", 2},
		{"all of it", write("\x80nonsense"), "of 1 lines some cannot be read (1)", 0},
		{"empty", write(""), "is empty", 0},
		{"huge", huge, "is larger than 16 MiB", 0},
		{"a directory", directory, "is a directory", 0},
		{"a FIFO", fifo, "is not a regular file", 0},
		{"a link", link, "is a symlink", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := open(t)
			for _, name := range []string{"a", "b", "c"} {
				if _, err := store.Append(Entry{Time: noon, Target: name}); err != nil {
					t.Fatal(err)
				}
			}
			test.damage(t, store.historyFile())
			entries, damage, err := store.History()
			if err != nil || damage == nil || !strings.Contains(damage.Error(), test.says) || len(entries) != test.stay {
				t.Fatalf("read are %v, %v, %v", entries, damage, err)
			}
			damage, err = store.Append(Entry{Time: noon, Target: "d"})
			if err != nil || damage == nil {
				t.Fatal(damage, err)
			}
			if _, err := os.Lstat(damage.Aside); err != nil || damage.Aside != store.historyFile()+".damaged-1" {
				t.Errorf("what was damaged is not kept: %s, %v", damage.Aside, err)
			}
			entries, damage, err = store.History()
			if err != nil || damage != nil || len(entries) != test.stay+1 || entries[test.stay].Target != "d" {
				t.Errorf("then, read are %v, %v, %v", entries, damage, err)
			}
		})
	}
}

func truncateBy(n int64) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()-n); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFewDamagedFilesAreKept(t *testing.T) {
	store := open(t)
	for n := range 6 {
		write(fmt.Sprint("damage ", n))(t, store.historyFile())
		if _, err := store.Append(Entry{Target: "web"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range []string{"history.jsonl.damaged-x", "history.jsonl.damaged-0", "history.jsonl.damaged-", "history.jsonl.damaged-1-2", "history.jsonl.damaged-99999999999999999999"} {
		write("other")(t, filepath.Join(store.dir, other))
	}
	aside, err := store.Aside()
	if err != nil || len(aside) != asideKept {
		t.Fatalf("set aside are %v, %v", aside, err)
	}
	for i, path := range aside {
		if data, err := os.ReadFile(path); err != nil || string(data) != fmt.Sprint("damage ", 3+i) {
			t.Errorf("%s holds %q, %v", path, data, err)
		}
	}
	if aside, err := View(filepath.Join(store.dir, "missing")).Aside(); err != nil || aside != nil {
		t.Errorf("in a directory that is not there: %v, %v", aside, err)
	}
}

// TestDamagedSnapshots wants a snapshot that lacks what its readers rely on to
// be damaged.
func TestDamagedSnapshots(t *testing.T) {
	const leaf = `{"fingerprint_sha256":"ab"}`
	for _, test := range []struct{ certificate, says string }{
		{`{"state":"failed"}`, "is missing"},
		{`{"state":"pending","pending":null}`, "is missing"},
		{`{"differs":"2026-11-23T12:00:00Z"}`, "is missing"},
		{`{"served":[{}]}`, "is missing"},
		{`{"served":[{"leaf":` + leaf + `}]}`, "is missing"},
		{`{"looked":7}`, "is JSON of another form"},
		{`{"served":[{"error":"no"},{"probe":"tls://a","leaf":` + leaf + `}],"state":"failed","pending":{"reason":"x"},"differs":"2026-11-23T12:00:00Z","issued":` + leaf + `}`, ""},
	} {
		dir := t.TempDir()
		write(`{"schema":"certlatch.snapshot/1","certificates":[`+test.certificate+`]}`)(t, SnapshotFile(dir))
		_, err := ReadSnapshot(dir)
		if damaged := errors.As(err, new(*Damage)); damaged != (test.says != "") || damaged && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", test.certificate, err)
		}
	}
	for name, damage := range map[string]func(*testing.T, string){"a directory": directory, "a FIFO": fifo, "huge": huge} {
		dir := t.TempDir()
		write("{}")(t, SnapshotFile(dir))
		damage(t, SnapshotFile(dir))
		if _, err := ReadSnapshot(dir); !errors.As(err, new(*Damage)) {
			t.Errorf("%s is read: %v", name, err)
		}
		if err := WriteSnapshot(dir, nil, nil); err != nil {
			t.Errorf("%s is not made anew: %v", name, err)
		}
		if _, err := ReadSnapshot(dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStateDirectoryThatCannotBeWrittenTo wants the error to name the state
// directory and to have a remedy.
func TestStateDirectoryThatCannotBeWrittenTo(t *testing.T) {
	for _, test := range []struct {
		cause  error
		remedy string
	}{
		{syscall.EROFS, "findmnt --target /state"}, {syscall.ENOSPC, "df -h /state"}, {syscall.EDQUOT, "quota"}, {syscall.EACCES, "ls -ld /state"},
		{syscall.EPERM, "lsattr /state"}, {syscall.ENOTDIR, "directory of /state"}, {syscall.EISDIR, "move away the directory"}, {syscall.ELOOP, "move away the link"}, {syscall.EBUSY, "findmnt"}, {syscall.EIO, ""},
	} {
		err := View("/state").Failed("write state", &fs.PathError{Op: "create", Path: "/state/x", Err: test.cause})
		directory := new(DirectoryError)
		if !errors.As(err, &directory) || !errors.Is(err, test.cause) || !strings.Contains(directory.Remedy(), test.remedy) || (directory.Remedy() == "") != (test.remedy == "") {
			t.Errorf("%v: %s", err, directory.Remedy())
		}
		if want := "write state: create /state/x: " + test.cause.Error(); err.Error() != want {
			t.Errorf("%q instead of %q", err, want)
		}
	}
	if err := View("/state").Failed("write state", nil); err != nil {
		t.Error(err)
	}
}

// TestEveryWriteNamesTheStateDirectory wants every method that writes to fail
// with a *DirectoryError.
func TestEveryWriteNamesTheStateDirectory(t *testing.T) {
	store := held(t)
	st, err := store.load(noon)
	if err != nil {
		t.Fatal(err)
	}
	stuck := filepath.Join(store.MarksDir(), "certbot:a.example")
	if err := os.MkdirAll(filepath.Join(stuck, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	unmarkErr := store.Unmark(onlyMark(t, store))
	if err := os.RemoveAll(store.dir); err != nil {
		t.Fatal(err)
	}
	_, lockErr := store.Lock(t.Context())
	_, appendErr := store.Append(Entry{Target: "web"})
	write("")(t, store.dir)
	_, openErr := Open(store.dir)
	if _, _, err := store.History(); err == nil {
		t.Error("a history was read in a file")
	}
	if _, err := store.load(noon); err == nil || errors.As(err, new(*UnreadableError)) {
		t.Errorf("a state was read in a file, or is damaged: %v", err)
	}
	for name, err := range map[string]error{
		"save": store.Save(st), "mark": store.Mark("certbot", "b.example"), "unmark": unmarkErr,
		"lock": lockErr, "append": appendErr, "open": openErr,
	} {
		if directory := new(DirectoryError); !errors.As(err, &directory) || directory.Dir != store.dir {
			t.Errorf("%s: %v", name, err)
		}
	}
}
