package hookfiles

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/lineage"
)

// How much is read, since who keeps lineages may name whatever he likes: files of each
// kind, scripts that files name, in all and one by another, and bytes of each.
const (
	maxBeside   = 500
	maxFollowed = 100
	deepest     = 3
	maxScript   = 64 << 10
)

// Beside returns checks of who else writes the targets' files here, or reloads their
// services, and of what a client never renews. Nothing is run: it is said what files hold,
// and who could have written them.
func Beside(roots []lineage.Root, wanted []hooks.Interest) (checks []deployers.Check) {
	warn := func(remedy, says string, args ...any) {
		checks = append(checks, deployers.NewCheck(deployers.Hook, deployers.Warned, remedy, says, args...))
	}
	for _, hand := range together(Hands(roots, wanted)) {
		warn(hand.Remedy, "%s:%d %s (target %s)%s", hand.File, hand.Line, hand.Does, hand.Target, writtenByOthers(hand.File))
	}
	for _, l := range forgotten(roots) {
		name := strings.TrimSuffix(l.Name, "_ecc")
		for _, i := range wanted {
			if i.Takes(l) {
				warn("a cron line of its own: acme.sh --renew --ecc -d "+name, "acme.sh's cron never renews %s (target %s): it cuts the name off at an underscore", name, i.Target)
			}
		}
	}
	return checks
}

// together returns each of some hands once for all targets that it is at.
func together(all []hooks.Hand) (each []hooks.Hand) {
	for _, hand := range all {
		same := func(other hooks.Hand) bool {
			return other.File == hand.File && other.Line == hand.Line && other.Does == hand.Does
		}
		if at := slices.IndexFunc(each, same); at >= 0 {
			each[at].Target += ", " + hand.Target
		} else {
			each = append(each, hand)
		}
	}
	return each
}

// forgotten returns the lineages of acme.sh's that its cron never renews.
func forgotten(roots []lineage.Root) (all []lineage.Lineage) {
	for _, root := range roots {
		dirs, _ := filepath.Glob(filepath.Join(root.Dir, "*_*_*"))
		for _, dir := range dirs[:min(len(dirs), maxBeside)] {
			if name := filepath.Base(dir); root.Client == "acme.sh" && hooks.AcmeshForgets(name) {
				all = append(all, lineage.Lineage{Client: root.Client, Name: name})
			}
		}
	}
	return all
}

// Hands returns who else writes the targets' files here, or reloads their services,
// each once.
func Hands(roots []lineage.Root, wanted []hooks.Interest) []hooks.Hand {
	dirs := map[string][]string{}
	for _, root := range roots {
		dirs[root.Client] = append(dirs[root.Client], root.Dir)
	}
	s := search{wanted: wanted, read: map[string]bool{}}
	for _, watched := range hooks.HandsBeside(dirs) {
		s.look(watched, deepest, "")
	}
	return s.found
}

// search is a search for others, which reads each file once.
type search struct {
	wanted []hooks.Interest
	read   map[string]bool
	found  []hooks.Hand

	followed int // scripts that were read since others name them
}

// look adds who acts by the files of a kind, and by what they run, down to a depth. One
// that cannot be read tells of nobody. The files are run by another; empty: by themselves.
func (s *search) look(watched hooks.Watched, depth int, by string) {
	files, _ := filepath.Glob(watched.Files)
	for _, file := range files[:min(len(files), maxBeside)] {
		if s.read[file] || by != "" && s.followed >= maxFollowed {
			continue
		}
		s.read[file] = true
		text, is := script(file, watched.Run)
		if !is {
			continue
		}
		if by != "" {
			s.followed++
		}
		for _, hand := range watched.Read(file, text, s.wanted) {
			if by != "" {
				hand.Does += ", and is run by " + by
			}
			s.found = append(s.found, hand)
		}
		if watched.Then == nil || depth == 0 {
			continue
		}
		for _, next := range watched.Then(file, text) {
			s.look(next, depth-1, file)
		}
	}
}

// script returns the text of a file, and reports whether it is one, and is run where that
// is asked for: certlatch's own link leads to a program.
func script(file string, isRun bool) (string, bool) {
	if info, err := os.Stat(file); err != nil || isRun && info.Mode()&0o111 == 0 {
		return "", false
	}
	text, _, err := disk.ReadFile(file, maxScript)
	return string(text), err == nil && !bytes.Contains(text[:min(len(text), 1024)], []byte{0})
}

// writtenByOthers says who else than root could have written a file; empty: nobody.
func writtenByOthers(file string) string {
	info, err := os.Stat(file)
	if err != nil {
		return ""
	}
	switch st, is := info.Sys().(*syscall.Stat_t); {
	case is && st.Uid != 0:
		return fmt.Sprintf("; user %d may write to it", st.Uid)
	case info.Mode()&(0o022) != 0 && info.Mode().Type() != fs.ModeSymlink:
		return "; others than root may write to it"
	}
	return ""
}
