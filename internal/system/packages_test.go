package system

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// The hosts that packages are installed on. They have fewer packages than those
// of the scenarios, and lintian and rpm among them.
var (
	judges = recipe{
		"--variant=minbase",
		"--include=systemd,systemd-sysv,dbus,lintian,rpm,rpmlint,man-db,bash-completion,zsh,fish",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-exclude=/usr/share/man/*",
		`--customize-hook=rm "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap`,
		"trixie",
	}
	bookworm = recipe{
		"--variant=minbase",
		"--include=systemd,systemd-sysv,dbus,ca-certificates,acl,openssl,iproute2,procps,certbot,nginx,kamailio,kamailio-tls-modules,prosody",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-exclude=/usr/share/man/*",
		`--customize-hook=rm "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap`,
		`--customize-hook=chroot "$1" systemctl disable --quiet kamailio prosody`,
		"bookworm",
	}
)

// TestPackages checks, installs, upgrades, removes and purges the packages,
// deploys in their units, and follows README's first steps with them.
func TestPackages(t *testing.T) {
	t.Parallel()
	needMachine(t)
	files, err := filepath.Abs("testdata/files")
	if err != nil {
		t.Fatal(err)
	}
	packages := makePackages(t)
	programs := []string{goBuild(t, "pebble", "../tools", "build", "github.com/letsencrypt/pebble/v2/cmd/pebble")}
	for _, c := range []struct {
		name    string
		image   recipe
		scripts []string
	}{
		{"Debian 12", bookworm, []string{"deb", "units", "first-day"}},
		{"Debian 13", judges, []string{"deb", "rpm", "judged"}},
		{"Debian 13 with services", trixie, []string{"units", "services", "first-day"}},
	} {
		st := stage{image: root(t, c.image), files: files, programs: programs}
		for _, scripts := range c.scripts {
			t.Run(c.name+"/"+scripts, func(t *testing.T) {
				t.Parallel()
				st.play(t, "testdata/packages/"+scripts, packages...)
			})
		}
	}
}

// makePackages makes two versions of the packages. The scripts find them as
// $OLD.deb, $NEW.rpm and so on, and their sources in $PACKAGING.
func makePackages(t *testing.T) (environment []string) {
	t.Helper()
	dir := t.TempDir()
	for name, version := range map[string]string{"OLD": "1.0.0", "NEW": "1.1.0"} {
		made := filepath.Join(dir, version)
		if _, err := output("make", "--directory=../..", "package", "PACKAGES="+made, "VERSION="+version,
			"ARCHITECTURES="+runtime.GOARCH, "SOURCE_DATE_EPOCH=1700000000"); err != nil {
			t.Fatal(err)
		}
		for _, format := range []string{".deb", ".rpm"} {
			found, err := filepath.Glob(filepath.Join(made, "*"+format))
			if err != nil || len(found) != 1 {
				t.Fatalf("make package made %d files %s: %v", len(found), format, err)
			}
			if err := os.Rename(found[0], filepath.Join(dir, name+format)); err != nil {
				t.Fatal(err)
			}
		}
		environment = append(environment, name+"="+filepath.Join(dir, name))
	}
	packaging, err := filepath.Abs("../../packaging")
	if err != nil {
		t.Fatal(err)
	}
	rpmArch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	return append(environment, "PACKAGING="+packaging, "RPMARCH="+rpmArch)
}
