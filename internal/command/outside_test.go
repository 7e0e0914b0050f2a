package command

import (
	"context"
	"slices"
	"testing"
	"time"
)

// TestOutside looks at the command line alone; what systemd makes of it is
// tested in internal/system.
func TestOutside(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	as := Credential{User: "kamailio", UID: 105, GID: 110, Groups: []uint32{42, 43}}
	cmd := systemdRun(ctx, as, "/usr/sbin/kamailio", []string{"kamailio", "-c", "$HOME %n"})
	for _, want := range []string{"--uid=105", "--gid=110", "--property=SupplementaryGroups=42 43", "--setenv=PATH=" + searchPath} {
		if !slices.Contains(cmd.Args, want) {
			t.Errorf("%q is not among %q", want, cmd.Args)
		}
	}
	if i := slices.Index(cmd.Args, "--"); !slices.Equal(cmd.Args[i+1:], []string{"/usr/sbin/kamailio", "-c", "$$HOME %n"}) {
		t.Errorf("the program's arguments: %q", cmd.Args[i+1:])
	}
	if !slices.ContainsFunc(cmd.Args, func(arg string) bool {
		return arg == "--property=RuntimeMaxSec=90" || arg == "--property=RuntimeMaxSec=91"
	}) {
		t.Errorf("no limit of some 90 seconds is among %q", cmd.Args)
	}
	if cmd.Path != "/usr/bin/systemd-run" || cmd.Args[0] != "systemd-run" {
		t.Errorf("%s runs as %s", cmd.Path, cmd.Args[0])
	}
}
