package account

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/deployers"

	"github.com/certlatch/certlatch/internal/need"
)

// ofTestdata is the variable that is set in the child process, whose users are
// those of testdata.
const ofTestdata = "CERTLATCH_TEST_USERS"

// TestMain runs the tests in a mount namespace whose users are those of
// testdata. Making it needs root.
func TestMain(m *testing.M) {
	code, err := runWithUsers(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runWithUsers(m *testing.M) (int, error) {
	switch {
	case os.Geteuid() != 0:
		return m.Run(), nil
	case os.Getenv(ofTestdata) != "":
		if err := replaceUsers(); err != nil {
			return 1, fmt.Errorf("put the users of testdata in place: %w", err)
		}
		return m.Run(), nil
	}
	child := exec.Command("/proc/self/exe", os.Args[1:]...)
	child.Env = append(os.Environ(), ofTestdata+"=1")
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	err := child.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// replaceUsers mounts testdata over the files that say who there is, and over
// the first directory in which getent is looked for.
func replaceUsers() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for file, over := range map[string]string{"passwd": "/etc/passwd", "group": "/etc/group", ".": "/usr/local/sbin"} {
		if err := unix.Mount(filepath.Join("testdata", file), over, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("over %s: %w", over, err)
		}
	}
	return nil
}

func TestOwner(t *testing.T) {
	need.That(t, os.Getenv(ofTestdata) != "", "only root can put other users in place")
	for _, c := range []struct {
		user, group string
		uid, gid    int
	}{
		{"", "", 0, 0},
		{"root", "", 0, 0},
		{"kamailio", "", 110, 115},
		{"110", "", 110, 115},
		{"", "kamailio", 0, 115},
		{"root", "kamailio:", 0, 115},
		{"root", "110:", 0, 115},
		{"kamailio", "ssl-cert", 110, 120},
		{"kamailio", "4711", 110, 4711},
		{"4711", "4712", 4711, 4712},
		{"4711", "keys", 4711, 122},
		{"far", "", 70000, 70001},
		{"70000", "", 70000, 70001},
		{"root", "far:", 0, 70001},
		{"root", "farther", 0, 70002},
	} {
		uid, gid, err := Owner(c.user, c.group)
		if uid != c.uid || gid != c.gid || err != nil {
			t.Errorf("%q, %q: got %d, %d (%v), want %d, %d", c.user, c.group, uid, gid, err, c.uid, c.gid)
		}
	}
}

func TestOwnerUnknown(t *testing.T) {
	need.That(t, os.Getenv(ofTestdata) != "", "only root can put other users in place")
	for _, c := range []struct {
		user, group string
		want        UnknownError
	}{
		{"opensips", "", UnknownError{"user", "opensips"}},
		{"opensips", "root", UnknownError{"user", "opensips"}},
		{"root", "opensips", UnknownError{"group", "opensips"}},
		{"root", "opensips:", UnknownError{"user", "opensips"}},
		{"4711", "", UnknownError{"user", "4711"}},
		{"4294967295", "root", UnknownError{"user", "4294967295"}}, // chown(2): leave as it is
		{"root", "-1", UnknownError{"group", "-1"}},
		{"--help", "root", UnknownError{"user", "--help"}},
	} {
		_, _, err := Owner(c.user, c.group)
		got, ok := errors.AsType[*UnknownError](err)
		if !ok {
			t.Errorf("%q, %q: got %v", c.user, c.group, err)
			continue
		}
		if diff := cmp.Diff(&c.want, got); diff != "" {
			t.Errorf("%q, %q (-want +got):\n%s", c.user, c.group, diff)
		}
		if text := err.Error(); !strings.Contains(text, c.want.Name) || !strings.Contains(text, "correct the name") {
			t.Errorf("error %q helps nobody", text)
		}
	}
}

// TestTransient wants no file to belong to a user or group that systemd has made
// up, by whatever name it is asked for.
func TestTransient(t *testing.T) {
	need.That(t, os.Getenv(ofTestdata) != "", "only root can put other users in place")
	for _, c := range []struct {
		user, group string
		want        TransientError
	}{
		{"latch", "root", TransientError{"user", "latch", 61500}},
		{"root", "latch", TransientError{"group", "latch", 61500}},
		{"root", "latch:", TransientError{"group", "latch", 61500}},
	} {
		_, _, err := Owner(c.user, c.group)
		got, is := errors.AsType[*TransientError](err)
		if !is || *got != c.want {
			t.Errorf("%q, %q: got %v", c.user, c.group, err)
		}
	}
	_, err := Grants([]deployers.Reader{{Kind: "user", Name: "latch"}})
	if _, is := errors.AsType[*TransientError](err); !is {
		t.Errorf("in an ACL: got %v", err)
	}
}

func TestDynamic(t *testing.T) {
	need.That(t, os.Getenv(ofTestdata) != "", "only root can put other users in place")
	for _, c := range []struct {
		user, group               string
		dynamicUser, dynamicGroup bool
	}{
		{"latch", "latch", true, true},
		{"latch", "ssl-cert", true, false},
		{"stopped", "stopped", true, true},
		{"stopped", "", true, false},
		{"kamailio", "kamailio", false, false},
		{"far", "farther", false, false},
	} {
		user, group, err := Dynamic(c.user, c.group)
		if user != c.dynamicUser || group != c.dynamicGroup || err != nil {
			t.Errorf("%s, %s: got %v, %v (%v)", c.user, c.group, user, group, err)
		}
	}
	if _, _, err := Dynamic("unreachable", ""); err == nil {
		t.Error("a directory that does not answer has said something")
	}
}

// TestOwnerCannotTell wants the error of a user directory that does not answer
// to differ from that of one that has no such user.
func TestOwnerCannotTell(t *testing.T) {
	need.That(t, os.Getenv(ofTestdata) != "", "only root can put other users in place")
	for user, says := range map[string]string{"unreachable": "the directory does not answer", "broken": `"word"`} {
		_, _, err := Owner(user, "")
		if _, unknown := errors.AsType[*UnknownError](err); unknown || err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v", user, err)
		}
	}
}

func TestCredentialOf(t *testing.T) {
	need.That(t, os.Getenv(ofTestdata) != "", "only root can put other users in place")
	for _, c := range []struct {
		name    string
		account deployers.Account
		want    Credential
	}{
		{"nobody named", deployers.Account{}, Credential{User: "root"}},
		{"root", deployers.Account{User: "root"}, Credential{User: "root"}},
		{"root with a group", deployers.Account{Group: "ssl-cert"}, Credential{User: "root", GID: 120}},
		{"root by name with a group", deployers.Account{User: "root", Group: "ssl-cert"}, Credential{User: "root", GID: 120, Groups: []uint32{4, 120}}},
		{"a user", deployers.Account{User: "kamailio"}, Credential{User: "kamailio", UID: 110, GID: 115, Groups: []uint32{4, 115, 120}}},
		{"a user by number", deployers.Account{User: "110"}, Credential{User: "kamailio", UID: 110, GID: 115, Groups: []uint32{4, 115, 120}}},
		{"another group", deployers.Account{User: "kamailio", Group: "www-data"}, Credential{User: "kamailio", UID: 110, GID: 33, Groups: []uint32{4, 33, 120}}},
		{"root's group", deployers.Account{User: "kamailio", Group: "root"}, Credential{User: "kamailio", UID: 110}},
		{"more groups", deployers.Account{User: "www-data", SupplementaryGroups: []string{"ssl-cert", "121", "4711"}}, Credential{User: "www-data", UID: 33, GID: 33, Groups: []uint32{33, 120, 121, 4711}}},
		{"root with more groups", deployers.Account{SupplementaryGroups: []string{"keys"}}, Credential{User: "root", Groups: []uint32{122}}},
		{"a dynamic user that runs", deployers.Account{User: "latch", Dynamic: true, Runs: deployers.IDs{Known: true, UID: 61500, GID: 61500, Groups: []uint32{61500}}}, Credential{User: "latch", UID: 61500, GID: 61500, Groups: []uint32{61500}}},
		{"a dynamic user that does not run", deployers.Account{User: "stopped", Dynamic: true}, Credential{User: "stopped", UID: 65519, GID: 65519, Groups: []uint32{65519}}},
		{"a dynamic user with a group", deployers.Account{User: "stopped", Dynamic: true, Group: "ssl-cert", SupplementaryGroups: []string{"keys"}}, Credential{User: "stopped", UID: 65519, GID: 120, Groups: []uint32{120, 122}}},
		{"a user from afar", deployers.Account{User: "far", SupplementaryGroups: []string{"farther", "keys"}}, Credential{User: "far", UID: 70000, GID: 70001, Groups: []uint32{122, 130, 70001, 70002}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := CredentialOf(c.account)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("credential (-want +got):\n%s", diff)
			}
		})
	}
	for _, a := range []deployers.Account{
		{User: "opensips"}, {Group: "opensips"}, {SupplementaryGroups: []string{"opensips"}},
		{User: "stopped", Group: "opensips", Dynamic: true}, {User: "stopped", SupplementaryGroups: []string{"opensips"}, Dynamic: true},
	} {
		_, err := CredentialOf(a)
		if e, ok := errors.AsType[*UnknownError](err); !ok || e.Name != "opensips" {
			t.Errorf("%+v: got %v", a, err)
		}
	}
}

// TestCredentialWithoutRoot wants the credential where no user is named to be
// that of the process, where it is not root.
func TestCredentialWithoutRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		self, err := os.Open("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		defer self.Close()
		child := exec.Command("/proc/self/fd/3", "-test.run", "^TestCredentialWithoutRoot$")
		child.ExtraFiles = []*os.File{self}
		child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4711, Gid: 4712, Groups: []uint32{4713}}}
		if output, err := child.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, output)
		}
		return
	}
	got, err := CredentialOf(deployers.Account{})
	if err != nil {
		t.Fatal(err)
	}
	if got.UID != uint32(os.Geteuid()) || got.GID != uint32(os.Getegid()) {
		t.Errorf("got %+v", got)
	}
	uid, gid, err := Owner("", "")
	if uid != os.Geteuid() || gid != os.Getegid() || err != nil {
		t.Errorf("owner is %d, %d (%v)", uid, gid, err)
	}
}
