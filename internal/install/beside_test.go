package install

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/disk"
)

// neighbour returns a pair as a set of another target, whose files are in the same
// directories, or whose directory has the same parent.
func (p place) neighbour(l layout, name string, pair pair) Set {
	set := p.set(l, pair)
	set.Target = name
	if l == managed {
		set.Directory = filepath.Join(filepath.Dir(p.directory()), name)
	}
	for i, f := range set.Files {
		file := filepath.Base(f.Path)
		if l == managed {
			set.Files[i].Path = filepath.Join(set.Directory, current, file)
		} else {
			set.Files[i].Path = filepath.Join(filepath.Dir(f.Path), name+"."+file)
		}
	}
	return set
}

// namesBeside returns those of the names of a place that a neighbour has.
func (p place) namesBeside(l layout, name string, installed pair) []string {
	if l == inPlace {
		return []string{"etc/certs/" + name + ".cert.pem", "etc/private/" + name + ".key.pem"}
	}
	dir := "etc/tls/" + name
	generation := dir + "/" + installed.generation
	return []string{"etc", "etc/tls", dir, dir + "/current", generation, generation + "/fullchain.pem", generation + "/privkey.pem"}
}

// TestSideBySide lets two transactions be open at once, of which each ends in its
// own way.
func TestSideBySide(t *testing.T) {
	for _, l := range layouts {
		for _, test := range []struct {
			name  string
			ends  func(one, two *Transaction) error
			one   pair // as it is afterwards
			isTwo bool // is installed
		}{
			{"both are kept", func(one, two *Transaction) error {
				return errors.Join(one.Commit(), two.Commit(), one.Keep(), two.Keep())
			}, newPair, true},
			{"one is undone", func(one, two *Transaction) error {
				return errors.Join(two.Commit(), one.Commit(), one.Undo(), two.Keep())
			}, oldPair, true},
			{"the other is undone", func(one, two *Transaction) error {
				return errors.Join(one.Commit(), two.Commit(), two.Undo(), one.Keep())
			}, newPair, false},
			{"one is undone before the other has begun", func(one, two *Transaction) error {
				return errors.Join(one.Undo(), two.Commit(), two.Keep())
			}, oldPair, true},
			{"both are undone", func(one, two *Transaction) error {
				return errors.Join(one.Commit(), two.Commit(), one.Undo(), two.Undo())
			}, oldPair, false},
		} {
			t.Run(string(l)+" "+test.name, func(t *testing.T) {
				p := place{t.TempDir()}
				p.prepare(t, l, true)
				in := p.installer()
				one, err := in.Stage([]Set{p.set(l, newPair)})
				if err != nil {
					t.Fatal(err)
				}
				two, err := in.Stage([]Set{p.neighbour(l, "two", newPair)})
				if err != nil {
					t.Fatal(err)
				}
				if err := test.ends(one, two); err != nil {
					t.Fatal(err)
				}
				want := p.names(l, test.one, test.one == newPair)
				if test.isTwo {
					want = append(want, p.namesBeside(l, "two", newPair)...)
				}
				if diff := cmp.Diff(sorted(want), tree(t, p.root)); diff != "" {
					t.Errorf("files (-want +got):\n%s", diff)
				}
				if !Same(p.set(l, test.one), p.current(t, p.set(l, test.one))) {
					t.Error("the first has another pair")
				}
			})
		}
	}
}

func sorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// TestMissingParent lets two transactions make the directories that both need, so
// that those go with the last one that is undone.
func TestMissingParent(t *testing.T) {
	for _, l := range []layout{inNew, managed} {
		t.Run(string(l), func(t *testing.T) { testMissingParent(t, l) })
	}
}

func testMissingParent(t *testing.T, l layout) {
	p := place{t.TempDir()}
	in := p.installer()
	var open []*Transaction
	for _, name := range []string{"one", "two", "three"} {
		tx, err := in.Stage([]Set{p.neighbour(l, name, newPair)})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, tx)
	}
	for i, tx := range open {
		if err := tx.Undo(); err != nil {
			t.Fatal(err)
		}
		if left := tree(t, p.root); (len(left) > 0) != (i < 2) {
			t.Errorf("when %d are undone there is %q", i+1, left)
		}
	}
}

// TestParentInUse lets a transaction install in a directory that another has made,
// and takes back then.
func TestParentInUse(t *testing.T) {
	p := place{t.TempDir()}
	in := p.installer()
	first, err := in.Stage([]Set{p.neighbour(managed, "first", newPair)})
	if err != nil {
		t.Fatal(err)
	}
	set := p.set(inPlace, newPair)
	set.Target = "second"
	for i := range set.Files {
		set.Files[i].Path = filepath.Join(filepath.Dir(p.directory()), filepath.Base(set.Files[i].Path))
	}
	in.mutex.Lock() // it has planned, and not made anything yet
	second := &Transaction{in: in, open: map[string]*disk.Dir{}, names: []string{numbered(intentFile, 2), numbered(keptFile, 2)}}
	if second.dir, err = in.openJournal(); err == nil {
		err = second.plan([]Set{set})
	}
	in.open[second.names[0]] = second
	in.mutex.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	err = first.Undo()
	if err == nil {
		err = second.makeNames(set, second.journal.Sets[0])
	}
	if err == nil {
		err = errors.Join(second.Commit(), second.Undo())
	}
	if err != nil {
		t.Error(err)
	}
}

// TestSamePathSideBySide wants a path that an open transaction installs to be left
// to it.
func TestSamePathSideBySide(t *testing.T) {
	p := place{t.TempDir()}
	p.prepare(t, inPlace, true)
	in := p.installer()
	tx, err := in.Stage([]Set{p.set(inPlace, newPair)})
	if err != nil {
		t.Fatal(err)
	}
	same := p.set(inPlace, oldPair)
	same.Target = "same"
	_, err = in.Stage([]Set{same})
	wantPathError(t, err, "is to be installed twice")
	if err := errors.Join(tx.Commit(), tx.Keep()); err != nil {
		t.Fatal(err)
	}
	if again, err := in.Stage([]Set{same}); err != nil || again.Undo() != nil {
		t.Errorf("when it is over: %v", err)
	}
}

// TestCutOffSideBySide recovers what a crash has left of several transactions, each
// in another phase.
func TestCutOffSideBySide(t *testing.T) {
	for _, l := range layouts {
		t.Run(string(l), func(t *testing.T) {
			p := place{t.TempDir()}
			p.prepare(t, l, false)
			all := []string{"committed", "staged", "kept", "committed-too"}
			for _, name := range all {
				deploy(t, p, p.neighbour(l, name, oldPair))
			}
			in := p.installer()
			open := map[string]*Transaction{}
			for _, name := range all {
				tx, err := in.Stage([]Set{p.neighbour(l, name, newPair)})
				if err != nil {
					t.Fatal(err)
				}
				if open[name] = tx; name == "staged" {
					continue
				}
				if err := tx.Commit(); err != nil {
					t.Fatal(err)
				}
			}
			kept := open["kept"]
			if err := moveJournal(kept.dir, kept.names[0], kept.names[1]); err != nil {
				t.Fatal(err)
			}
			for _, tx := range open {
				tx.close()
			}
			if found, err := p.installer().Unfinished(); err != nil || len(found.Interrupted) != 3 {
				t.Errorf("before the recovery: %+v, %v", found, err)
			}
			if _, err := p.installer().Stage([]Set{p.neighbour(l, "next", newPair)}); err == nil || !strings.Contains(err.Error(), "has not been recovered") {
				t.Errorf("before the recovery another begins: %v", err)
			}
			found, err := p.installer().Recover()
			if err != nil || len(found.Interrupted) != 3 || len(found.Stuck)+len(found.Left) > 0 {
				t.Errorf("%+v, %v", found, err)
			}
			for _, name := range all {
				want := oldPair
				if name == "kept" {
					want = newPair
				}
				if set := p.neighbour(l, name, want); !Same(set, p.current(t, set)) {
					t.Errorf("%s has %q", name, contents(p.current(t, set)))
				}
			}
			if left, err := os.ReadDir(p.installer().journalDir); err != nil || len(left) > 0 {
				t.Errorf("of the journals there is %v, %v", left, err)
			}
		})
	}
}

// TestManySideBySide lets as many goroutines as there are targets install again
// and again, and go back now and then.
func TestManySideBySide(t *testing.T) {
	p := inMemory(t)
	p.prepare(t, inPlace, false)
	in := p.installer()
	var all sync.WaitGroup
	for n := range 8 {
		l, name := layouts[n%2], fmt.Sprintf("target%d", n)
		all.Go(func() {
			if err := p.reinstall(in, l, name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	all.Wait()
	if left, err := os.ReadDir(in.journalDir); err != nil || len(left) > 0 {
		t.Errorf("of the journals there is %v, %v", left, err)
	}
	for _, name := range tree(t, p.root) {
		if strings.HasPrefix(filepath.Base(name), ".") {
			t.Errorf("there is %s", name)
		}
	}
}

// reinstall installs a neighbour's pairs in turn, and undoes every third.
func (p place) reinstall(in *Installer, l layout, name string) error {
	has := pair{}
	for n := range 30 {
		next := pair{fmt.Sprintf("20260201T0000%02dZ-aaaaaaaa", n), fmt.Sprint("key ", n), fmt.Sprint("certificate ", n)}
		set := p.neighbour(l, name, next)
		tx, err := in.Stage([]Set{set})
		if err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		if n%3 == 2 {
			err = tx.Undo()
		} else {
			err, has = tx.Keep(), next
		}
		if err != nil {
			return err
		}
		set = p.neighbour(l, name, has)
		if have, err := in.Current(set); err != nil || !Same(set, have) {
			return fmt.Errorf("it has %q instead of %v: %w", contents(have), has, err)
		}
	}
	return nil
}
