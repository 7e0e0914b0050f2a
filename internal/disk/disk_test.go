package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/internal/need"
)

// helperVariable is set for the test binary where it is the process that strace
// traces.
const helperVariable = "CERTLATCH_TEST_HELPER"

func TestMain(m *testing.M) {
	need.KeptTemp()
	if dir := os.Getenv(helperVariable); dir != "" {
		if err := createLike(dir, "old", "new"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func second[T any](_ T, err error) error { return err }

func errorOf(_ []byte, _ Attr, err error) error { return err }

// createLike makes a file with an owner and group of its own, and with the
// extended attributes of another.
func createLike(dir, old, new string) error {
	d, err := Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	attr, err := d.Attributes(old)
	if err != nil {
		return err
	}
	attr.UID, attr.GID, attr.Mode = 1234, 5678, 0o640
	return d.Create(new, []byte("the key"), attr)
}

const nobody = 65534

func TestOpen(t *testing.T) {
	need.Root(t)
	tests := []struct {
		name    string
		arrange func(t *testing.T, dir string) // what there is besides dir/real/certs
		path    string
		refused string // a part of the *LinkError
		fails   error
	}{
		{name: "no link", path: "real/certs"},
		{name: "root's link", arrange: func(t *testing.T, dir string) { symlink(t, dir+"/real", dir+"/link") }, path: "link/certs"},
		{name: "root's link as the last", arrange: func(t *testing.T, dir string) { symlink(t, "real/certs", dir+"/link") }, path: "link"},
		{name: "root's link upwards", arrange: func(t *testing.T, dir string) { symlink(t, "../real/./certs/", dir+"/real/link") }, path: "real/link"},
		{name: "somebody's link", arrange: func(t *testing.T, dir string) {
			symlink(t, "real", dir+"/link")
			check(t, os.Lchown(dir+"/link", nobody, 0))
		}, path: "link/certs", refused: "/link: it belongs to uid 65534"},
		{name: "root's link in somebody's directory", arrange: func(t *testing.T, dir string) {
			symlink(t, "certs", dir+"/real/link")
			check(t, os.Chown(dir+"/real", nobody, 0))
		}, path: "real/link", refused: "/real/link: its directory belongs to uid 65534"},
		{name: "no link in somebody's directory", arrange: func(t *testing.T, dir string) { check(t, os.Chown(dir+"/real", nobody, 0)) }, path: "real/certs"},
		{name: "root's link where a group may write", arrange: func(t *testing.T, dir string) {
			symlink(t, "certs", dir+"/real/link")
			check(t, os.Chmod(dir+"/real", 0o775))
		}, path: "real/link", refused: "others than its owner may write to its directory (mode 0775)"},
		{name: "root's link where everybody may write", arrange: func(t *testing.T, dir string) {
			symlink(t, "certs", dir+"/real/link")
			check(t, os.Chmod(dir+"/real", 0o777|fs.ModeSticky))
		}, path: "real/link", refused: "(mode 1777)"},
		{name: "root's link where an ACL lets somebody write", arrange: func(t *testing.T, dir string) {
			symlink(t, "certs", dir+"/real/link")
			check(t, unix.Setxattr(dir+"/real", ACLName, acl{{aclUserObj, 7, 0}, {aclUser, 7, nobody}, {aclGroupObj, 5, 0}, {aclMask, 7, 0}, {aclOther, 5, 0}}.encode(), 0))
		}, path: "real/link", refused: "others than its owner may write"},
		{name: "40 links", arrange: func(t *testing.T, dir string) { chain(t, dir, 40) }, path: "link40/certs"},
		{name: "41 links", arrange: func(t *testing.T, dir string) { chain(t, dir, 41) }, path: "link41/certs", refused: "more than 40 links"},
		{name: "a circle", arrange: func(t *testing.T, dir string) { symlink(t, "link", dir+"/link") }, path: "link", refused: "more than 40 links"},
		{name: "a dangling link", arrange: func(t *testing.T, dir string) { symlink(t, "nothing", dir+"/link") }, path: "link", fails: fs.ErrNotExist},
		{name: "missing", path: "real/missing", fails: fs.ErrNotExist},
		{name: "a file on the way", arrange: func(t *testing.T, dir string) { check(t, os.WriteFile(dir+"/file", nil, 0o644)) }, path: "file/certs", fails: unix.ENOTDIR},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			check(t, os.MkdirAll(dir+"/real/certs", 0o755))
			check(t, os.WriteFile(dir+"/real/certs/here", nil, 0o644))
			if test.arrange != nil {
				test.arrange(t, dir)
			}
			d, err := Open(filepath.Join(dir, test.path))
			if link, ok := errors.AsType[*LinkError](err); test.refused != "" && (!ok || !strings.Contains(link.Error(), test.refused)) {
				t.Fatalf("got %v, want a *LinkError with %q", err, test.refused)
			}
			if test.fails != nil && !errors.Is(err, test.fails) {
				t.Fatalf("got %v, want %v", err, test.fails)
			}
			if test.refused != "" || test.fails != nil {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if _, err := d.Stat("here"); err != nil {
				t.Errorf("it is another directory: %v", err)
			}
		})
	}
}

func TestOpenWantsCleanPaths(t *testing.T) {
	for _, path := range []string{"", "tmp", "/tmp/", "/tmp/../tmp", "/./tmp", "//tmp"} {
		if _, err := Open(path); !errors.Is(err, errUnclean) {
			t.Errorf("Open(%q): got %v", path, err)
		}
	}
}

func TestNamesAreNoPaths(t *testing.T) {
	d := openTemp(t)
	for _, name := range []string{"", ".", "..", "a/b", "/a", "../a"} {
		for op, err := range map[string]error{
			"create":  d.Create(name, nil, Own(0o600)),
			"mkdir":   d.Mkdir(name, Own(0o700)),
			"symlink": d.Symlink("x", name),
			"rename":  d.Rename("x", name),
			"link":    d.Link("x", name),
			"remove":  d.RemoveFiles(name, anyFile),
			"read":    errorOf(d.Read(name, 10)),
			"enter":   second(d.Sub(name)),
		} {
			if err == nil || !strings.Contains(err.Error(), "is not a name") {
				t.Errorf("%s %q: got %v", op, name, err)
			}
		}
	}
}

// TestCreateIsNeverMoreReadable checks the order of the system calls: the group
// before the mode that gives it rights, and all of that before the first byte.
func TestCreateIsNeverMoreReadable(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	check(t, os.WriteFile(dir+"/old", nil, 0o600))
	check(t, unix.Setxattr(dir+"/old", "user.note", []byte("x"), 0))
	check(t, unix.Setxattr(dir+"/old", ACLName, backupACL.encode(), 0))
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-qq", "-o", trace, "-e", "trace=openat,fchown,fchmod,fchmodat,fchownat,chmod,chown,fsetxattr,fremovexattr,write,pwrite64,fsync,close", os.Args[0])
	cmd.Env = append(os.Environ(), helperVariable+"="+dir, "GORACE=atexit_sleep_ms=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		need.That(t, !errors.Is(err, exec.ErrNotFound), "needs strace")
		t.Fatalf("%v\n%s", err, output)
	}
	data, err := os.ReadFile(trace)
	check(t, err)
	_, after, ok := strings.Cut(string(data), `"new", O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600) = `)
	if !ok {
		t.Fatalf("the file was not created as it should be:\n%s", data)
	}
	fd, after, _ := strings.Cut(after, "\n")
	// What has this descriptor later is another file, such as one of go test
	// -cover.
	after, _, closed := strings.Cut(after, "close("+fd+")")
	if !closed {
		t.Fatalf("the file was not closed:\n%s", data)
	}
	var got []string
	for _, call := range regexp.MustCompile(`(\w+)\((\d+), ([^\n]*)\) += `).FindAllStringSubmatch(after, -1) {
		if call[2] == fd {
			args, _, _ := strings.Cut(call[3], `, "\x`) // the ACL's bytes
			got = append(got, call[1]+" "+args)
		}
	}
	got = append(got, regexp.MustCompile(`fsync\(`+fd+`\)`).FindAllString(after, -1)...)
	want := []string{
		"fchown -1, 5678",
		`fremovexattr "system.posix_acl_access"`,
		`fsetxattr "user.note", "x", 1, 0`,
		"fchmod 0640",
		`fsetxattr "system.posix_acl_access", "\2\0\0\0\1\0\6\0\377\377\377\377\2\0\4\0"..., 44, 0`,
		"fchown 1234, -1",
		`write "the key", 7`,
		"fsync(" + fd + ")",
	}
	for i := range got {
		got[i] = regexp.MustCompile(`"system.posix_acl_access", .*, 44, 0`).ReplaceAllString(got[i], want[4][len("fsetxattr "):])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("system calls (-want +got):\n%s", diff)
	}
}

// backupACL lets one more user read, and nobody of the owning group.
var backupACL = acl{{aclUserObj, 6, ^uint32(0)}, {aclUser, 4, nobody}, {aclGroupObj, 0, ^uint32(0)}, {aclMask, 4, ^uint32(0)}, {aclOther, 0, ^uint32(0)}}

func TestACLWithMode(t *testing.T) {
	list := func(user, named, group, mask, other uint16) acl {
		return acl{{aclUserObj, user, 0}, {aclUser, named, nobody}, {aclGroupObj, group, 0}, {aclMask, mask, 0}, {aclOther, other, 0}}
	}
	tests := []struct {
		name      string
		have      acl
		mode      fs.FileMode
		want      acl
		wantShown fs.FileMode // what the list has before
	}{
		{"the group gains nothing by the mask", list(6, 4, 0, 4, 0), 0o600, list(6, 4, 0, 4, 0), 0o600},
		{"the group gets what the mode says", list(6, 4, 0, 4, 0), 0o640, list(6, 4, 4, 4, 0), 0o600},
		{"a mode without the group does not mask the named", list(6, 4, 4, 4, 0), 0o600, list(6, 4, 0, 4, 0), 0o640},
		{"what was masked stays so", list(6, 6, 4, 0, 0), 0o640, list(6, 0, 4, 4, 0), 0o600},
		{"a right beyond the mask is lost for good", list(6, 7, 4, 4, 4), 0o440, list(4, 4, 4, 4, 0), 0o644},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.have.mode(); got != test.wantShown {
				t.Errorf("mode before: %04o, want %04o", got, test.wantShown)
			}
			got := test.have.withMode(test.mode)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got.mode() != test.mode {
				t.Errorf("mode after: %04o, want %04o", got.mode(), test.mode)
			}
			back, err := parseACL(got.encode())
			if diff := cmp.Diff(got, back); err != nil || diff != "" {
				t.Errorf("encoded and parsed: %v\n%s", err, diff)
			}
		})
	}
	for _, raw := range []string{"", "\x02", "\x03\x00\x00\x00", "\x02\x00\x00\x00abc"} {
		if _, err := parseACL([]byte(raw)); err == nil {
			t.Errorf("%q was taken for an ACL", raw)
		}
	}
}

func TestAttributesCarryOver(t *testing.T) {
	d := openTemp(t)
	needACL(t, d)
	if err := d.Create("old", nil, Own(0o644)); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(d.Path(), "old")
	check(t, unix.Setxattr(old, ACLName, backupACL.encode(), 0))
	check(t, unix.Setxattr(old, "user.note", []byte("of the operator"), 0))
	attr, err := d.Attributes("old")
	if err != nil {
		t.Fatal(err)
	}
	if attr.Mode != 0o600 {
		t.Errorf("mode %04o, want 0600: the mask is not the group's right", attr.Mode)
	}
	attr.Mode = 0o640
	if err := d.Create("new", []byte("x"), attr); err != nil {
		t.Fatal(err)
	}
	_, got, err := d.Read("new", 10)
	if diff := cmp.Diff(Attr{
		UID: attr.UID, GID: attr.GID, Mode: 0o640,
		Extra: map[string][]byte{ACLName: backupACL.withMode(0o640).encode(), "user.note": []byte("of the operator")},
	}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestDefaultACL wants files not to have what the default ACL of their
// directory would add to what the target says.
func TestDefaultACL(t *testing.T) {
	d := openTemp(t)
	needACL(t, d)
	check(t, unix.Setxattr(d.Path(), "system.posix_acl_default", backupACL.encode(), 0))
	if err := d.Create("file", nil, Own(0o640)); err != nil {
		t.Fatal(err)
	}
	if err := d.Mkdir("dir", Own(0o750)); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{"file": 0o640, "dir": 0o750} {
		attr, err := d.Attributes(name)
		if diff := cmp.Diff(Own(mode), attr); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestRead(t *testing.T) {
	d := openTemp(t)
	check(t, d.Create("file", []byte("12345"), Own(0o600)))
	check(t, d.Symlink("file", "link"))
	check(t, d.Mkdir("dir", Own(0o700)))
	check(t, unix.Mkfifo(filepath.Join(d.Path(), "fifo"), 0o600))
	if data, _, err := d.Read("file", 5); err != nil || string(data) != "12345" {
		t.Errorf("got %q, %v", data, err)
	}
	if _, _, err := d.Read("file", 4); err == nil || !errors.As(err, new(*SizeError)) {
		t.Errorf("too large: got %v", err)
	}
	if _, _, err := d.Read("missing", 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: got %v", err)
	}
	for name, kind := range map[string]fs.FileMode{"link": fs.ModeSymlink, "dir": fs.ModeDir, "fifo": fs.ModeIrregular} {
		_, _, err := d.Read(name, 5)
		if irregular, ok := errors.AsType[*IrregularError](err); !ok || irregular.Mode != kind {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestLink(t *testing.T) {
	d := openTemp(t)
	check(t, d.Create("file", []byte("old"), Own(0o640)))
	check(t, d.Symlink("gone", "link"))
	for _, name := range []string{"file", "link"} {
		if err := d.Link(name, name+"2"); err != nil {
			t.Fatal(err)
		}
		first, err := d.Stat(name)
		check(t, err)
		second, err := d.Stat(name + "2")
		check(t, err)
		if first.Inode != second.Inode {
			t.Errorf("%s was copied, not linked", name)
		}
	}
}

// TestLinkCopies links an immutable file, which cannot get a second name.
func TestLinkCopies(t *testing.T) {
	need.Root(t)
	d := openTemp(t)
	needACL(t, d)
	attr := Attr{UID: 1234, GID: 5678, Mode: 0o440, Extra: map[string][]byte{ACLName: backupACL.withMode(0o440).encode(), "user.note": []byte("x")}}
	check(t, d.Create("file", []byte("old"), attr))
	path := filepath.Join(d.Path(), "file")
	need.That(t, exec.Command("chattr", "+i", path).Run() == nil, "needs a file system with chattr +i")
	t.Cleanup(func() { check(t, exec.Command("chattr", "-i", path).Run()) })
	if err := d.Link("file", "copy"); err != nil {
		t.Fatal(err)
	}
	data, got, err := d.Read("copy", 10)
	if diff := cmp.Diff(attr, got); err != nil || diff != "" || string(data) != "old" {
		t.Errorf("%q, %v (-want +got):\n%s", data, err, diff)
	}
}

func TestCreateLeavesNothing(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	need.That(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k") == nil, "needs the right to mount")
	t.Cleanup(func() { check(t, unix.Unmount(dir, 0)) })
	d, err := Open(dir)
	check(t, err)
	defer d.Close()
	if err := d.Create("big", make([]byte, 1<<20), Own(0o600)); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v", err)
	}
	if err := d.Create("bad", nil, Attr{Extra: map[string][]byte{ACLName: []byte("no ACL")}}); err == nil {
		t.Error("a lost ACL is no error")
	}
	if names, err := d.List(); err != nil || len(names) > 0 {
		t.Errorf("left: %q, %v", names, err)
	}
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.json")
	for _, content := range []string{"first", "second"} {
		if err := Replace(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("got %q, %v", got, err)
		}
	}
	for _, target := range []string{"state.json", "elsewhere"} {
		link := filepath.Join(dir, "link")
		if err := ReplaceLink(target, link); err != nil {
			t.Fatal(err)
		}
		if got, err := os.Readlink(link); err != nil || got != target {
			t.Errorf("got %q, %v", got, err)
		}
	}
	check(t, os.Mkdir(dir+"/dir", 0o700))
	if err := Replace(dir+"/dir", nil, 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	check(t, ReplaceAll(dir, []string{"state.json", "other.json"}, []byte("third"), 0o600))
	for _, name := range []string{"state.json", "other.json"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != "third" {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
	}
	if err := ReplaceAll(dir, []string{"state.json", "dir"}, nil, 0o600); err == nil {
		t.Error("a directory was replaced with others")
	}
	wantTree(t, dir, "dir", "link", "other.json", "state.json")
}

func TestMake(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b")
	for range 2 { // what is there stays
		if err := MakeAll(deep, Own(0o710)); err != nil {
			t.Fatal(err)
		}
	}
	if err := MakeDir(filepath.Join(dir, "missing", "b"), Own(0o700)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := MakeWhole(filepath.Join(deep, "whole"), filepath.Join(dir, "draft"), Own(0o750), map[string][]byte{"key": []byte("k"), "cert": nil}); err != nil {
		t.Fatal(err)
	}
	if err := MakeWhole(filepath.Join(deep, "whole"), filepath.Join(dir, "draft"), Own(0o750), map[string][]byte{"key": nil}); err == nil {
		t.Error("made twice")
	}
	wantTree(t, dir, "a", "a/b", "a/b/whole", "a/b/whole/cert", "a/b/whole/key")
	for path, mode := range map[string]fs.FileMode{"a": 0o710, "a/b": 0o710, "a/b/whole": 0o750, "a/b/whole/key": 0o640} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func TestRemoveFiles(t *testing.T) {
	dir := t.TempDir()
	check(t, os.MkdirAll(dir+"/gone", 0o700))
	check(t, os.MkdirAll(dir+"/full/below", 0o700))
	check(t, os.Mkdir(dir+"/stays", 0o700))
	for _, file := range []string{"stays/file", "gone/file", "full/file", "full/below/file"} {
		check(t, os.WriteFile(dir+"/"+file, nil, 0o600))
	}
	check(t, os.Symlink(dir+"/stays", dir+"/gone/link"))
	if err := Remove(dir + "/gone"); err == nil {
		t.Error("a directory was removed with what is in it")
	}
	for range 2 { // what is gone is gone
		if err := RemoveFiles(dir + "/gone"); err != nil {
			t.Fatal(err)
		}
	}
	if err := Remove(dir + "/gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := RemoveFiles(dir + "/full"); !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("got %v", err)
	}
	wantTree(t, dir, "full", "full/below", "full/below/file", "stays", "stays/file")
	d, err := Open(dir)
	check(t, err)
	defer d.Close()
	if err := d.RemoveFiles("stays", func(name string) bool { return name != "file" }); !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("got %v", err)
	}
	wantTree(t, dir, "full", "full/below", "full/below/file", "stays", "stays/file")
}

func wantTree(t *testing.T, dir string, want ...string) {
	t.Helper()
	var got []string
	check(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if name, _ := filepath.Rel(dir, path); name != "." {
			got = append(got, name)
		}
		return err
	}))
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("there is (-want +got):\n%s", diff)
	}
}

func openTemp(t *testing.T) *Dir {
	t.Helper()
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func symlink(t *testing.T, target, path string) {
	t.Helper()
	check(t, os.Symlink(target, path))
}

// chain makes link1 to linkN, each to the one before, the first to real.
func chain(t *testing.T, dir string, n int) {
	t.Helper()
	symlink(t, "real", dir+"/link1")
	for i := 2; i <= n; i++ {
		symlink(t, fmt.Sprintf("link%d", i-1), fmt.Sprintf("%s/link%d", dir, i))
	}
}

// check fails the test where preparing it failed.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needACL(t *testing.T, d *Dir) {
	t.Helper()
	check(t, d.Create("probe", nil, Own(0o600)))
	path := filepath.Join(d.Path(), "probe")
	err := errors.Join(unix.Setxattr(path, ACLName, backupACL.encode(), 0), unix.Setxattr(path, "user.probe", nil, 0))
	need.That(t, err == nil, "needs a file system with ACLs and user attributes")
	check(t, d.Remove("probe"))
}

// TestPut wants Put to leave what is there, links that lead nowhere too, and
// nothing of its own beside it.
func TestPut(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := Put(path, []byte("first"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	for _, there := range []string{path, link} {
		if err := Put(there, []byte("second"), 0o640); !errors.Is(err, fs.ErrExist) {
			t.Errorf("to put a file at %s ends with %v", there, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); string(text) != "first" || err != nil || info.Mode() != 0o640 {
		t.Errorf("the file holds %q, with mode %v: %v", text, info.Mode(), err)
	}
	if to, err := os.Readlink(link); to != "nowhere" || err != nil {
		t.Errorf("the link leads to %q: %v", to, err)
	}
	if entries, err := os.ReadDir(dir); len(entries) != 2 || err != nil {
		t.Errorf("the directory holds %v: %v", entries, err)
	}
}

// TestDrafts wants nobody who writes in a directory at the same time as others
// to lose a draft to their sweeping, and what a crash has left to be removed.
func TestDrafts(t *testing.T) {
	d := openTemp(t)
	left := draftPrefix + "LEFT"
	check(t, d.Create(left, []byte("half"), Own(0o600)))
	check(t, d.Symlink("nowhere", draftPrefix+"LINK"))
	failed := make(chan error)
	const writers, files = 8, 50
	for w := range writers {
		go func() {
			for n := range files {
				path := filepath.Join(d.Path(), fmt.Sprintf("%d-%d", w, n))
				if err := Replace(path, []byte(path), 0o600); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range writers {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	names, err := d.List()
	check(t, err)
	if len(names) != writers*files || strings.HasPrefix(names[0], ".") {
		t.Errorf("there are %d names, %q first", len(names), names[0])
	}
}

// TestKeptBy wants KeptBy to know who could have put something into a
// directory.
func TestKeptBy(t *testing.T) {
	need.Root(t)
	for _, test := range []struct {
		name      string
		arrange   func(top string) error
		root, own bool // whether KeptBy is true of root; of the user
	}{
		{"root's", func(string) error { return nil }, true, true},
		{"the user's", func(top string) error { return os.Chown(top+"/a/b", nobody, nobody) }, false, true},
		{"below the user's", func(top string) error { return os.Chown(top+"/a", nobody, nobody) }, false, true},
		{"another user's", func(top string) error { return os.Chown(top+"/a", 1234, 1234) }, false, false},
		{"a group may write", func(top string) error { return os.Chmod(top+"/a/b", 0o770) }, false, false},
		{"all may write above", func(top string) error { return os.Chmod(top+"/a", 0o777) }, false, false},
		{"all may write above, and not rename", func(top string) error { return os.Chmod(top+"/a", 0o777|fs.ModeSticky) }, true, true},
		{"all may write, and not rename", func(top string) error { return os.Chmod(top+"/a/b", 0o777|fs.ModeSticky) }, false, false},
		{"behind root's link below the user's directory", func(top string) error {
			return errors.Join(os.Rename(top+"/a", top+"/real"), os.Mkdir(top+"/a", 0o755), os.Symlink(top+"/real/b", top+"/a/b"), os.Mkdir(top+"/home", 0o755),
				os.Rename(top+"/a", top+"/home/a"), os.Chown(top+"/home", nobody, nobody), os.Symlink("home/a", top+"/a"))
		}, false, true},
	} {
		top := t.TempDir()
		check(t, os.MkdirAll(top+"/a/b", 0o755))
		if err := test.arrange(top); err != nil {
			t.Fatal(err)
		}
		d, err := Open(top + "/a/b")
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got := d.KeptBy(0); got != test.root {
			t.Errorf("%s: kept by root: %v", test.name, got)
		}
		if got := d.KeptBy(nobody); got != test.own {
			t.Errorf("%s: kept by the user: %v", test.name, got)
		}
		check(t, d.Close())
	}
}

// TestWithACL wants an ACL to hold what was asked for and nothing else, and to
// be read back so.
func TestWithACL(t *testing.T) {
	need.Root(t)
	d := openTemp(t)
	needACL(t, d)
	grants := []Grant{{Group: true, ID: 5678}, {ID: nobody}, {ID: 1234}, {ID: nobody}}
	attr := Attr{Mode: 0o640, Extra: map[string][]byte{ACLName: backupACL.encode(), "user.note": []byte("x")}}
	for name, test := range map[string]struct {
		grants []Grant
		lines  string
	}{
		"some": {grants, "user::rw-\nuser:1234:r--\nuser:65534:r--\ngroup::r--\ngroup:5678:r--\nmask::r--\nother::---\n"},
		"none": {[]Grant{}, "user::rw-\ngroup::r--\nother::---\n"},
	} {
		check(t, d.Create(name, nil, attr.WithACL(test.grants, 4)))
		out, err := exec.Command("getfacl", "--omit-header", "--numeric", "--absolute-names", filepath.Join(d.Path(), name)).CombinedOutput()
		if got := strings.TrimSpace(string(out)) + "\n"; err != nil || got != test.lines {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
		_, got, err := d.Read(name, 10)
		check(t, err)
		if diff := cmp.Diff(ACL(0o640, test.grants, 4), got.ACL()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if string(got.Extra["user.note"]) != "x" {
			t.Errorf("%s: the note is gone", name)
		}
	}
	if len(attr.Extra[ACLName]) == 0 {
		t.Error("the attributes that were copied were changed")
	}
}

// TestMkdirInheritsNothing wants a default ACL not to reach what is made in a
// directory.
func TestMkdirInheritsNothing(t *testing.T) {
	need.Root(t)
	d := openTemp(t)
	needACL(t, d)
	check(t, unix.Setxattr(d.Path(), defaultName, backupACL.encode(), 0))
	check(t, d.Mkdir("sub", Own(0o750)))
	out, err := exec.Command("getfacl", "--omit-header", "--numeric", "--absolute-names", filepath.Join(d.Path(), "sub")).CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != "user::rwx\ngroup::r-x\nother::---" {
		t.Errorf("%v\n%s", err, got)
	}
}

// TestSweepsTakeTheirOwn wants sweeps to leave directories, and what others
// have made, whatever its name.
func TestSweepsTakeTheirOwn(t *testing.T) {
	need.Root(t)
	d := openTemp(t)
	temp, theirs, directory := TempName(), TempName(), TempName()
	for _, name := range []string{temp, theirs, draftPrefix + "theirs", ".certlatch-notes", tempPrefix + "SHORT"} {
		check(t, d.Create(name, nil, Own(0o600)))
	}
	check(t, d.Mkdir(directory, Own(0o700)))
	for _, name := range []string{theirs, draftPrefix + "theirs"} {
		check(t, os.Chown(filepath.Join(d.Path(), name), nobody, nobody))
	}
	d.SweepTemps()
	SweepDrafts(d.Path())
	names, err := d.List()
	check(t, err)
	want := []string{theirs, directory, draftPrefix + "theirs", ".certlatch-notes", tempPrefix + "SHORT"}
	slices.Sort(want)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("there is (-want +got):\n%s", diff)
	}
}
