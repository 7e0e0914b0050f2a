package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/internal/need"
)

const (
	acme  = 1234 // the user of an ACME client
	other = 1235
)

// TestStore reads from a store of root's: a/ and its file are acme's, b/ is
// root's, archive lies beside the store, and secret is root's and outside.
func TestStore(t *testing.T) {
	need.Root(t)
	const owner, outside, irregular = "owner", "outside", "irregular"
	tests := []struct {
		name    string
		arrange func(t *testing.T, top string)
		path    string
		fails   string
		moves   bool // the store: one that was open already is the directory that it was
	}{
		{name: "root's", path: "b/key"},
		{name: "the user's own", path: "a/key"},
		{name: "root's link beside", arrange: func(t *testing.T, top string) { symlink(t, "../../archive/key1", top+"/store/b/link") }, path: "b/link"},
		{name: "root's link to the user's", arrange: func(t *testing.T, top string) { symlink(t, "../a/key", top+"/store/b/link") }, path: "b/link"},
		{name: "absolute", arrange: func(t *testing.T, top string) { symlink(t, top+"/archive/key1", top+"/store/b/link") }, path: "b/link"},
		{name: "the user's link to his own", arrange: func(t *testing.T, top string) { link(t, "key", top+"/store/a/link", acme) }, path: "a/link"},
		{name: "the user's link to root's in the store", arrange: func(t *testing.T, top string) { link(t, "../b/key", top+"/store/a/link", acme) }, path: "a/link", fails: owner},
		{name: "root's link in the user's directory", arrange: func(t *testing.T, top string) { symlink(t, "../b/key", top+"/store/a/link") }, path: "a/link", fails: owner},
		{name: "the user's link to a directory of root's", arrange: func(t *testing.T, top string) {
			check(t, os.RemoveAll(top+"/store/a"))
			link(t, "b", top+"/store/a", acme)
		}, path: "a/key", fails: owner},
		{name: "the user's link out", arrange: func(t *testing.T, top string) { link(t, "../../secret", top+"/store/a/link", acme) }, path: "a/link", fails: outside},
		{name: "root's link out", arrange: func(t *testing.T, top string) { symlink(t, "../../secret", top+"/store/b/link") }, path: "b/link", fails: outside},
		{name: "out to where nothing is", arrange: func(t *testing.T, top string) { symlink(t, "/nowhere/key", top+"/store/b/link") }, path: "b/link", fails: outside},
		{name: "out by a directory to where nothing is", arrange: func(t *testing.T, top string) { symlink(t, top+"/gone/c", top+"/store/c") }, path: "c/key", fails: outside},
		{name: "out and in again", arrange: func(t *testing.T, top string) { symlink(t, "../../store/b/key", top+"/store/b/link") }, path: "b/link"},
		{name: "out to a directory", arrange: func(t *testing.T, top string) { symlink(t, "..", top+"/store/link") }, path: "link", fails: outside},
		{name: "beside, and out from there", arrange: func(t *testing.T, top string) {
			symlink(t, "../../archive/link", top+"/store/b/link")
			symlink(t, "../secret", top+"/archive/link")
		}, path: "b/link", fails: outside},
		{name: "a hard link to root's", arrange: func(t *testing.T, top string) { check(t, os.Link(top+"/secret", top+"/store/a/hard")) }, path: "a/hard", fails: owner},
		{name: "a hard link to root's in root's", arrange: func(t *testing.T, top string) { check(t, os.Link(top+"/secret", top+"/store/b/hard")) }, path: "b/hard"},
		{name: "a hard link to another user's", arrange: func(t *testing.T, top string) {
			check(t, os.Link(top+"/secret", top+"/store/a/hard"))
			check(t, os.Chown(top+"/secret", other, other))
		}, path: "a/hard", fails: owner},
		{name: "another user's in root's", arrange: func(t *testing.T, top string) { check(t, os.Chown(top+"/store/b/key", other, other)) }, path: "b/key"},
		{name: "root's where a group may write", arrange: func(t *testing.T, top string) { check(t, os.Chmod(top+"/store/b", 0o775)) }, path: "b/key", fails: owner},
		{name: "root's where all may write", arrange: func(t *testing.T, top string) { check(t, os.Chmod(top+"/store/b", 0o777|fs.ModeSticky)) }, path: "b/key", fails: owner},
		{name: "root's below where all may write", arrange: func(t *testing.T, top string) { check(t, os.Chmod(top+"/store", 0o777)) }, path: "b/key", fails: owner},
		{name: "root's below where all may write, and not rename", arrange: func(t *testing.T, top string) { check(t, os.Chmod(top+"/store", 0o777|fs.ModeSticky)) }, path: "b/key"},
		{name: "the user's where his group may write", arrange: func(t *testing.T, top string) { check(t, os.Chmod(top+"/store/a", 0o775)) }, path: "a/key"},
		{name: "root's below the user's", arrange: func(t *testing.T, top string) {
			check(t, os.Mkdir(top+"/store/a/sub", 0o700))
			check(t, os.WriteFile(top+"/store/a/sub/key", []byte("secret"), 0o600))
		}, path: "a/sub/key", fails: owner},
		{name: "a store of the user's", arrange: func(t *testing.T, top string) { check(t, os.Chown(top+"/store", acme, acme)) }, path: "b/key", fails: owner},
		{name: "a store behind the user's link", arrange: func(t *testing.T, top string) {
			check(t, os.Rename(top+"/store", top+"/real"))
			link(t, "real", top+"/store", acme)
		}, path: "b/key", fails: owner, moves: true},
		{name: "a store in the user's home", arrange: func(t *testing.T, top string) { check(t, os.Chown(top, acme, acme)) }, path: "b/key", fails: owner},
		{name: "the user's own in his home", arrange: func(t *testing.T, top string) { check(t, os.Chown(top, acme, acme)) }, path: "a/key"},
		{name: "a FIFO", arrange: func(t *testing.T, top string) { check(t, unix.Mkfifo(top+"/store/a/x", 0o600)) }, path: "a/x", fails: irregular},
		{name: "a device", arrange: func(t *testing.T, top string) {
			check(t, unix.Mknod(top+"/store/a/x", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		}, path: "a/x", fails: irregular},
		{name: "a socket", arrange: func(t *testing.T, top string) { check(t, unix.Mknod(top+"/store/a/x", unix.S_IFSOCK|0o600, 0)) }, path: "a/x", fails: irregular},
		{name: "a directory", path: "a", fails: irregular},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			top := t.TempDir()
			for _, dir := range []string{"store/a", "store/b", "archive"} {
				check(t, os.MkdirAll(top+"/"+dir, 0o755))
			}
			for _, file := range []string{"store/a/key", "store/b/key", "archive/key1", "secret"} {
				check(t, os.WriteFile(top+"/"+file, []byte(filepath.Base(file)), 0o600))
			}
			check(t, os.Chown(top+"/store/a", acme, acme))
			check(t, os.Chown(top+"/store/a/key", acme, acme))
			early, err := OpenStore(top+"/store", "archive", "missing")
			check(t, err)
			defer early.Close()
			if test.arrange != nil {
				test.arrange(t, top)
			}
			s, err := OpenStore(top+"/store", "archive", "missing")
			check(t, err)
			defer s.Close()
			before := descriptors(t)
			if !test.moves {
				again, err := early.Again()
				check(t, err)
				if _, _, err = again.Read(test.path, 100); (err != nil) != (test.fails != "") {
					t.Errorf("Read of a store that was open already: %v", err)
				}
				again.Close()
			}
			data, mode, err := s.Read(test.path, 100)
			got := ""
			switch {
			case errors.As(err, new(*OwnerError)):
				got = owner
			case errors.As(err, new(*OutsideError)):
				got = outside
			case errors.As(err, new(*IrregularError)):
				got = irregular
			case err != nil:
				t.Fatal(err)
			}
			if got != test.fails {
				t.Errorf("Read returns %q, %v", data, err)
			}
			if err == nil && (mode != 0o600 || len(data) == 0) {
				t.Errorf("%q, mode %v", data, mode)
			}
			if inside := test.fails != outside; s.Holds(test.path) != inside {
				t.Errorf("Holds does not return %v", inside)
			}
			if now := descriptors(t); now != before {
				t.Errorf("%d descriptors are open, before there were %d", now, before)
			}
		})
	}
}

// link makes a symlink that belongs to a user.
func link(t *testing.T, to, path string, user int) {
	t.Helper()
	symlink(t, to, path)
	check(t, os.Lchown(path, user, user))
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	return len(open)
}

func TestStoreLimits(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(dir+"/file", []byte("12345"), 0o600))
	chain(t, dir, 41)
	check(t, os.Rename(dir+"/file", dir+"/real"))
	s, err := OpenStore(dir)
	check(t, err)
	defer s.Close()
	if data, _, err := s.Read("real", 4); string(data) != "1234" || err != nil {
		t.Errorf("got %q, %v", data, err)
	}
	if _, _, err := s.Read("link40", 4); err != nil {
		t.Error(err)
	}
	if _, _, err := s.Read("link41", 4); !errors.As(err, new(*LinkError)) {
		t.Errorf("got %v", err)
	}
	if _, _, err := s.Read("real/x", 4); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("got %v", err)
	}
	for _, dir := range []string{dir + "/missing", dir + "/missing/x"} {
		if _, err := OpenStore(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("OpenStore(%s): %v", dir, err)
		}
	}
	if _, err := OpenStore("tmp"); !errors.Is(err, errUnclean) {
		t.Errorf("got %v", err)
	}
}

// TestStoreRace wants no read to return root's file while a user flips a name
// between his own file and links to root's.
func TestStoreRace(t *testing.T) {
	need.Root(t)
	top := t.TempDir()
	check(t, os.MkdirAll(top+"/store/a", 0o755))
	check(t, os.WriteFile(top+"/secret", []byte("secret"), 0o600))
	check(t, os.WriteFile(top+"/store/a/own", []byte("own"), 0o600))
	check(t, os.Link(top+"/secret", top+"/store/a/hard"))
	check(t, unix.Mkfifo(top+"/store/a/fifo", 0o600))
	symlink(t, "../../secret", top+"/store/a/soft")
	for _, name := range []string{"", "/own", "/fifo", "/soft"} {
		check(t, os.Lchown(top+"/store/a"+name, acme, acme))
	}
	done := make(chan struct{})
	flipped := make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-done:
				flipped <- n
				return
			default:
			}
			from := []string{"own", "hard", "fifo", "soft"}[n%4]
			if err := errors.Join(os.Link(top+"/store/a/"+from, top+"/store/a/next"), os.Rename(top+"/store/a/next", top+"/store/a/key")); err != nil {
				panic(err)
			}
			_ = os.Remove(top + "/store/a/next") // a rename over another name of the same file does nothing
		}
	}()
	seen := map[string]int{}
	for seen["own"] < 300 || seen["refused"] < 300 {
		s, err := OpenStore(top + "/store")
		check(t, err)
		data, _, err := s.Read("a/key", 100)
		s.Close()
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			seen["refused"]++
		case err == nil:
			seen[string(data)]++
		}
		if strings.Contains(string(data), "secret") {
			t.Fatalf("read root's file: %v", seen)
		}
	}
	close(done)
	t.Log(fmt.Sprint(seen), "while the name was changed", <-flipped, "times")
}

// TestStoreLease wants nobody to wait for a user who holds a lease on his file.
func TestStoreLease(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(dir+"/key", nil, 0o600))
	file, err := os.OpenFile(dir+"/key", os.O_RDWR, 0)
	check(t, err)
	defer file.Close()
	_, err = unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
	need.That(t, err == nil, "needs a file system with leases")
	s, err := OpenStore(dir)
	check(t, err)
	defer s.Close()
	if _, _, err := s.Read("key", 10); !errors.Is(err, ErrLeased) {
		t.Errorf("got %v", err)
	}
}

// TestStoreWords wants control characters in a link's target not to be in the
// error.
func TestStoreWords(t *testing.T) {
	top := t.TempDir()
	strange := "a\nweb: deployed\x1b[31m"
	check(t, os.MkdirAll(top+"/store", 0o755))
	check(t, os.MkdirAll(top+"/"+strange, 0o755))
	check(t, os.WriteFile(top+"/"+strange+"/key", nil, 0o600))
	symlink(t, "../"+strange+"/key", top+"/store/key")
	symlink(t, "../"+strange+"/missing", top+"/store/missing")
	s, err := OpenStore(top + "/store")
	check(t, err)
	defer s.Close()
	for _, name := range []string{"key", "missing"} {
		_, _, err := s.Read(name, 10)
		if err == nil || !strings.Contains(err.Error(), `a\nweb: deployed\x1b[31m`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(dir+"/file", []byte("12345"), 0o640))
	symlink(t, "file", dir+"/link")
	check(t, unix.Mkfifo(dir+"/fifo", 0o600))
	if data, mode, err := ReadFile(dir+"/link", 4); string(data) != "1234" || mode != 0o640 || err != nil {
		t.Errorf("got %q, %v, %v", data, mode, err)
	}
	if _, _, err := ReadFile(dir+"/missing", 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	for _, path := range []string{dir, dir + "/fifo", "/dev/null"} {
		if _, _, err := ReadFile(path, 4); !errors.As(err, new(*IrregularError)) {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func TestLeadsOut(t *testing.T) {
	top := t.TempDir()
	check(t, os.MkdirAll(top+"/store/a", 0o755))
	symlink(t, "../gone", top+"/store/out")
	symlink(t, "gone", top+"/store/nowhere")
	s, err := OpenStore(top + "/store")
	check(t, err)
	defer s.Close()
	for path, want := range map[string]bool{"a": false, "a/key": false, "out/key": true, "out": true, "nowhere/key": false, "gone": false} {
		if got := s.LeadsOut(path); got != want {
			t.Errorf("%s leads out: %v", path, got)
		}
	}
}

func TestIsMount(t *testing.T) {
	d, err := Open("/")
	check(t, err)
	defer d.Close()
	for name, want := range map[string]bool{"proc": true, "usr": false} {
		if got, err := d.IsMount(name); got != want || err != nil {
			t.Errorf("/%s is a mount: %v (%v)", name, got, err)
		}
	}
	if _, err := d.IsMount("no-such-name"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
