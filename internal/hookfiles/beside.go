package hookfiles

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/lineage"
)

// maxBeside bounds how many files are read of each kind.
const maxBeside = 500

// Beside returns checks of who else writes the targets' files here, or reloads their
// services. Nothing is run: it is said what files hold, and who could have written
// them.
func Beside(roots []lineage.Root, wanted []hooks.Interest) (checks []deployers.Check) {
	for _, hand := range Hands(roots, wanted) {
		checks = append(checks, deployers.NewCheck(deployers.Hook, deployers.Warned, hand.Remedy, "%s:%d %s (target %s)%s", hand.File, hand.Line, hand.Does, hand.Target, writtenByOthers(hand.File)))
	}
	return checks
}

// Hands returns who else writes the targets' files here, or reloads their services,
// each once.
func Hands(roots []lineage.Root, wanted []hooks.Interest) (found []hooks.Hand) {
	dirs := map[string][]string{}
	for _, root := range roots {
		dirs[root.Client] = append(dirs[root.Client], root.Dir)
	}
	met := map[hooks.Hand]bool{}
	for _, watched := range hooks.HandsBeside(dirs) {
		files, err := filepath.Glob(watched.Files)
		if err != nil {
			continue
		}
		for _, file := range files[:min(len(files), maxBeside)] {
			for _, hand := range handsIn(file, watched, wanted) {
				if met[hand] {
					continue
				}
				met[hand] = true
				found = append(found, hand)
			}
		}
	}
	return found
}

// handsIn returns who acts by a file; one that cannot be read tells of nobody.
func handsIn(file string, watched hooks.Watched, wanted []hooks.Interest) []hooks.Hand {
	text, mode, err := disk.ReadFile(file, maxFile)
	if err != nil || watched.Run && mode&0o111 == 0 {
		return nil
	}
	return watched.Read(file, string(text), wanted)
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
