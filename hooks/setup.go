package hooks

import (
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"sync"
)

// Setup is how certlatch gets into a client's hooks.
type Setup struct {
	Dirs  []string // the usual places, the first that exists counts; none: nothing can be put anywhere
	Needs string   // a path relative to the directory, without which the client does not look at the parts
	Parts []Part   // in the order in which they are put there
	Own   OwnHooks

	Memory Memory // what the client remembers of each lineage

	Advice string // for people: what it does, and what is to be done by hand
}

// Part is a file or a link that is certlatch's, among what is the client's.
type Part struct {
	Name string // relative to the directory
	Link string // where it leads to; empty: it is a file
	Text string // of a file; holds the setup's mark
	Run  bool   // a file that is to be executed
}

// Mode returns the permissions of a file.
func (p Part) Mode() fs.FileMode {
	if p.Run {
		return 0o755
	}
	return 0o644
}

// OwnHooks are the files in which single lineages may have a hook of their own,
// beside those in the client's directory.
type OwnHooks struct {
	Files  string         // a pattern, relative to the directory unless absolute
	Line   *regexp.Regexp // a line that sets a hook, which is the first group
	Effect string         // what the client does with both, for people
}

// Memory is what a client remembers about a lineage and its hooks depend on.
type Memory struct {
	// File returns the file in which it does, relative to the directory that
	// the lineage's files are in, whose name is dir. Nil: the client remembers
	// nothing.
	File func(dir string) string

	Calls  func(text string) bool  // reports whether the text of the file makes the client call certlatch
	Alone  func(text string) bool  // reports whether it does so even without the parts
	Choose func(dir string) string // returns the command that chooses certlatch for a lineage; nil: it need not be chosen
}

// writtenBy returns the line that is in every file that certlatch writes for a
// client. Without it a file is somebody else's, and is neither replaced nor
// removed.
func writtenBy(client string) string {
	return fmt.Sprintf(`Written by "certlatch hook install %[1]s", taken away by "certlatch hook remove %[1]s".`, client)
}

// Wrote reports whether any version of certlatch wrote a file with that text
// for a client.
func Wrote(client Caller, text string) bool { return strings.Contains(text, writtenBy(client.Name())) }

// plainWord matches words that need no quotes in a POSIX shell.
var plainWord = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_./:@%+,-]+$`) })

// shellQuote returns a word quoted for a POSIX shell.
func shellQuote(word string) string {
	if plainWord().MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
