package watch

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/need"
	"github.com/certlatch/certlatch/internal/pki"
)

// quick is a pace that tests have the time for.
var quick = Pace{Quiet: 30 * time.Millisecond, Longest: time.Second, Patience: 300 * time.Millisecond}

// patience is far beyond what a test waits for.
const patience = 20 * time.Second

// scene is a client's root and somebody who watches it.
type scene struct {
	*Watcher
	*testing.T
	ca   *pki.CA
	dir  string
	root lineage.Root
}

func newScene(t *testing.T, kind, dir string) *scene {
	t.Helper()
	keeper, _ := hooks.KeeperFor(kind)
	s := &scene{T: t, ca: pki.NewCA(t, "Root"), dir: t.TempDir()}
	s.root = keeper.Root(filepath.Join(s.dir, dir))
	s.mkdir("marks")
	return s
}

// watch starts to watch all lineages but those with one name.
func (s *scene) watch() {
	wants := func(l lineage.Lineage) bool { return !strings.HasPrefix(l.Name, "unwanted") }
	s.Watcher = New([]lineage.Root{s.root}, wants, filepath.Join(s.dir, "marks"), quick)
	s.Cleanup(s.Close)
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *scene) mkdir(dir string) { s.must(os.MkdirAll(filepath.Join(s.dir, dir), 0o755)) }
func (s *scene) rename(from, to string) {
	s.must(os.Rename(filepath.Join(s.dir, from), filepath.Join(s.dir, to)))
}
func (s *scene) remove(path string) { s.must(os.RemoveAll(filepath.Join(s.dir, path))) }
func (s *scene) write(path string, content []byte) {
	s.must(os.WriteFile(filepath.Join(s.dir, path), content, 0o600))
}

// flip replaces a link in one rename.
func (s *scene) flip(path, to string) {
	s.must(os.Symlink(to, filepath.Join(s.dir, path+"_")))
	s.rename(path+"_", path)
}

func (s *scene) leaf(name string) pki.Leaf { return s.ca.Leaf(s.T, pki.Names(name)) }

func (s *scene) certbot(names ...string) {
	for _, name := range names {
		pki.WriteCertbot(s.T, s.root.Dir, name, s.leaf(name))
	}
}

// next waits for changes.
func (s *scene) next() Changes {
	s.Helper()
	end := time.After(patience)
	for {
		var rest <-chan time.Time
		if next := s.Next(); !next.IsZero() {
			rest = time.After(time.Until(next))
		}
		select {
		case batch, ok := <-s.Events():
			if ok {
				s.Note(batch, time.Now())
			} else {
				s.Lost(time.Now())
			}
		case <-rest:
			now := time.Now()
			changes := s.Ready(now)
			if next := s.Next(); !next.IsZero() && !next.After(now) {
				s.Fatalf("what was told is still due: %v", s.settling)
			}
			if len(changes.Lineages) > 0 || changes.Marks {
				return changes
			}
		case <-end:
			s.Fatal("nothing came")
		}
	}
}

// expect waits until each of some lineages has changed, and wants no other to.
func (s *scene) expect(names ...string) {
	s.Helper()
	left := slices.Clone(names)
	for len(left) > 0 {
		for _, l := range s.next().Lineages {
			if !slices.Contains(names, l.Name) {
				s.Fatalf("%s has changed", l.Name)
			}
			left = slices.DeleteFunc(left, func(name string) bool { return name == l.Name })
		}
	}
	s.quiet()
}

// quiet wants no more changes, once everything that has happened was seen: it
// leaves a mark last, and waits for that.
func (s *scene) quiet() {
	s.Helper()
	s.write("marks/last", nil)
	if changes := s.next(); len(changes.Lineages) > 0 {
		s.Fatalf("%v has changed", changes.Lineages)
	}
}

func TestCertbot(t *testing.T) {
	s := newScene(t, "certbot", "letsencrypt/live")
	s.certbot("a.example", "b.example", "unwanted.example")
	s.watch()
	if s.Lineages() != 2 || s.Blind() != nil {
		t.Fatalf("%d lineages, %v", s.Lineages(), s.Blind())
	}
	s.certbot("a.example", "unwanted.example")
	s.expect("a.example")
	s.certbot("c.example") // a new one
	s.expect("c.example")
	s.certbot("c.example", "b.example")
	s.expect("b.example", "c.example")

	// The files behind the links are written over.
	same := s.leaf("a.example")
	s.write("letsencrypt/archive/a.example/fullchain2.pem", same.Fullchain)
	s.write("letsencrypt/archive/a.example/privkey2.pem", same.Key)
	s.expect("a.example")
	s.write("letsencrypt/archive/a.example/privkey2.pem", same.Key) // with the same content
	s.quiet()

	// Directories are removed and made again.
	s.remove("letsencrypt/live/b.example")
	s.remove("letsencrypt/archive/b.example")
	s.quiet()
	s.certbot("b.example")
	s.expect("b.example")
	s.certbot("b.example")
	s.expect("b.example")
	s.rename("letsencrypt/live/b.example", "letsencrypt/live/away")
	s.rename("letsencrypt/live/c.example", "letsencrypt/live/b.example")
	s.expect("away", "b.example")
}

func TestWholeRootIsReplaced(t *testing.T) {
	s := newScene(t, "certbot", "etc/letsencrypt/live")
	s.watch() // there is no lineage yet
	s.mkdir("etc")
	s.certbot("a.example")
	s.expect("a.example")
	s.rename("etc", "old")
	s.certbot("a.example", "b.example")
	s.expect("a.example", "b.example")
	s.certbot("b.example")
	s.expect("b.example")
	s.remove("etc")
	s.certbot("b.example")
	s.expect("b.example")
}

func TestFlatAndInPlace(t *testing.T) {
	s := newScene(t, "lego", "certificates")
	put := func(name string) {
		leaf := s.leaf(name)
		s.write("certificates/"+name+".crt", leaf.Fullchain)
		s.write("certificates/"+name+".key", leaf.Key)
	}
	s.mkdir("certificates")
	put("a.example")
	put("b.example")
	s.watch()
	put("b.example")
	s.expect("b.example")
	put("c.example")
	s.expect("c.example")
}

// TestRetargetedLinks renews as acmetool does, whose links lead to directories
// that are named by what they hold, and as Kubernetes does, which flips one
// link.
func TestRetargetedLinks(t *testing.T) {
	s := newScene(t, "acmetool", "live")
	put := func(id, dir string) {
		leaf := s.leaf("a.example")
		s.mkdir("certs/" + id)
		s.mkdir("keys/" + id)
		s.write("certs/"+id+"/fullchain", leaf.Fullchain)
		s.write("keys/"+id+"/privkey", leaf.Key)
		s.must(os.Symlink("../../keys/"+id+"/privkey", filepath.Join(s.dir, "certs", id, "privkey")))
	}
	s.mkdir("live")
	put("ONE", "certs")
	put("TWO", "certs")
	s.flip("live/a.example", "../certs/ONE")
	s.watch()
	s.flip("live/a.example", "../certs/TWO")
	s.expect("a.example")
	leaf := s.leaf("a.example")
	s.write("certs/ONE/fullchain", leaf.Fullchain) // no link leads there any more
	s.write("certs/TWO/fullchain", leaf.Fullchain)
	s.write("keys/TWO/privkey", leaf.Key)
	s.expect("a.example")

	k := newScene(t, "directory", "certs")
	for _, at := range []string{"..1", "..2"} {
		leaf := k.leaf("web")
		k.mkdir("certs/web/" + at)
		k.write("certs/web/"+at+"/fullchain.pem", leaf.Fullchain)
		k.write("certs/web/"+at+"/privkey.pem", leaf.Key)
	}
	k.flip("certs/web/..data", "..1")
	k.flip("certs/web/fullchain.pem", "..data/fullchain.pem")
	k.flip("certs/web/privkey.pem", "..data/privkey.pem")
	k.watch()
	k.flip("certs/web/..data", "..2")
	k.expect("web")
}

// TestHalfWritten wants a client that writes one file now and the other much
// later to be waited for.
func TestHalfWritten(t *testing.T) {
	s := newScene(t, "directory", "certs")
	put := func(leaf pki.Leaf) { pki.WriteDirectory(t, s.root.Dir, "web", leaf) }
	put(s.leaf("web"))
	s.watch()
	leaf := s.leaf("web")
	s.write("certs/web/fullchain.pem", leaf.Fullchain)
	s.quiet() // although the files are at rest
	s.write("certs/web/privkey.pem", leaf.Key)
	s.expect("web")

	s.write("certs/web/privkey.pem", s.leaf("web").Key)
	s.expect("web") // the wait for the other file ends
}

// TestQueueOverflows makes the kernel's queue overflow: nobody reads while more
// events come than it has room for.
func TestQueueOverflows(t *testing.T) {
	s := newScene(t, "certbot", "live")
	s.certbot("a.example", "b.example")
	s.watch()
	flooded := s.flood("live/a.example")
	s.certbot("b.example") // of which there is no event
	overflow := false
	for range patience / time.Millisecond {
		select {
		case batch := <-s.Events():
			overflow = s.Note(batch, time.Now()) || overflow
		default:
		}
		if overflow {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if !overflow {
		t.Fatalf("%d events did not make the queue overflow", flooded)
	}
	s.expect("b.example")
	s.certbot("a.example")
	s.expect("a.example")
}

// flood makes more events than the kernel's queue and the reader have room for,
// and returns their number.
func (s *scene) flood(dir string) int {
	s.Helper()
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	s.must(err)
	var room int
	_, err = fmt.Sscan(string(text), &room)
	s.must(err)
	s.write(dir+"/x", nil)
	for range room { // each makes two events
		s.rename(dir+"/x", dir+"/y")
		s.rename(dir+"/y", dir+"/x")
	}
	s.remove(dir + "/x")
	return 4 * room
}

// TestNoWatchesLeft runs itself in a user namespace of its own whose table of
// watches is full (user_namespaces(7), /proc/sys/user).
func TestNoWatchesLeft(t *testing.T) {
	const limit = "/proc/sys/user/max_inotify_watches"
	if os.Getenv("CERTLATCH_FULL_TABLE") == "" {
		need.Root(t)
		cmd := exec.Command(os.Args[0], "-test.run=^TestNoWatchesLeft$", "-test.v")
		cmd.Env = append(os.Environ(), "CERTLATCH_FULL_TABLE=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{Size: 1}}, GidMappings: []syscall.SysProcIDMap{{Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	s := newScene(t, "certbot", "live")
	s.certbot("a.example")
	s.must(os.WriteFile(limit, []byte("3"), 0o644))
	s.watch()
	if !errors.Is(s.Blind(), unix.ENOSPC) || !strings.Contains(s.Blind().Error(), "max_user_watches") || s.Events() != nil {
		t.Fatalf("it is not blind: %v", s.Blind())
	}
	s.certbot("a.example")
	s.Poll(time.Now())
	if changes := s.next(); len(changes.Lineages) != 1 || !changes.Marks {
		t.Errorf("it polls in vain: %v", changes)
	}

	// Now there are watches again.
	s.must(os.WriteFile(limit, []byte("1000"), 0o644))
	s.Rescan(time.Now())
	if s.Blind() != nil {
		t.Fatal(s.Blind())
	}
	s.certbot("a.example")
	s.expect("a.example")
}
