package install

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
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/lineage"

	"github.com/certlatch/certlatch/internal/need"
)

var layouts = []layout{inPlace, managed}

func TestDeploy(t *testing.T) {
	for _, l := range layouts {
		t.Run(string(l), func(t *testing.T) {
			p := place{t.TempDir()}
			p.prepare(t, l, false)
			if have := p.current(t, p.set(l, oldPair)); len(have) > 0 {
				t.Errorf("before the first installation: %q", contents(have))
			}
			deploy(t, p, p.set(l, oldPair))
			deploy(t, p, p.set(l, newPair))
			want := p.set(l, newPair)
			have := p.current(t, want)
			if !Same(want, have) {
				t.Errorf("not installed: %q", contents(have))
			}
			if Same(p.set(l, oldPair), have) {
				t.Error("old and new are the same")
			}
			if diff := cmp.Diff(p.names(l, newPair, true), tree(t, p.root)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSame(t *testing.T) {
	file := File{Path: "/a", Data: lineage.Secret("x"), UID: 1, GID: 2, Mode: 0o640}
	tests := []struct {
		name   string
		change func(*File)
		want   bool
	}{
		{"nothing", func(*File) {}, true},
		{"bytes", func(f *File) { f.Data = nil }, false},
		{"owner", func(f *File) { f.UID = 2 }, false},
		{"group", func(f *File) { f.GID = 1 }, false},
		{"mode", func(f *File) { f.Mode = 0o600 }, false},
		{"type bits", func(f *File) { f.Mode |= fs.ModeSetgid }, true},
		{"missing", func(f *File) { f.Path = "/b" }, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			have := file
			test.change(&have)
			if got := Same(Set{Files: []File{file}}, []File{have}); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestDirectories checks the directories of a managed layout, and those on the
// way to it.
func TestDirectories(t *testing.T) {
	need.Root(t)
	p := place{t.TempDir()}
	set := p.set(managed, oldPair)
	set.Group = 5678
	set.Files[1].UID, set.Files[1].GID = 1234, 5678
	deploy(t, p, set)
	for path, want := range map[string]disk.Info{
		"etc":                             {Mode: fs.ModeDir | 0o755},
		"etc/tls":                         {Mode: fs.ModeDir | 0o755},
		"etc/tls/sip.example":             {Mode: fs.ModeDir | 0o750, GID: 5678},
		"etc/tls/sip.example/current":     {Mode: fs.ModeSymlink | 0o777},
		"etc/tls/sip.example/current/":    {Mode: fs.ModeDir | 0o750, GID: 5678},
		set.Files[0].Path[len(p.root)+1:]: {Mode: 0o644},
		set.Files[1].Path[len(p.root)+1:]: {Mode: 0o640, UID: 1234, GID: 5678},
	} {
		info, err := os.Lstat(p.root + "/" + path)
		if err != nil {
			t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		if got := (disk.Info{Mode: info.Mode(), UID: int(st.Uid), GID: int(st.Gid)}); got != want {
			t.Errorf("%s: got %+v, want %+v", path, got, want)
		}
	}
}

// TestMissingDirectories wants those of files in place to be said beforehand, to be
// made, and to be gone again after an undo.
func TestMissingDirectories(t *testing.T) {
	p := place{t.TempDir()}
	set := p.set(inNew, newPair)
	var want []Directory
	for _, path := range []string{"etc", "etc/certs", "etc/private"} {
		want = append(want, Directory{filepath.Join(p.root, path), os.Getegid(), 0o755})
	}
	if got, err := p.installer().Missing(set); err != nil || !slices.Equal(got, want) {
		t.Errorf("missing are %v, %v", got, err)
	}
	tx := p.stage(t, set)
	if got, err := p.installer().Missing(set); err != nil || got != nil {
		t.Errorf("once they are made, missing are %v, %v", got, err)
	}
	for _, made := range want {
		info, err := os.Stat(made.Path)
		if err != nil || info.Mode() != fs.ModeDir|0o755 {
			t.Errorf("%s: %v, %v", made, info, err)
		}
	}
	if err := tx.Undo(); err != nil {
		t.Fatal(err)
	}
	if left := tree(t, p.root); left != nil {
		t.Errorf("left are %q", left)
	}
	deploy(t, p, set)
	if have := p.current(t, set); !Same(set, have) {
		t.Errorf("not installed: %q", contents(have))
	}
}

// TestMissingBelowOthers wants no directory to be made below one that somebody else
// may write to, and the line that makes it to be named.
func TestMissingBelowOthers(t *testing.T) {
	need.Root(t)
	for name, open := range map[string]func(string) error{
		"another owns it":   func(dir string) error { return os.Chown(dir, 1234, 0) },
		"a group may write": func(dir string) error { return os.Chmod(dir, 0o775) },
	} {
		t.Run(name, func(t *testing.T) {
			p := place{t.TempDir()}
			etc := filepath.Join(p.root, "etc")
			if err := errors.Join(os.Mkdir(etc, 0o755), open(etc)); err != nil {
				t.Fatal(err)
			}
			set := p.set(inNew, newPair)
			_, planned := p.installer().Missing(set)
			_, staged := p.installer().Stage([]Set{set})
			for _, err := range []error{planned, staged} {
				refused := new(PathError)
				if !errors.As(err, &refused) || !strings.Contains(refused.Remedy, "install -d -m 0755 "+filepath.Dir(p.cert())) && !strings.Contains(refused.Remedy, "install -d -m 0755 "+filepath.Dir(p.key())) {
					t.Errorf("got %v", err)
				}
			}
			if left := tree(t, p.root); !slices.Equal(left, []string{"etc"}) {
				t.Errorf("there is %q", left)
			}
			if managed, err := p.installer().Missing(p.set(managed, newPair)); err != nil || len(managed) != 2 {
				t.Errorf("of a managed directory %v, %v", managed, err)
			}
		})
	}
}

// TestStaged wants the new files to be complete before the commit, and their
// names not to look like certificates.
func TestStaged(t *testing.T) {
	for _, l := range layouts {
		t.Run(string(l), func(t *testing.T) {
			p := place{t.TempDir()}
			p.prepare(t, l, true)
			tx := p.stage(t, p.set(l, newPair))
			if have := p.current(t, p.set(l, oldPair)); !Same(p.set(l, oldPair), have) {
				t.Errorf("visible before the commit: %q", contents(have))
			}
			var finals []string
			for _, s := range tx.Staged() {
				finals = append(finals, filepath.Base(s.Final))
				data, err := os.ReadFile(s.Path)
				if want := map[bool]string{true: newPair.key, false: newPair.cert}[s.HoldsKey]; err != nil || string(data) != want {
					t.Errorf("%s: %q, %v", s.Path, data, err)
				}
				if l == inPlace && !strings.HasPrefix(s.Path, filepath.Dir(s.Final)+"/.certlatch-") {
					t.Errorf("%s is staged as %s", s.Final, s.Path)
				}
			}
			if want := map[layout][]string{inPlace: {"key.pem", "cert.pem"}, managed: {"privkey.pem", "fullchain.pem"}}[l]; !slices.Equal(finals, want) {
				t.Errorf("staged %q, want %q", finals, want)
			}
			journal, err := os.ReadFile(filepath.Join(p.root, "state", "journal", intentFile))
			if err != nil || strings.Contains(string(journal), "old key") || strings.Contains(string(journal), "new key") {
				t.Errorf("journal: %v\n%s", err, journal)
			}
			if err := tx.Undo(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(p.names(l, oldPair, false), tree(t, p.root)); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUndo(t *testing.T) {
	for _, l := range layouts {
		for _, installed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/installed=%v", l, installed), func(t *testing.T) {
				p := place{t.TempDir()}
				p.prepare(t, l, installed)
				before := inodes(t, p.root)
				tx := p.stage(t, p.set(l, newPair))
				if err := tx.Commit(); err != nil {
					t.Fatal(err)
				}
				if !Same(p.set(l, newPair), p.current(t, p.set(l, newPair))) {
					t.Fatal("not committed")
				}
				for range 2 { // the second does nothing
					if err := tx.Undo(); err != nil {
						t.Fatal(err)
					}
				}
				if diff := cmp.Diff(before, inodes(t, p.root)); diff != "" {
					t.Errorf("not as before (-want +got):\n%s", diff)
				}
				if err := tx.Keep(); err == nil {
					t.Error("kept what was undone")
				}
			})
		}
	}
}

// TestOnlyAttributesDiffer wants the same bytes with another mode to be
// installed and undone like any others.
func TestOnlyAttributesDiffer(t *testing.T) {
	p := place{t.TempDir()}
	p.prepare(t, inPlace, true)
	set := p.set(inPlace, oldPair)
	set.Files[1].Mode = 0o600
	before := inodes(t, p.root)
	p.abandon(t, set)
	if !Same(set, p.current(t, set)) {
		t.Error("the mode was not installed")
	}
	if _, err := p.installer().Recover(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, inodes(t, p.root)); diff != "" {
		t.Errorf("not as before (-want +got):\n%s", diff)
	}
}

// TestSeveralSets wants sets to be committed together, and undone together.
func TestSeveralSets(t *testing.T) {
	p := place{t.TempDir()}
	p.prepare(t, inPlace, true)
	p.prepare(t, managed, true)
	sets := []Set{p.set(managed, newPair), p.set(inPlace, newPair)}
	sets[1].Target = "web"
	before := inodes(t, p.root)
	tx := p.stage(t, sets...)
	obstruct(t, p.cert())
	err := tx.Commit()
	if !errors.Is(err, unix.EISDIR) {
		t.Errorf("got %v", err)
	}
	if err := errors.Join(os.Remove(p.cert()), os.Rename(p.cert()+".aside", p.cert())); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, inodes(t, p.root)); diff != "" {
		t.Errorf("not as before (-want +got):\n%s", diff)
	}

	sets[1].Files = append(sets[1].Files, sets[1].Files[1])
	_, err = p.installer().Stage(sets[1:])
	wantPathError(t, err, "is to be installed twice")
}

// obstruct moves a file aside and puts a directory in its place.
func obstruct(t *testing.T, path string) {
	t.Helper()
	if err := errors.Join(os.Rename(path, path+".aside"), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
}

// TestImmutable commits where chattr +i on the certificate lets the key be
// renamed, and then nothing more. It also keeps the old certificate from
// getting a second name, so that is a copy.
func TestImmutable(t *testing.T) {
	p := place{t.TempDir()}
	p.prepare(t, inPlace, true)
	need.That(t, exec.Command("chattr", "+i", p.cert()).Run() == nil, "needs root and a file system with chattr +i")
	t.Cleanup(func() {
		if err := exec.Command("chattr", "-i", p.cert()).Run(); err != nil {
			t.Error(err)
		}
	})
	before := inodes(t, p.root)
	onlyModes := p.set(inPlace, oldPair)
	for i := range onlyModes.Files {
		onlyModes.Files[i].Mode = 0o600
	}
	for name, set := range map[string]Set{"new pair": p.set(inPlace, newPair), "new modes": onlyModes} {
		err := p.stage(t, set).Commit()
		if _, lost := errors.AsType[*RestoreError](err); !errors.Is(err, unix.EPERM) || lost {
			t.Errorf("%s: got %v", name, err)
		}
		if diff := cmp.Diff(before, inodes(t, p.root)); diff != "" {
			t.Errorf("%s: not as before (-want +got):\n%s", name, diff)
		}
	}
}

// TestRestoreError wants a *RestoreError for what cannot be put back, which is
// put back once it can be.
func TestRestoreError(t *testing.T) {
	p := place{t.TempDir()}
	p.prepare(t, inPlace, true)
	before := inodes(t, p.root)
	tx := p.stage(t, p.set(inPlace, newPair))
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	need.That(t, exec.Command("chattr", "+i", p.cert()).Run() == nil, "needs root and a file system with chattr +i")
	err := tx.Undo()
	if _, ok := errors.AsType[*RestoreError](err); !ok {
		t.Errorf("got %v", err)
	}
	for range 2 {
		got, err := p.installer().Recover()
		if err != nil || len(got.Stuck) != 1 || got.Stuck[0].Target != "sip" || !errors.Is(got.Stuck[0].Err, unix.EPERM) || len(got.Interrupted) > 0 {
			t.Errorf("recovered what cannot be: %+v, %v", got, err)
		}
	}
	if found, err := p.installer().Unfinished(); err != nil || len(found.Stuck) != 1 || !strings.Contains(found.Stuck[0].Err.Error(), "operation not permitted") {
		t.Errorf("unfinished: %+v, %v", found, err)
	}
	if _, err := p.installer().Stage([]Set{p.set(inPlace, newPair)}); !errors.As(err, new(*StuckError)) {
		t.Errorf("staged over what is stuck: %v", err)
	}
	// Other sets can be deployed meanwhile.
	others := p.set(managed, newPair)
	others.Target = "web"
	deploy(t, p, others)
	if err := os.RemoveAll(filepath.Join(p.root, "etc", "tls")); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("chattr", "-i", p.cert()).Run(); err != nil {
		t.Fatal(err)
	}
	got, err := p.installer().Recover()
	if diff := cmp.Diff(Recovery{Interrupted: []Interrupted{{Target: "sip", Lineage: "sip.example"}}}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff(before, inodes(t, p.root)); diff != "" {
		t.Errorf("not as before (-want +got):\n%s", diff)
	}
}

// TestChangedMeanwhile wants what somebody else has put in the place of a new
// file to stay, and a *ChangedError about it, since the old file cannot come
// back.
func TestChangedMeanwhile(t *testing.T) {
	tests := []struct {
		name   string
		layout layout
		change func(p place) error
		path   func(p place) string
	}{
		{"another file", inPlace, func(p place) error { return os.WriteFile(p.cert(), []byte("theirs"), 0o600) }, place.cert},
		{"a link", inPlace, func(p place) error {
			return errors.Join(os.Remove(p.cert()), os.Symlink("theirs", p.cert()))
		}, place.cert},
		{"a directory", inPlace, func(p place) error {
			return errors.Join(os.Remove(p.cert()), os.Mkdir(p.cert(), 0o700))
		}, place.cert},
		{"the second name of the old one", inPlace, func(p place) error {
			found, err := filepath.Glob(filepath.Join(filepath.Dir(p.cert()), ".certlatch-*"))
			if err != nil || len(found) != 1 {
				return fmt.Errorf("second names: %q, %w", found, err)
			}
			return os.WriteFile(found[0], []byte("theirs"), 0o600)
		}, place.cert},
		{"another link to the generation", managed, func(p place) error {
			return disk.ReplaceLink(filepath.Join(p.directory(), newPair.generation), filepath.Join(p.directory(), current))
		}, func(p place) string { return filepath.Join(p.directory(), current) }},
		{"another generation", managed, func(p place) error {
			return disk.ReplaceLink("theirs", filepath.Join(p.directory(), current))
		}, func(p place) string { return filepath.Join(p.directory(), current) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, recover := range []bool{true, false} {
				p := place{t.TempDir()}
				p.prepare(t, test.layout, true)
				tx := p.stage(t, p.set(test.layout, newPair))
				if err := tx.Commit(); err != nil {
					t.Fatal(err)
				}
				if err := test.change(p); err != nil {
					t.Fatal(err)
				}
				theirs := inodes(t, p.root)[test.path(p)]
				if recover {
					tx.close()
					got, err := p.installer().Recover()
					want := Recovery{Interrupted: []Interrupted{{"sip", "sip.example", []string{test.path(p)}}}}
					if diff := cmp.Diff(want, got); err != nil || diff != "" {
						t.Errorf("%v (-want +got):\n%s", err, diff)
					}
				} else {
					err := tx.Undo()
					_, lost := errors.AsType[*RestoreError](err)
					changed, ok := errors.AsType[*ChangedError](err)
					if !lost || !ok || changed.Path != test.path(p) {
						t.Errorf("got %v", err)
					}
				}
				if got := inodes(t, p.root)[test.path(p)]; got != theirs {
					t.Error("what they put there did not stay")
				}
				if test.layout == inPlace {
					if key, err := os.ReadFile(p.key()); err != nil || string(key) != oldPair.key {
						t.Errorf("the rest was not put back: %q, %v", key, err)
					}
				}
				if test.layout == managed {
					target, err := os.Readlink(test.path(p))
					_, statErr := os.Stat(test.path(p))
					if err != nil || target != "theirs" && statErr != nil {
						t.Errorf("the generation in use is gone: %v, %v", err, statErr)
					}
				}
				for _, name := range tree(t, p.root) {
					if strings.Contains(name, ".certlatch-") || strings.HasPrefix(name, "state") {
						t.Errorf("left: %s", name)
					}
				}
			}
		})
	}
}

// TestMissingMeanwhile wants the old file to come back where somebody has
// removed the new one.
func TestMissingMeanwhile(t *testing.T) {
	p := place{t.TempDir()}
	p.prepare(t, inPlace, true)
	before := inodes(t, p.root)
	p.abandon(t, p.set(inPlace, newPair))
	if err := os.Remove(p.key()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.installer().Recover(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, inodes(t, p.root)); diff != "" {
		t.Errorf("not as before (-want +got):\n%s", diff)
	}
}

func TestRefusedPaths(t *testing.T) {
	tests := []struct {
		name    string
		layout  layout
		arrange func(p place) error
		why     string
		reads   bool // Current finds nothing wrong
	}{
		{"a symlink", inPlace, func(p place) error { return os.Symlink("elsewhere", p.cert()) }, "is a symlink", false},
		{"a directory", inPlace, func(p place) error { return os.Mkdir(p.cert(), 0o700) }, "is not a regular file", false},
		{"a pipe", inPlace, func(p place) error { return unix.Mkfifo(p.key(), 0o600) }, "is not a regular file", false},
		{"too large", inPlace, func(p place) error { return os.WriteFile(p.cert(), make([]byte, MaxSize+1), 0o600) }, "holds more than 256 KiB", false},
		{"no directory, where others write", inPlace, func(p place) error {
			return errors.Join(os.Remove(filepath.Dir(p.cert())), os.Chmod(filepath.Join(p.root, "etc"), 0o777))
		}, "does not exist, and is not made below", true},
		{"current is a directory", managed, func(p place) error {
			return os.MkdirAll(filepath.Join(p.directory(), current), 0o700)
		}, "is not a symlink", false},
		{"current leads elsewhere", managed, func(p place) error {
			return errors.Join(os.MkdirAll(p.directory(), 0o700), os.Symlink("../certs", filepath.Join(p.directory(), current)))
		}, "does not name a generation in its own directory", false},
		{"current leads to itself", managed, func(p place) error {
			return errors.Join(os.MkdirAll(p.directory(), 0o700), os.Symlink(".", filepath.Join(p.directory(), current)))
		}, "does not name a generation in its own directory", false},
		{"current leads nowhere", managed, func(p place) error {
			return errors.Join(os.MkdirAll(p.directory(), 0o700), os.Symlink("gone", filepath.Join(p.directory(), current)))
		}, "", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := place{t.TempDir()}
			p.prepare(t, test.layout, false)
			if err := test.arrange(p); err != nil {
				t.Fatal(err)
			}
			before := inodes(t, p.root)
			set := p.set(test.layout, newPair)
			have, err := p.installer().Current(set)
			if !test.reads {
				wantPathError(t, err, test.why)
			} else if err != nil || len(have) > 0 {
				t.Errorf("got %q, %v", contents(have), err)
			}
			tx, err := p.installer().Stage([]Set{set})
			if test.why == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := tx.Undo(); err != nil {
					t.Fatal(err)
				}
			} else {
				wantPathError(t, err, test.why)
			}
			if diff := cmp.Diff(before, inodes(t, p.root)); diff != "" {
				t.Errorf("not as before (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusedLinkOnTheWay(t *testing.T) {
	need.Root(t)
	p := place{t.TempDir()}
	p.prepare(t, inPlace, true)
	certs := filepath.Dir(p.cert())
	err := errors.Join(os.Rename(certs, certs+".real"), os.Symlink(certs+".real", certs), os.Lchown(certs, 1234, 0))
	if err != nil {
		t.Fatal(err)
	}
	_, currentErr := p.installer().Current(p.set(inPlace, newPair))
	_, stageErr := p.installer().Stage([]Set{p.set(inPlace, newPair)})
	for _, err := range []error{currentErr, stageErr} {
		if link, ok := errors.AsType[*disk.LinkError](err); !ok || link.Link != certs {
			t.Errorf("got %v", err)
		}
	}
}

func TestAttributesCarryOver(t *testing.T) {
	for _, l := range layouts {
		t.Run(string(l), func(t *testing.T) {
			p := place{t.TempDir()}
			p.prepare(t, l, true)
			set := p.set(l, newPair)
			key := set.Files[1].Path
			err := exec.Command("setfacl", "-m", "u:65534:r,m::r", key).Run()
			need.That(t, err == nil && unix.Setxattr(key, "user.note", []byte("x"), 0) == nil, "needs setfacl and a file system with ACLs")
			if l == managed {
				if err := exec.Command("setfacl", "-m", "u:65534:x", filepath.Dir(key)+"/.").Run(); err != nil {
					t.Fatal(err)
				}
			}
			set.Files[1].Mode = 0o600
			deploy(t, p, set)
			acl, err := exec.Command("getfacl", "-cnp", key).Output()
			if want := "user::rw-\nuser:65534:r--\ngroup::---\nmask::r--\nother::---\n\n"; err != nil || string(acl) != want {
				t.Errorf("ACL: %v\n%s", err, acl)
			}
			if l == managed {
				acl, err := exec.Command("getfacl", "-cnp", filepath.Dir(key)+"/.").Output()
				if want := "user::rwx\nuser:65534:--x\ngroup::r-x\nmask::r-x\nother::---\n\n"; err != nil || string(acl) != want {
					t.Errorf("ACL of the generation: %v\n%s", err, acl)
				}
			}
			note := make([]byte, 1)
			if _, err := unix.Getxattr(key, "user.note", note); err != nil || note[0] != 'x' {
				t.Errorf("user attribute: %q, %v", note, err)
			}
			if !Same(set, p.current(t, set)) {
				t.Error("it would be installed again and again")
			}
		})
	}
}

// TestNoSpace installs with room for one file more each time: however far the
// installation gets, the old pair must stay and nothing else.
func TestNoSpace(t *testing.T) {
	for _, l := range layouts {
		t.Run(string(l), func(t *testing.T) {
			p := mounted(t, "size=1m,nr_inodes=64")
			journal := New(filepath.Join(t.TempDir(), "journal"))
			p.prepare(t, l, true)
			before := inodes(t, p.root)
			for inodesLeft := 0; ; inodesLeft++ {
				fill(t, p.root, inodesLeft)
				tx, err := journal.Stage([]Set{p.set(l, newPair)})
				if err == nil {
					err = tx.Commit()
				}
				if removeErr := os.RemoveAll(filepath.Join(p.root, "ballast")); removeErr != nil {
					t.Fatal(removeErr)
				}
				if err == nil {
					if err := tx.Undo(); err != nil {
						t.Fatal(err)
					}
					if inodesLeft == 0 {
						t.Error("the disk was not full")
					}
					return
				}
				if !errors.Is(err, unix.ENOSPC) {
					t.Errorf("got %v", err)
				}
				if diff := cmp.Diff(before, inodes(t, p.root)); diff != "" {
					t.Fatalf("with %d left, not as before (-want +got):\n%s", inodesLeft, diff)
				}
			}
		})
	}
}

// fill makes files until the disk can hold only left more.
func fill(t *testing.T, root string, left int) {
	t.Helper()
	dir := filepath.Join(root, "ballast")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; ; n++ {
		err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), nil, 0o600)
		if errors.Is(err, unix.ENOSPC) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range left {
		if err := os.Remove(filepath.Join(dir, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadOnly installs on a disk that is read-only from the beginning, and on
// one that becomes so before the commit.
func TestReadOnly(t *testing.T) {
	for _, l := range layouts {
		for _, staged := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/staged=%v", l, staged), func(t *testing.T) {
				p := mounted(t, "")
				journal := New(filepath.Join(t.TempDir(), "journal"))
				p.prepare(t, l, true)
				before := inodes(t, p.root)
				remount := func(flags uintptr) {
					if err := unix.Mount("", p.root, "", unix.MS_REMOUNT|flags, ""); err != nil {
						t.Fatal(err)
					}
				}
				if !staged {
					remount(unix.MS_RDONLY)
				}
				tx, err := journal.Stage([]Set{p.set(l, newPair)})
				if staged && err == nil {
					remount(unix.MS_RDONLY)
					err = tx.Commit()
				}
				if !errors.Is(err, unix.EROFS) {
					t.Errorf("got %v", err)
				}
				remount(0)
				if _, err := journal.Recover(); err != nil {
					t.Errorf("recover: %v", err)
				}
				if diff := cmp.Diff(before, inodes(t, p.root)); diff != "" {
					t.Errorf("not as before (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestPrune(t *testing.T) {
	p := place{t.TempDir()}
	theirs := []string{"old", "20260101", "other.example"}
	for _, name := range theirs {
		if err := os.MkdirAll(filepath.Join(p.directory(), name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	generations := func(names ...string) []string { return append(names, theirs...) }
	for _, step := range []struct {
		install string
		want    []string
	}{
		{"20260101T000000Z-a", generations("20260101T000000Z-a")},
		{"20260102T000000Z-b", generations("20260101T000000Z-a", "20260102T000000Z-b")},
		{"20260103T000000Z-c", generations("20260101T000000Z-a", "20260102T000000Z-b", "20260103T000000Z-c")},
		{"20260104T000000.5Z-d", generations("20260102T000000Z-b", "20260103T000000Z-c", "20260104T000000.5Z-d")},
		// The clock was set back: neither the current one nor the previous
		// one goes, old as they look.
		{"20250101T000000Z-e", generations("20250101T000000Z-e", "20260103T000000Z-c", "20260104T000000.5Z-d")},
		{"20250102T000000Z-f", generations("20250101T000000Z-e", "20250102T000000Z-f", "20260104T000000.5Z-d")},
	} {
		deploy(t, p, p.set(managed, pair{step.install, "k", "c"}))
		var got []string
		entries, err := os.ReadDir(p.directory())
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if entry.Name() != current {
				got = append(got, entry.Name())
			}
		}
		slices.Sort(step.want)
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", step.install, diff)
		}
	}
	set := p.set(managed, pair{"20250102T000000Z-f", "k", "c"})
	if _, err := p.installer().Stage([]Set{set}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a generation was made twice: %v", err)
	}
	set.Generation = "../x"
	if _, err := p.installer().Stage([]Set{set}); err == nil {
		t.Error("a path was taken for a generation")
	}
}

// TestReader opens the directory that current leads to, once each time, and
// reads both files in it, while they are deployed again and again.
func TestReader(t *testing.T) {
	const deployments = 1000
	p := inMemory(t)
	name := func(n int) pair {
		return pair{fmt.Sprintf("20260101T000000.%06dZ-x", n), fmt.Sprint("key ", n), fmt.Sprint("cert ", n)}
	}
	deploy(t, p, p.set(managed, name(0)))
	done := make(chan struct{})
	result := make(chan error, 1)
	var reads, changes int
	go func() {
		last := ""
		for {
			key, cert, err := readPair(filepath.Join(p.directory(), current))
			number := strings.TrimPrefix(cert, "cert ")
			switch {
			case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESTALE):
				// What is open for three generations is removed.
			case err != nil || key != "key "+number:
				result <- fmt.Errorf("read %q with %q, %v", key, cert, err)
				return
			case number != last:
				last = number
				changes++
			}
			reads++
			select {
			case <-done:
				result <- nil
				return
			default:
			}
		}
	}()
	for n := range deployments {
		deploy(t, p, p.set(managed, name(n+1)))
	}
	close(done)
	if err := <-result; err != nil {
		t.Error(err)
	}
	t.Logf("%d reads saw %d pairs", reads, changes)
	if changes < 2 {
		t.Error("the reader saw nothing of the deployments")
	}
	want := []string{"current"}
	for n := deployments - 2; n <= deployments; n++ {
		want = append(want, name(n).generation)
	}
	entries, err := os.ReadDir(p.directory())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("left behind (-want +got):\n%s", diff)
	}
}

func readPair(dir string) (key, cert string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", "", err
	}
	defer root.Close()
	certData, certErr := root.ReadFile("fullchain.pem")
	keyData, keyErr := root.ReadFile("privkey.pem")
	return string(keyData), string(certData), errors.Join(certErr, keyErr)
}

// TestDamagedJournal wants each kind of damage to be reported, and to keep
// nothing from being deployed that the journal is not known to be about.
func TestDamagedJournal(t *testing.T) {
	for _, test := range []struct {
		content string
		why     string
	}{
		{"", "is empty"},
		{"{", "is damaged"},
		{"\x7fELF\x00\xff", "is damaged"},
		{`{"schema":"certlatch.journal/1","sets":[{"target":7}]}`, "is damaged"},
		{`{"schema":"certlatch.state/1"}`, "is not a journal"},
		{`{"schema":"certlatch.journal/9","intents":[]}`, "is of another version of certlatch (certlatch.journal/9)"},
		{strings.Repeat("x", maxJournal+1), "is larger than"},
	} {
		for _, name := range []string{intentFile, keptFile, stuckFile, leftFile} {
			p := place{t.TempDir()}
			p.prepare(t, inPlace, true)
			path := filepath.Join(p.root, "state", "journal", name)
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if found, err := p.installer().Unfinished(); name != keptFile && (err != nil || len(found.Damaged) != 1) {
				t.Errorf("%s: %.20q: unfinished are %+v, %v", name, test.content, found, err)
			}
			got, err := p.installer().Recover()
			if err != nil || len(got.Damaged) != 1 || !strings.Contains(got.Damaged[0].Error(), path+" ") || !strings.Contains(got.Damaged[0].Why, test.why) {
				t.Errorf("%s: %.20q: got %+v, %v", name, test.content, got, err)
				continue
			}
			if aside, err := os.ReadFile(got.Damaged[0].Aside); err != nil || string(aside) != test.content {
				t.Errorf("%s: %.20q: set aside as %.20q, %v", name, test.content, aside, err)
			}
			if got, err := p.installer().Recover(); err != nil || len(got.Damaged) > 0 {
				t.Errorf("%s: %.20q: told again: %+v, %v", name, test.content, got, err)
			}
			deploy(t, p, p.set(inPlace, newPair))
		}
	}
}

// TestLaterJournal wants the sets of a later version's journal to be left to
// that version, and no others to wait for it.
func TestLaterJournal(t *testing.T) {
	p := place{t.TempDir()}
	p.prepare(t, inPlace, true)
	path := filepath.Join(p.root, "state", "journal", intentFile)
	content := []byte(`{"schema":"certlatch.journal/2","sets":[{"target":"chat","lineage":"im.example","new":{}}],"more":1}`)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, err := p.installer().Recover()
		if err != nil || len(got.Stuck) != 1 || got.Stuck[0].Target != "chat" || len(got.Damaged) > 0 {
			t.Fatalf("got %+v, %v", got, err)
		}
		newer, ok := errors.AsType[*JournalError](got.Stuck[0].Err)
		if kept, err := os.ReadFile(newer.Path); !ok || err != nil || string(kept) != string(content) {
			t.Errorf("%s holds %s, %v", newer.Path, kept, err)
		}
	}
	deploy(t, p, p.set(inPlace, newPair))
}

// TestDamagedKept wants no more than three damaged journals to be kept.
func TestDamagedKept(t *testing.T) {
	p := place{t.TempDir()}
	p.prepare(t, inPlace, true)
	dir := filepath.Join(p.root, "state", "journal")
	for n := range 5 {
		name := fmt.Sprintf("%s2026010%dT000000-%s", damagedPrefix, n+1, intentFile)
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, intentFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.installer().Recover(); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(dir, damagedPrefix+"*"))
	if err != nil || len(found) != asideKept || !strings.Contains(found[0], "20260104") {
		t.Errorf("kept are %q, %v", found, err)
	}
}

// TestPlanted wants attributes that somebody else than root and the owner of
// the new file could have chosen not to be carried over, but to be reported,
// and the file to have what the configuration names.
func TestPlanted(t *testing.T) {
	need.Root(t)
	const user, reader = 1234, 5678
	for _, test := range []struct {
		name    string
		layout  layout
		plant   func(p place, set Set) error // as user, beside what is there
		change  func(*Set)                   // what is to be installed
		carried bool
		acl     string // of the new key; "": the planted one
	}{
		{"root's in root's", inPlace, nil, nil, true, ""},
		{"root's in the user's", inPlace, func(p place, set Set) error { return os.Chown(filepath.Dir(p.key()), user, user) }, nil, false, "none"},
		{"the user's in root's", inPlace, func(p place, set Set) error { return os.Chown(p.key(), user, user) }, nil, false, "none"},
		{"the user's in the user's, for him", inPlace, func(p place, set Set) error {
			return errors.Join(os.Chown(filepath.Dir(p.key()), user, user), os.Chown(p.key(), user, user))
		}, func(s *Set) { s.Files[1].UID = user }, true, ""},
		{"where a group may write", inPlace, func(p place, set Set) error { return os.Chmod(filepath.Dir(p.key()), 0o770) }, nil, false, "none"},
		{"below the user's", inPlace, func(p place, set Set) error { return os.Chown(filepath.Join(p.root, "etc"), user, user) }, nil, false, "none"},
		{"root's generation", managed, nil, nil, true, ""},
		{"a generation below the user's", managed, func(p place, set Set) error { return os.Chown(filepath.Join(p.root, "etc"), user, user) }, nil, false, "none"},
		{"the user's generation", managed, func(p place, set Set) error {
			return os.Chown(filepath.Join(p.directory(), oldPair.generation), user, user)
		}, nil, false, "none"},
		{"asked for", inPlace, func(p place, set Set) error { return os.Chown(filepath.Dir(p.key()), user, user) },
			func(s *Set) { s.Files[0].Grants, s.Files[1].Grants = grants(9999), grants(9999) }, true, "user:9999:r--"},
		{"asked for, in a generation", managed, nil,
			func(s *Set) { s.Files[0].Grants, s.Files[1].Grants = grants(9999), grants(9999) }, true, "user:9999:r--"},
		{"asked for none", inPlace, nil, func(s *Set) { s.Files[0].Grants, s.Files[1].Grants = grants(), grants() }, true, "none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := place{t.TempDir()}
			p.prepare(t, test.layout, true)
			set := p.set(test.layout, newPair)
			key := set.Files[1].Path
			err := exec.Command("setfacl", "-m", fmt.Sprintf("u:%d:r,m::r", reader), key).Run()
			need.That(t, err == nil, "needs setfacl and a file system with ACLs")
			if test.layout == managed {
				if err := exec.Command("setfacl", "-m", fmt.Sprintf("u:%d:x,d:u:%d:rx", reader, reader), filepath.Dir(key)+"/.").Run(); err != nil {
					t.Fatal(err)
				}
			}
			if test.plant != nil {
				if err := test.plant(p, set); err != nil {
					t.Fatal(err)
				}
			}
			if test.change != nil {
				test.change(&set)
			}
			wouldNot, err := p.installer().NotCarried(set)
			if err != nil {
				t.Fatal(err)
			}
			tx := p.stage(t, set)
			var told []string
			for _, n := range tx.NotCarried() {
				told = append(told, n.Path)
			}
			if want := !test.carried; slices.Contains(told, key) != want || (len(wouldNot) > 0) != want {
				t.Errorf("told is %q, and before that %v", told, wouldNot)
			}
			if err := errors.Join(tx.Commit(), tx.Keep()); err != nil {
				t.Fatal(err)
			}
			want := test.acl
			if want == "" {
				want = fmt.Sprintf("user:%d:r--", reader)
			}
			for _, path := range []string{key, filepath.Dir(key) + "/."} {
				out, err := exec.Command("getfacl", "-cnpE", path).Output()
				if err != nil {
					t.Fatal(err)
				}
				named := regexp.MustCompile(`(?m)^(default:.*|user:\d.*)$`).FindAllString(string(out), -1)
				if path != key && test.layout == inPlace {
					continue
				}
				if path != key {
					want = strings.Replace(want, "r--", "--x", 1)
				}
				if got := strings.Join(named, " "); got != want && !(want == "none" && got == "") {
					t.Errorf("%s has %q, want %q", path, got, want)
				}
			}
			have := p.current(t, set)
			if !Same(set, have) {
				t.Error("it is not the same as it was asked for")
			}
			if set.Files[1].Grants != nil {
				set.Files[1].Grants = grants(4321)
				if Same(set, have) {
					t.Error("another ACL is the same")
				}
			}
		})
	}
}

// TestGrantsOfDirectories wants whoever may read the files to be able to pass
// the directories that are made for them.
func TestGrantsOfDirectories(t *testing.T) {
	need.Root(t)
	p := place{t.TempDir()}
	set := p.set(managed, newPair)
	set.Files[0].Grants, set.Files[1].Grants = grants(9999), grants(9999)
	deploy(t, p, set)
	for _, path := range []string{p.directory(), filepath.Join(p.directory(), newPair.generation)} {
		out, err := exec.Command("getfacl", "-cnpE", path).Output()
		if err != nil || !strings.Contains(string(out), "\nuser:9999:--x\n") {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
	}
}

func grants(users ...int) []disk.Grant {
	all := []disk.Grant{}
	for _, user := range users {
		all = append(all, disk.Grant{ID: user})
	}
	return all
}

// TestOneObstacle wants what keeps one set from being put back, or its names
// from being removed, to concern no other.
func TestOneObstacle(t *testing.T) {
	need.Root(t)
	p, q := place{t.TempDir()}, place{t.TempDir()}
	p.prepare(t, inPlace, true)
	theirs := q.set(inPlace, newPair)
	theirs.Target, theirs.Lineage = "chat", "im.example"
	q.prepare(t, inPlace, true)
	before := inodes(t, p.root)
	p.abandon(t, p.set(inPlace, newPair), theirs)

	// The owner of a directory puts one of his own in the place of a second name.
	second, err := filepath.Glob(filepath.Join(filepath.Dir(q.key()), ".certlatch-*"))
	if err != nil || len(second) != 1 {
		t.Fatalf("second names: %q, %v", second, err)
	}
	if err := errors.Join(os.Remove(second[0]), os.MkdirAll(second[0]+"/full", 0o700)); err != nil {
		t.Fatal(err)
	}
	got, err := p.installer().Recover()
	want := Recovery{Interrupted: []Interrupted{{Target: "sip", Lineage: "sip.example"}, {"chat", "im.example", []string{q.key()}}}, NotOurs: second}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff(before, inodes(t, p.root)); diff != "" {
		t.Errorf("not as before (-want +got):\n%s", diff)
	}
	if got, err := p.installer().Recover(); err != nil || !cmp.Equal(got, Recovery{}) {
		t.Errorf("there is still %+v, %v", got, err)
	}
	deploy(t, p, theirs, p.set(inPlace, newPair))
}

// TestReadOnlyMeanwhile wants a file system that becomes read-only to keep only
// its own sets from being put back, and their names from being removed, until
// it is writable again.
func TestReadOnlyMeanwhile(t *testing.T) {
	for _, l := range layouts {
		for _, kept := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/kept=%v", l, kept), func(t *testing.T) {
				p, q := place{t.TempDir()}, mounted(t, "")
				p.prepare(t, inPlace, true)
				q.prepare(t, l, true)
				before := [2]map[string]string{inodes(t, p.root), inodes(t, q.root)}
				theirs := q.set(l, newPair)
				theirs.Target = "chat"
				tx := p.stage(t, p.set(inPlace, newPair), theirs)
				if err := tx.Commit(); err != nil {
					t.Fatal(err)
				}
				remount := func(flags uintptr) {
					if err := unix.Mount("", q.root, "", unix.MS_REMOUNT|flags, ""); err != nil {
						t.Fatal(err)
					}
				}
				if kept {
					// It is cut off as soon as it is kept.
					if err := moveJournal(tx.dir, intentFile, keptFile); err != nil {
						t.Fatal(err)
					}
				}
				tx.close()
				remount(unix.MS_RDONLY)
				for range 2 {
					got, err := p.installer().Recover()
					if err != nil || kept && (len(got.Stuck) > 0 || l == inPlace && len(got.Left) != 2) || !kept && (len(got.Stuck) != 1 || got.Stuck[0].Target != "chat") {
						t.Errorf("recovered: %+v, %v", got, err)
					}
				}
				again := p.set(inPlace, pair{"20260301T000000Z-c", "third key", "third"})
				deploy(t, p, again)
				remount(0)
				got, err := p.installer().Recover()
				if err != nil || len(got.Stuck)+len(got.Left) > 0 {
					t.Errorf("recovered: %+v, %v", got, err)
				}
				if !kept {
					if diff := cmp.Diff(before[1], inodes(t, q.root)); diff != "" {
						t.Errorf("not as before (-want +got):\n%s", diff)
					}
				}
				for _, root := range []string{p.root, q.root} {
					for _, name := range tree(t, root) {
						if strings.Contains(name, ".certlatch-") || strings.HasPrefix(name, "state/") {
							t.Errorf("left: %s", name)
						}
					}
				}
				if !Same(again, p.current(t, again)) {
					t.Error("the other set was touched")
				}
			})
		}
	}
}

// TestLeftovers wants the next transaction in a directory to remove what
// crashes have left there without a journal, and nothing of others'.
func TestLeftovers(t *testing.T) {
	need.Root(t)
	p := place{t.TempDir()}
	p.prepare(t, inPlace, true)
	dir := filepath.Dir(p.key())
	ours, theirs, foreign := filepath.Join(dir, disk.TempName()), filepath.Join(dir, disk.TempName()), filepath.Join(dir, ".certlatch-notes")
	for _, path := range []string{ours, theirs, foreign} {
		if err := os.WriteFile(path, []byte("key"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(theirs, 1234, 1234); err != nil {
		t.Fatal(err)
	}
	deploy(t, p, p.set(inPlace, newPair))
	for path, want := range map[string]bool{ours: false, theirs: true, foreign: true} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestPruneStrange wants generations of others, and those that cannot be
// removed, not to keep any other from being pruned.
func TestPruneStrange(t *testing.T) {
	need.Root(t)
	p := place{t.TempDir()}
	strange := filepath.Join(p.directory(), "20200101T000000Z-theirs")
	if err := errors.Join(os.MkdirAll(strange, 0o700), os.Chown(strange, 1234, 1234)); err != nil {
		t.Fatal(err)
	}
	stuck := filepath.Join(p.directory(), "20200102T000000Z-immutable")
	if err := errors.Join(os.Mkdir(stuck, 0o700), os.WriteFile(stuck+"/file", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	need.That(t, exec.Command("chattr", "+i", stuck+"/file").Run() == nil, "needs root and a file system with chattr +i")
	t.Cleanup(func() {
		if err := exec.Command("chattr", "-i", stuck+"/file").Run(); err != nil {
			t.Error(err)
		}
	})
	future := filepath.Join(p.directory(), "21000101T000000Z-future")
	if err := os.Mkdir(future, 0o700); err != nil {
		t.Fatal(err)
	}
	for day := range 6 {
		tx := p.stage(t, p.set(managed, pair{fmt.Sprintf("2026010%dT000000Z-x", day+1), "k", "c"}))
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := tx.Keep(); err != nil && !errors.As(err, new(*LeftError)) {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(p.directory())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	want := []string{filepath.Base(strange), filepath.Base(stuck), "20260105T000000Z-x", "20260106T000000Z-x", current}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("generations (-want +got):\n%s", diff)
	}
}

func (p place) stage(t *testing.T, sets ...Set) *Transaction {
	t.Helper()
	tx, err := p.installer().Stage(sets)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func (p place) current(t *testing.T, set Set) []File {
	t.Helper()
	have, err := p.installer().Current(set)
	if err != nil {
		t.Fatal(err)
	}
	return have
}

// inodes returns, by path, the inode, mode and number of names of everything
// below a directory, without the state directory.
func inodes(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range tree(t, root) {
		path := filepath.Join(root, name)
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		all[path] = fmt.Sprint(info.Mode(), " inode ", st.Ino, " links ", st.Nlink)
		if info.Mode().Type() == fs.ModeSymlink {
			target, err := os.Readlink(path)
			if err != nil {
				t.Fatal(err)
			}
			all[path] = "-> " + target
		}
	}
	return all
}

func wantPathError(t *testing.T, err error, why string) {
	t.Helper()
	path, ok := errors.AsType[*PathError](err)
	if !ok || !strings.Contains(path.Why, why) || path.Remedy == "" {
		t.Errorf("got %v, want a *PathError that says %q", err, why)
	}
}

// mounted returns a place that is a small file system of its own.
func mounted(t *testing.T, options string) place {
	t.Helper()
	dir := t.TempDir()
	need.That(t, unix.Mount("tmpfs", dir, "tmpfs", 0, options) == nil, "needs root and the right to mount")
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return place{dir}
}

// TestKept wants Kept to be false where a user who may not read a file could
// have put it there.
func TestKept(t *testing.T) {
	need.Root(t)
	const user = 1234
	for _, test := range []struct {
		name             string
		dir, file, owner int // whose the directory and the file are, and whose the new one will be
		want             bool
	}{
		{"root's, for root", 0, 0, 0, true},
		{"root's, for the user", 0, 0, user, true},
		{"the user's, for the user", user, user, user, true},
		{"root's file in the user's directory, for the user", user, 0, user, false},
		{"root's file in the user's directory, for root", user, 0, 0, false},
		{"another's file in the user's directory, for the user", user, 4321, user, false},
		{"the user's file in another's directory", 4321, user, user, false},
		{"another's file in root's directory", 0, 4321, 0, true},
	} {
		p := place{t.TempDir()}
		p.prepare(t, inPlace, true)
		if err := errors.Join(os.Chown(filepath.Dir(p.key()), test.dir, 0), os.Chown(p.key(), test.file, 0)); err != nil {
			t.Fatal(err)
		}
		set := p.set(inPlace, newPair)
		set.Files[1].UID = test.owner
		if have := p.current(t, set); have[1].Kept != test.want {
			t.Errorf("%s: %v", test.name, have[1].Kept)
		}
	}
}
