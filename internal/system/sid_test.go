package system

import "testing"

// sid is that of the hosts for services that are in no release of Debian.
var sid = recipe{
	"--variant=minbase",
	"--include=systemd,systemd-sysv,dbus,ca-certificates,acl,openssl,iproute2,asterisk",
	"--dpkgopt=path-exclude=/usr/share/doc/*",
	"--dpkgopt=path-exclude=/usr/share/locale/*",
	"--dpkgopt=path-exclude=/usr/share/man/*",
	`--customize-hook=chroot "$1" systemctl disable --quiet asterisk`,
	"sid",
}

// TestSidScripts plays the scenarios of services that only Debian's unstable
// has, with its newer systemd.
func TestSidScripts(t *testing.T) {
	st := newStage(t)
	st.image = root(t, sid)
	st.play(t, "testdata/sid")
}
