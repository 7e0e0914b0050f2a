package hookfiles

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/need"
)

// TestHookOfSomebodyElse wants a hook that is as it should be, but does not
// belong to root, to be made anew: root runs it.
func TestHookOfSomebodyElse(t *testing.T) {
	need.Root(t)
	acmesh, _ := hooks.For("acme.sh")
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "deploy"), 0o755); err != nil {
		t.Fatal(err)
	}
	place, err := In(filepath.Join(dir, "deploy"), acmesh, "/usr/bin/certlatch")
	if err != nil {
		t.Fatal(err)
	}
	install := func() {
		t.Helper()
		if _, err := place.Install(); err != nil {
			t.Fatal(err)
		}
	}
	install()
	path := filepath.Join(dir, "deploy/certlatch.sh")
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	install()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 || st.Gid != uint32(os.Getegid()) {
		t.Errorf("it belongs to %d:%d", st.Uid, st.Gid)
	}
}

// in returns a place in an empty directory of hooks, and that directory.
func in(t *testing.T, client string) (Place, string) {
	t.Helper()
	c, _ := hooks.For(client)
	dir := filepath.Join(t.TempDir(), "renewal-hooks/deploy")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	place, err := In(dir, c, "/usr/bin/certlatch")
	if err != nil {
		t.Fatal(err)
	}
	return place, dir
}

func TestInstallAndRemove(t *testing.T) {
	certbot, dir := in(t, "certbot")
	link := filepath.Join(dir, "50-certlatch-hook-certbot")
	own := filepath.Join(dir, "../../renewal/a.example.conf")
	write(t, own, "renew_hook = systemctl reload nginx\n", 0o600)
	write(t, filepath.Join(dir, "../../renewal/b.example.conf"), "version = 4.0.0\n", 0o600)
	if err := os.Symlink("/opt/old/certlatch", link); err != nil { // certlatch's own, from an earlier installation
		t.Fatal(err)
	}
	said, err := certbot.Install()
	want := link + " -> /usr/bin/certlatch\n" + own + ` has a hook of its own, "systemctl reload nginx": certbot runs it as well, after certlatch` + "\n\ncertbot runs every"
	if err != nil || !strings.HasPrefix(said, want) {
		t.Errorf("%v\n%s", err, said)
	}
	if to, err := os.Readlink(link); to != "/usr/bin/certlatch" {
		t.Errorf("the link leads to %q: %v", to, err)
	}
	for _, want := range []string{"removed " + link + "\n", link + " is not there\n"} {
		if said, err := certbot.Remove(); err != nil || said != want {
			t.Errorf("%q instead of %q: %v", said, want, err)
		}
	}
}

// TestInstallAgain wants files that are as they should be not to be touched.
func TestInstallAgain(t *testing.T) {
	acmesh, dir := in(t, "acme.sh")
	path := filepath.Join(dir, "certlatch.sh")
	inode := func() uint64 {
		t.Helper()
		if _, err := acmesh.Install(); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Ino
	}
	first, again := inode(), inode()
	if first != again {
		t.Error("it is written anew")
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if inode() == first {
		t.Error("a file that everybody may write to stays")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if said := acmesh.Instructions(); !strings.HasPrefix(said, path+" (0644)\n    #!/usr/bin/env sh\n") || strings.Count(said, "\n    ") < strings.Count(string(text), "\n") {
		t.Errorf("it would be put there otherwise:\n%s", said)
	}
}

func TestSomebodyElsesHook(t *testing.T) {
	for client, name := range map[string]string{"certbot": "50-certlatch-hook-certbot", "acme.sh": "certlatch.sh"} {
		for what, make := range map[string]func(path string) error{
			"a link":      func(path string) error { return os.Symlink("/bin/true", path) },
			"a file":      func(path string) error { return os.WriteFile(path, []byte("certlatch\n"), 0o755) },
			"a directory": func(path string) error { return os.Mkdir(path, 0o755) },
		} {
			place, dir := in(t, client)
			path := filepath.Join(dir, name)
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.Lstat(path)
			for _, do := range []func() (string, error){place.Install, place.Remove} {
				if said, err := do(); !errors.As(err, new(*RefusedError)) || said != "" {
					t.Errorf("%s, %s: %v %q", client, what, err, said)
				}
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("%s: %s is another: %v", client, what, err)
			}
		}
	}
}

func TestNoHooks(t *testing.T) {
	lego, _ := hooks.For("lego")
	if _, err := In(t.TempDir(), lego, "/usr/bin/certlatch"); !errors.As(err, new(*RefusedError)) {
		t.Errorf("it has a directory of hooks: %v", err)
	}
	place := Usual(lego, "/usr/bin/certlatch")
	if said, err := place.Remove(); err != nil || said != "lego has no directory of hooks: take certlatch out of what calls lego\n" {
		t.Errorf("%v %q", err, said)
	}
	if said, err := place.Install(); err != nil || said != place.Instructions() || !strings.HasPrefix(said, "lego has no directory") {
		t.Errorf("%v %q", err, said)
	}
	dehydrated, dir := in(t, "dehydrated")
	if said, err := dehydrated.Install(); !errors.As(err, new(*RefusedError)) || said != "" {
		t.Errorf("%v %q", err, said)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%v %v", entries, err)
	}
}
