package system

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/internal/need"
)

// The hosts that packages are installed on. They have fewer packages than those
// of the scenarios, and lintian and rpm among them.
var (
	judges = recipe{
		"--variant=minbase",
		"--include=systemd,systemd-sysv,dbus,lintian,rpm,rpmlint,man-db,bash-completion,zsh,fish,ca-certificates,curl,dnf,gpg",
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
	programs := []string{
		goBuild(t, "pebble", "../tools", "build", "github.com/letsencrypt/pebble/v2/cmd/pebble"),
		goBuild(t, "fakeopensips", "../..", "build", "./internal/system/fakeopensips"),
	}
	for _, c := range []struct {
		name    string
		image   recipe
		scripts []string
	}{
		{"Debian 12", bookworm, []string{"deb", "units", "first-day"}},
		{"Debian 13", judges, []string{"deb", "rpm", "repository", "judged"}},
		{"Debian 13 with services", trixie, []string{"units", "services", "first-day", "hosts"}},
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

// makePackages makes two versions of the packages, signed, and repositories of
// them. The scripts find them as $OLD.deb, $NEW.rpm and so on, $OLD.tar and $NEW.tar
// being what a web server would have at http://127.0.0.1:8000, their sources in
// $PACKAGING, and the commands that README has for them in $README.
func makePackages(t *testing.T) (environment []string) {
	t.Helper()
	dir := t.TempDir()
	key := signingKey(t)
	for name, version := range map[string]string{"OLD": "1.0.0", "NEW": "1.1.0"} {
		made := filepath.Join(dir, version)
		if _, err := output("env", key, "make", "--directory=../..", "package", "PACKAGES="+made, "VERSION="+version,
			"ARCHITECTURES="+runtime.GOARCH, "SOURCE_DATE_EPOCH=1700000000",
			"RELEASE=-repositories", "SIGN_KEY="+signedBy, "URL="+served); err != nil {
			t.Fatal(err)
		}
		if _, err := output("tar", "--create", "--directory="+made, "--file="+filepath.Join(dir, name+".tar"), "."); err != nil {
			t.Fatal(err)
		}
		for format, pattern := range map[string]string{".deb": "*.deb", ".rpm": "*.rpm", ".asc": "certlatch.asc"} {
			found, err := filepath.Glob(filepath.Join(made, pattern))
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
	readmeCommands(t, dir)
	rpmArch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	return append(environment, "PACKAGING="+packaging, "RPMARCH="+rpmArch, "README="+dir)
}

const (
	signedBy = "releases@certlatch.example"
	served   = "http://127.0.0.1:8000"
)

// signingKey makes a key, and returns the variable that has gpg look for it. What
// gpg leaves running ends with the test.
func signingKey(t *testing.T) string {
	t.Helper()
	need.Program(t, "gpg")
	home, err := os.MkdirTemp("", "gpg") // short, for the path of a socket in it
	if err != nil {
		t.Fatal(err)
	}
	variable := "GNUPGHOME=" + home
	t.Cleanup(func() {
		if _, err := output("env", variable, "gpgconf", "--kill", "all"); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	if _, err := output("env", variable, "gpg", "--batch", "--quiet", "--passphrase=", "--quick-generate-key", signedBy, "rsa3072", "sign", "never"); err != nil {
		t.Fatal(err)
	}
	return variable
}

// readmeCommands writes the commands of README for repositories into a directory,
// as deb-install, deb-upgrade, deb-remove, rpm-install and so on. Only the address
// is another.
func readmeCommands(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n### From a repository\n")
	section, _, _ = strings.Cut(section, "\n### ")
	section = strings.ReplaceAll(section, "https://packages.example.org/certlatch", served)
	blocks := strings.Split(section, "```")
	if len(blocks) != 5 {
		t.Fatalf("README's section has %d parts, want text around one block for apt and one for dnf", len(blocks))
	}
	for i, format := range []string{"deb", "rpm"} {
		parts := strings.Split(blocks[2*i+1], "\n#")
		if len(parts) != 4 {
			t.Fatalf("README has %d steps for %s, want installation, upgrade and removal", len(parts)-1, format)
		}
		for j, step := range []string{"install", "upgrade", "remove"} {
			if err := os.WriteFile(filepath.Join(dir, format+"-"+step), []byte("#"+parts[j+1]), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
