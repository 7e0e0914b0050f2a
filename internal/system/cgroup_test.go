package system

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/internal/need"
)

// cgroup is a control group of one host, above the two that systemd-nspawn makes
// for its container and for itself (--keep-unit). Without it these would be the
// same for all hosts, and the unit of one would be that of the others too:
// systemd kills a unit with SIGKILL by its control group (cgroup.kill).
type cgroup struct {
	dir  *os.File // in the version 2 hierarchy
	tops []string // the directory, and what systemd-nspawn makes like it elsewhere
}

// newCgroup makes a control group below that of the tests.
func newCgroup(name string) (*cgroup, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	tops, err := cgroupDirs(string(mounts), string(own))
	if err != nil {
		return nil, err
	}
	for i := range tops {
		tops[i] = filepath.Join(tops[i], name)
	}
	if err := os.Mkdir(tops[0], 0o755); err != nil {
		return nil, err
	}
	dir, err := os.Open(tops[0])
	if err != nil {
		return nil, errors.Join(err, os.Remove(tops[0]))
	}
	c := &cgroup{dir, tops}
	// A group that takes no process, such as one of threads, is of no use.
	trial := exec.Command("true")
	trial.SysProcAttr = c.attributes()
	if err := trial.Run(); err != nil {
		return nil, errors.Join(err, c.remove(context.Background()))
	}
	return c, nil
}

// attributes returns those of a process that is to start in the group. It ends
// with the thread that starts it.
func (c *cgroup) attributes() *unix.SysProcAttr {
	attributes := &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if c != nil {
		attributes.UseCgroupFD, attributes.CgroupFD = true, int(c.dir.Fd())
	}
	return attributes
}

// remove removes the group and those below it, as soon as their last processes
// have ended.
func (c *cgroup) remove(ctx context.Context) error {
	if c == nil {
		return nil
	}
	defer c.dir.Close()
	return until(ctx, func() error {
		var errs []error
		for _, top := range c.tops {
			errs = append(errs, removeCgroups(top))
		}
		return errors.Join(errs...)
	})
}

// removeCgroups removes a directory of control groups, whose files go with it.
func removeCgroups(top string) error {
	var dirs []string
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, dir := range slices.Backward(dirs) {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove control group %s: %w", dir, err)
		}
	}
	return nil
}

// cgroupDirs returns the directory in which a process's own control group of
// version 2 is seen, and the one of that path in systemd's own hierarchy of
// version 1 if there is one, which systemd-nspawn keeps alike (systemd 252,
// src/nspawn/nspawn-cgroup.c, sync_cgroup). It is told what /proc/self/mountinfo
// and /proc/self/cgroup hold (proc(5), cgroups(7)).
func cgroupDirs(mounts, own string) ([]string, error) {
	path, found := "", false
	for line := range strings.Lines(own) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			path, found = rest, true
		}
	}
	switch {
	case !found:
		return nil, errors.New("there are no control groups of version 2 here")
	case strings.HasPrefix(path, "/.."):
		return nil, fmt.Errorf("control group %s is outside of this namespace", path)
	}
	var unified, legacy string
	for line := range strings.Lines(mounts) {
		before, after, _ := strings.Cut(line, " - ")
		of, kind := strings.Fields(before), strings.Fields(after)
		if len(of) < 5 || len(kind) < 3 || strings.HasPrefix(of[3], "/..") {
			continue
		}
		below, err := filepath.Rel(of[3], path)
		if err != nil || !filepath.IsLocal(below) {
			continue // what is mounted there is another part of the tree
		}
		dir := filepath.Join(of[4], below)
		switch {
		case kind[0] == "cgroup2":
			unified = cmp.Or(unified, dir)
		case kind[0] == "cgroup" && slices.Contains(strings.Split(kind[2], ","), "name=systemd"):
			legacy = cmp.Or(legacy, dir)
		}
	}
	switch {
	case unified == "":
		return nil, fmt.Errorf("control group %s is mounted nowhere", path)
	case legacy == "":
		return []string{unified}, nil
	}
	return []string{unified, legacy}, nil
}

// TestHostsApart kills a unit of one host, of which the other has one too. As
// soon as the hosts have ended, nothing of their control groups is left.
func TestHostsApart(t *testing.T) {
	needMachine(t)
	image := root(t, trixie)
	var groups []*cgroup
	t.Run("hosts", func(t *testing.T) {
		one, other := boot(t, image), boot(t, image)
		need.That(t, one.cgroup != nil && other.cgroup != nil, "hosts share a control group here")
		groups = []*cgroup{one.cgroup, other.cgroup}
		for _, h := range []*host{one, other} {
			if _, err := h.run("systemctl", "start", "nginx"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := one.run("systemctl", "kill", "--signal=KILL", "nginx"); err != nil {
			t.Fatal(err)
		}
		if err := until(t.Context(), func() error {
			if state, _ := one.run("systemctl", "is-failed", "nginx"); state != "failed\n" {
				return fmt.Errorf("nginx that was killed is %s", state)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := other.run("systemctl", "reload", "nginx"); err != nil {
			state, _ := other.run("systemctl", "status", "nginx")
			t.Errorf("nginx of another host was killed with it: %v\n%s", err, state)
		}
	})
	for _, group := range groups {
		for _, top := range group.tops {
			if _, err := os.Stat(top); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is left of a host: %v", top, err)
			}
		}
	}
}

func TestCgroupDirs(t *testing.T) {
	for name, c := range map[string]struct {
		mounts, own string
		want        []string
	}{
		"version 2": {
			"25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
			"0::/user.slice/session-1.scope\n",
			[]string{"/sys/fs/cgroup/user.slice/session-1.scope"},
		},
		"both versions": {
			"40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n" +
				"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n" +
				"39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n",
			"9:name=systemd:/\n8:pids:/\n0::/\n",
			[]string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"},
		},
		"a container with a control group namespace": {
			"700 690 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/\n", []string{"/sys/fs/cgroup"},
		},
		"a container without one": {
			"700 690 0:26 /docker/0123 /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/docker/0123/ci\n", []string{"/sys/fs/cgroup/ci"},
		},
		"a process from outside": {"700 690 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/../ci\n", nil},
		"another part mounted":   {"700 690 0:26 /docker/0123 /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/docker/0124\n", nil},
		"version 1":              {"39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n", "8:pids:/\n", nil},
		"none mounted":           {"", "0::/\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := cgroupDirs(c.mounts, c.own)
			if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}
