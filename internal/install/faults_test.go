package install

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/fault"
)

// ordeal is a process that meets faults, with the pair before it and those that
// there may be after it.
type ordeal struct {
	layout layout
	work   string
	before pair // empty: nothing is installed
	cutOff func(t *testing.T, p place, set Set)
	after  []pair // what a recovery may find or bring about
}

// TestFaults lets a deployment, one that is undone, either of them beside another
// transaction, and the recovery of one that was cut off meet a fault at every
// system call that changes something.
// Afterwards one of the pairs must be there in whole, what the process reported
// must be true, and the next run must leave nothing.
func TestFaults(t *testing.T) {
	ordeals := map[string]ordeal{}
	for _, l := range []layout{inPlace, managed} {
		either := []pair{oldPair, newPair}
		ordeals["deploy "+string(l)] = ordeal{l, helpDeploy, oldPair, nil, either}
		ordeals["deploy first "+string(l)] = ordeal{l, helpDeploy, pair{}, nil, []pair{{}, newPair}}
		ordeals["undo "+string(l)] = ordeal{l, helpUndo, oldPair, nil, []pair{oldPair}}
		ordeals["undo first "+string(l)] = ordeal{l, helpUndo, pair{}, nil, []pair{{}}}
		ordeals["deploy beside "+string(l)] = ordeal{l, helpDeployBeside, oldPair, nil, either}
		ordeals["undo beside "+string(l)] = ordeal{l, helpUndoBeside, oldPair, nil, []pair{oldPair}}
		ordeals["recover committed "+string(l)] = ordeal{l, helpRecover, oldPair, cutOffCommitted, []pair{oldPair}}
		ordeals["recover kept "+string(l)] = ordeal{l, helpRecover, oldPair, cutOffKept, []pair{newPair}}
	}
	ordeals["deploy first in-new"] = ordeal{inNew, helpDeploy, pair{}, nil, []pair{{}, newPair}}
	ordeals["undo first in-new"] = ordeal{inNew, helpUndo, pair{}, nil, []pair{{}}}
	results := make(chan map[string]int, len(ordeals))
	t.Run("sweep", func(t *testing.T) {
		for name, o := range ordeals {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				results <- o.sweep(t)
			})
		}
	})
	close(results)
	var all []map[string]int
	for cases := range results {
		all = append(all, cases)
	}
	fault.Count(t, "transactions of files", 3300, all...)
}

func cutOffCommitted(t *testing.T, p place, set Set) { p.abandon(t, set) }

// cutOffKept leaves a deployment that was kept and cut off then.
func cutOffKept(t *testing.T, p place, set Set) {
	p.abandon(t, set)
	journal := p.installer().journalDir
	if err := os.Rename(filepath.Join(journal, intentFile), filepath.Join(journal, keptFile)); err != nil {
		t.Fatal(err)
	}
}

func (o ordeal) sweep(t *testing.T) map[string]int {
	var p place
	start := func() (string, *exec.Cmd) {
		if p.root != "" {
			os.RemoveAll(p.root)
		}
		p = inMemory(t)
		p.prepare(t, o.layout, o.before != pair{})
		if o.cutOff != nil {
			o.cutOff(t, p, p.renewal(o.layout))
		}
		cmd := exec.Command(os.Args[0], p.root)
		cmd.Env = append(os.Environ(), helperVariable+"="+o.work+" "+string(o.layout), "GORACE=atexit_sleep_ms=0")
		return p.root, cmd
	}
	return fault.Sweep(t, fault.Process{Start: start}, func(c fault.Case, ended fault.Ended) {
		if found := o.check(t, p, ended); found != "" {
			t.Errorf("%v: %s\nit ended with %+v", c, found, ended)
		}
	})
}

// check returns what is wrong after a case, or "".
func (o ordeal) check(t *testing.T, p place, ended fault.Ended) string {
	if ended.Code == 2 || strings.Contains(ended.Output, "goroutine ") {
		return "it panics"
	}
	if want := o.claimed(ended); want != nil && !p.has(o.layout, *want) {
		return "what it says is not so: " + fmt.Sprint(p.state(t, o.layout))
	}
	if _, err := p.installer().Recover(); err != nil {
		return "recovery: " + err.Error()
	}
	installed := slices.IndexFunc(o.after, func(pair pair) bool { return p.has(o.layout, pair) })
	if installed < 0 {
		return "after the recovery there is " + fmt.Sprint(p.state(t, o.layout))
	}
	code := ended.Code % besideCode
	if o.deploys() && (code == codeDone || code == codeKept) && !ended.Killed && o.after[installed] != newPair {
		return "what was deployed is taken back by the recovery"
	}
	names := p.names(o.layout, o.after[installed], o.before != pair{} && o.after[installed] == newPair)
	if o.beside() {
		has := p.hasNeighbour(o.layout)
		if has {
			names = sorted(append(names, p.namesBeside(o.layout, neighbourName, newPair)...))
		}
		if said := ended.Code / besideCode; !ended.Killed && (said == codeDone || said == codeKept) != has {
			return fmt.Sprintf("of the other it says %d, and it is there: %v", said, has)
		}
	}
	if diff := cmp.Diff(names, tree(t, p.root)); diff != "" {
		return "after the recovery there is (-want +got):\n" + diff
	}
	return p.takesAnother(t, o.layout)
}

// claimed returns the pair that must be installed if the process reported the
// truth; nil: it reported nothing.
func (o ordeal) claimed(ended fault.Ended) *pair {
	code := ended.Code % besideCode
	undoes := o.work == helpUndo || o.work == helpUndoBeside
	switch {
	case ended.Killed:
		return nil
	case o.deploys() && (code == codeDone || code == codeKept || code == codeNotKept):
		return &newPair
	case o.deploys() && code == codeFailed, undoes && code != codeNotRestored:
		return &o.before
	}
	return nil
}

// beside reports whether there is another transaction beside the one that meets
// faults, which meets them too.
func (o ordeal) beside() bool { return o.work == helpDeployBeside || o.work == helpUndoBeside }

// deploys reports whether the pair is to be kept.
func (o ordeal) deploys() bool { return o.work == helpDeploy || o.work == helpDeployBeside }

// hasNeighbour reports whether the neighbour's pair is installed in whole.
func (p place) hasNeighbour(l layout) bool {
	set := p.neighbour(l, neighbourName, newPair)
	have, err := p.installer().Current(set)
	return err == nil && Same(set, have)
}

// has reports whether a pair is installed in whole, or nothing where it is
// empty.
func (p place) has(l layout, want pair) bool {
	set := p.renewal(l)
	if want != newPair {
		set = p.set(l, want)
	}
	have, err := p.installer().Current(set)
	if (want == pair{}) {
		return err == nil && len(have) == 0
	}
	return err == nil && Same(set, have)
}

// state returns what is installed, and what is in the journals.
func (p place) state(t *testing.T, l layout) []string {
	have, err := p.installer().Current(p.set(l, newPair))
	return append(contents(have), fmt.Sprint(err), fmt.Sprint(tree(t, p.root)))
}

// takesAnother deploys another set beside, and returns what is wrong with that,
// or "".
func (p place) takesAnother(t *testing.T, l layout) string {
	before := tree(t, p.root)
	set := p.set(l, newPair)
	set.Target = "other"
	if l == managed {
		set.Directory = filepath.Join(p.root, "other")
	}
	for i, name := range []string{"fullchain.pem", "privkey.pem"} {
		set.Files[i].Path = filepath.Join(filepath.Dir(set.Files[i].Path), name)
		if l == managed {
			set.Files[i].Path = filepath.Join(set.Directory, current, name)
		}
	}
	deploy(t, p, set)
	have, err := p.installer().Current(set)
	if err != nil || !Same(set, have) {
		return fmt.Sprintf("another set is not installed: %q, %v", contents(have), err)
	}
	added := len(set.Files)
	if l == managed {
		added += 3 // the directory, the generation, and the link
	}
	if l == inNew && len(before) == 0 {
		added += 3 // the directories, and the one above
	}
	if after := tree(t, p.root); len(after) != len(before)+added {
		return fmt.Sprintf("with another set there is %q", after)
	}
	return ""
}
