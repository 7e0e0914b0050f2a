package system

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/certlatch/certlatch/internal/need"
)

// recipe is the arguments of mmdebstrap(1) that make the file system of a host.
// A changed recipe makes a new root; to renew one without a change, delete it.
type recipe []string

// trixie is the recipe of the hosts on which the scenarios play.
var trixie = recipe{
	"--variant=minbase",
	"--include=systemd,systemd-sysv,dbus,ca-certificates,acl,openssl,iproute2,curl,dnsmasq-base," + strings.Join(slices.Concat(clients, services, databases), ","),
	"--dpkgopt=path-exclude=/usr/share/doc/*",
	"--dpkgopt=path-exclude=/usr/share/locale/*",
	"--dpkgopt=path-exclude=/usr/share/man/*",
	// The services of these packages would cost every host time, and take ports
	// that others want. A scenario starts what it is about; only nginx runs
	// from the start.
	`--customize-hook=chroot "$1" systemctl disable --quiet ` + strings.Join(disabled, " "),
	// For the host that has no ACME client before its operator installs one.
	`--customize-hook=chroot "$1" sh -c 'mkdir /var/cache/certbot && cd /var/cache/certbot && apt-get download certbot python3-certbot'`,
	// Modules of nginx are loaded by the scenarios that are about them.
	`--customize-hook=rm "$1"/etc/nginx/modules-enabled/*`,
	"trixie",
}

var (
	clients  = []string{"certbot", "python3-certbot-nginx", "acme.sh", "lego", "dehydrated", "acmetool", "uacme", "caddy", "apache2"}
	services = []string{
		"nginx", "libnginx-mod-stream", "libnginx-mod-mail", "kamailio", "kamailio-tls-modules", "prosody",
		"haproxy", "postfix", "dovecot-imapd", "coturn", "ejabberd",
	}
	databases = []string{"sqlite3", "mariadb-server", "postgresql"}
	disabled  = []string{"apache2", "caddy", "kamailio", "prosody", "haproxy", "postfix", "dovecot", "coturn", "ejabberd", "epmd.socket", "mariadb", "postgresql"}
)

// needMachine ends the test where this machine cannot boot hosts.
func needMachine(t testing.TB) {
	t.Helper()
	need.Root(t)
	for _, tool := range []string{"mmdebstrap", "systemd-nspawn", "nsenter"} {
		need.Program(t, tool)
	}
}

// root returns the directory with the file system of a recipe, which no host
// ever writes to. It is made once and kept for later runs; runs at the same
// time wait for the first.
func root(t testing.TB, recipe recipe) string {
	t.Helper()
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = "/var/cache"
	}
	cache = filepath.Join(cache, "certlatch-roots")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(strings.Join(recipe, "\n")))
	dir := filepath.Join(cache, hex.EncodeToString(sum[:8]))

	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer use(t, dir, lock)
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	if made(t, dir) {
		return dir
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if made(t, dir) { // by who had the lock meanwhile
		return dir
	}
	t.Logf("building %s, once", dir)
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		t.Fatal(err)
	}
	if err := build(partial, recipe); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(partial, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// made reports whether the file system of a recipe is there, and whole.
func made(t testing.TB, dir string) bool {
	t.Helper()
	_, err := os.Stat(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// use shares a lock until the test has ended, so that make clean leaves what it
// is for.
func use(t testing.TB, dir string, lock *os.File) {
	t.Helper()
	t.Cleanup(func() { lock.Close() })
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH); err != nil {
		t.Errorf("lock %s: %v", dir, err)
	}
}

// build runs mmdebstrap with the mirror and the proxies that apt on this machine
// is set up with, and takes lists that apt takes, however old they are.
func build(dir string, recipe recipe) error {
	mirror, err := output("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian")
	if err != nil {
		return err
	}
	mirror, _, _ = strings.Cut(mirror, "\n")
	if mirror == "" {
		return errors.New("apt knows no Debian mirror; run apt-get update first")
	}
	settings := dir + ".apt.conf"
	proxies, err := output("apt-config", "dump", "Acquire::http", "Acquire::https", "Acquire::Check-Valid-Until")
	if err != nil {
		return err
	}
	if err := os.WriteFile(settings, []byte(proxies), 0o644); err != nil {
		return err
	}
	defer os.Remove(settings)
	args := append([]string{"--aptopt=" + settings}, recipe...)
	_, err = output("mmdebstrap", append(args, dir, mirror)...)
	return err
}

// programLimit is far beyond what anything here takes, building a root included.
const programLimit = 5 * time.Minute

// output runs a program on this machine and returns its standard output.
func output(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), programLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second // who inherited its output may live on
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w\n%s", cmd, err, stderr.Bytes())
	}
	return string(out), nil
}
