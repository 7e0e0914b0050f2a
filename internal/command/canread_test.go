package command

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/need"
)

const nobody = 65534 // base-passwd's, and systemd's (systemd.io/UIDS-GIDS)

// tree makes files with their directories below a directory that everyone can
// pass, and returns its path.
func tree(t *testing.T, files ...string) string {
	t.Helper()
	root, err := os.MkdirTemp("/tmp", "certlatch-") // t.TempDir lets only its owner pass
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	chmod(t, root, 0o755)
	for _, file := range files {
		path := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("key"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func TestCanReadAsAnother(t *testing.T) {
	need.Root(t)
	const group, other = 4711, 4712
	stranger := Credential{User: "nobody", UID: nobody, GID: nobody}
	member := Credential{User: "nobody", UID: nobody, GID: nobody, Groups: []uint32{group}}
	primary := Credential{User: "nobody", UID: nobody, GID: group}
	root := Credential{User: "root"}

	// certbot's arrangement: links from live to archive.
	dir := tree(t, "open/key", "shut/key", "shut/below/key", "group/key", "archive/a/key1", "live/a/README", "fifo/README")
	chmod(t, filepath.Join(dir, "shut"), 0o700)
	chmod(t, filepath.Join(dir, "archive"), 0o700)
	if err := os.Chown(filepath.Join(dir, "group/key"), 0, group); err != nil {
		t.Fatal(err)
	}
	chmod(t, filepath.Join(dir, "group/key"), 0o640)
	link(t, "../../archive/a/key1", filepath.Join(dir, "live/a/key"))
	link(t, filepath.Join(dir, "shut"), filepath.Join(dir, "absolute"))
	link(t, "loop", filepath.Join(dir, "loop"))
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo/key"), 0o644); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name string
		who  Credential
		path string
		at   string // empty: it can be read
		err  syscall.Errno
	}{
		{"open to all", stranger, "open/key", "", 0},
		{"by root", root, "shut/below/key", "", 0},
		{"by supplementary group", member, "group/key", "", 0},
		{"by primary group", primary, "group/key", "", 0},
		{"a FIFO that nobody writes to", stranger, "fifo/key", "", 0},
		{"the file", stranger, "group/key", "group/key", syscall.EACCES},
		{"the file, of another group", Credential{User: "nobody", UID: nobody, GID: other, Groups: []uint32{other}}, "group/key", "group/key", syscall.EACCES},
		{"a directory on the way", stranger, "shut/key", "shut", syscall.EACCES},
		{"a directory far up", member, "shut/below/key", "shut", syscall.EACCES},
		{"behind a relative link", stranger, "live/a/key", "archive", syscall.EACCES},
		{"behind an absolute link", stranger, "absolute/below/key", "shut", syscall.EACCES},
		{"a missing file", stranger, "open/none", "open/none", syscall.ENOENT},
		{"a missing directory", stranger, "none/a/key", "none", syscall.ENOENT},
		{"a file as a directory", stranger, "open/key/key", "open/key", syscall.ENOTDIR},
		{"a link to itself", stranger, "loop/key", "loop", syscall.ELOOP},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(dir, c.path)
			err := CanRead(t.Context(), c.who, []string{filepath.Join(dir, "open/key"), path})
			if c.at == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			want := &UnreadableError{Path: path, At: filepath.Join(dir, c.at), User: "nobody", Err: c.err}
			got, ok := errors.AsType[*UnreadableError](err)
			if !ok {
				t.Fatalf("got %v, want %v", err, want)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			for _, part := range []string{"nobody", path, want.At} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not name %s", err, part)
				}
			}
		})
	}
}

// TestCanReadNeedsNoWayToTheProgram tries a credential that cannot reach the
// path of the program.
func TestCanReadNeedsNoWayToTheProgram(t *testing.T) {
	need.Root(t)
	dir := tree(t, "open/key")
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(dir, "shut", "program")
	if err := os.Mkdir(filepath.Dir(moved), 0o700); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(moved, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), []string{moved, "-test.run", "^TestCanReadAsAnother$/^(open_to_all|the_file)$"}); err != nil {
		t.Error(err)
	}
}

func TestCanReadAsOneself(t *testing.T) {
	dir := tree(t, "key")
	own := Credential{User: "me", UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	if err := CanRead(t.Context(), own, []string{filepath.Join(dir, "key")}); err != nil {
		t.Error(err)
	}
	err := CanRead(t.Context(), own, []string{filepath.Join(dir, "none")})
	if _, ok := errors.AsType[*UnreadableError](err); !ok {
		t.Errorf("got %v", err)
	}
}

// TestCanReadWithoutRoot wants the own credential to be tried without root, and
// others to be an error.
func TestCanReadWithoutRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		self, err := os.Open("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		defer self.Close()
		cmd := prepare(t.Context(), "/proc/self/fd/3", []string{"test", "-test.run", "^TestCanRead(AsOneself|WithoutRoot)$"})
		cmd.ExtraFiles = []*os.File{self}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		if output, err := run(t.Context(), "test", cmd, outputLimit); err != nil {
			t.Errorf("%v\n%s", err, output.Stdout)
		}
		return
	}
	err := CanRead(t.Context(), Credential{User: "root"}, []string{"/"})
	if _, ok := errors.AsType[*NotStartedError](err); !ok || !strings.Contains(err.Error(), "becoming root takes CAP_SETUID") {
		t.Errorf("got %v", err)
	}
}

func TestAskForIDs(t *testing.T) {
	const disk = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n"
	for mounts, want := range map[string]bool{
		disk: false,
		disk + "40 22 0:33 / /sys/fs/fuse/connections rw - fusectl fusectl rw\n":                                                 false,
		disk + "41 22 0:45 / /var/lib/lxcfs rw,nosuid - fuse.lxcfs lxcfs rw,user_id=0,group_id=0,allow_other\n":                  false,
		"42 22 0:46 / /srv rw master:7 - fuse.sshfs host:/srv rw,user_id=0,group_id=0\n" + disk:                                  true,
		disk + "43 22 0:47 / /mnt rw - fuseblk /dev/sdb1 rw,user_id=0,group_id=0,default_permissions,allow_other,blksize=4096\n": false,
		disk + "44 22 0:48 / /mnt rw - fuse /dev/fuse rw,user_id=1000,group_id=1000\n":                                           true,
	} {
		if got := askForIDs([]byte(mounts)); got != want {
			t.Errorf("%t of\n%s", got, mounts)
		}
	}
}
