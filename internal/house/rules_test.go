package house

import (
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"strings"
)

const module = "github.com/certlatch/certlatch/"

// A rule looks at the whole tree and tells what is against it.
type rule struct {
	name  string
	check func(tree) []string
}

var rules = []rule{
	{"imports go where they may", imports},
	{"rooms know only whom they should", directions},
	{"effects have one gate each", effects},
	{"nothing happens at import", noInit},
	{"a package is introduced once", oneComment},
	{"a package is named by what it does", names},
}

// testTools are packages that only tests and people who work here run: they
// may start programs and write files as they like.
var testTools = []string{"internal/house", "internal/need", "internal/pki", "internal/system", "internal/tools"}

// gates tell which packages alone may import something, tests aside.
var gates = []struct {
	imports string // a regular expression over the whole path
	allowed []string
	why     string
}{
	{`os/exec`, []string{"internal/command"}, "programs are run in one place, without a shell and with a limit"},
	{`github.com/coreos/go-systemd/v22/journal`, []string{"internal/systemd", "cmd/certlatch"}, "the journal is written where output is"},
	{`github.com/coreos/go-systemd/v22/(dbus|daemon|activation|login1|machine1|sdjournal|unit|util)|github.com/godbus/dbus/v5`, []string{"internal/systemd"}, "systemd is talked to in one place"},
	{`github.com/fsnotify/fsnotify`, []string{"internal/watch"}, "files are watched in one place"},
	{`github.com/go-sql-driver/mysql|github.com/lib/pq|database/sql`, []string{"internal/rows"}, "databases are written to in one place"},
	{module + `internal/pki`, nil, "it makes certificates for tests"},
	{module + `internal/need`, nil, "it skips tests"},
	{module + `internal/(system|house)`, nil, "it is tests"},
	{`C|unsafe|plugin`, nil, "releases are built without C, and nothing here needs it"},
}

// imports holds the gates.
func imports(t tree) (found []string) {
	for _, f := range t {
		for _, imported := range f.imports() {
			for _, gate := range gates {
				open := f.test || f.in(testTools) || f.in(gate.allowed)
				if !open && regexp.MustCompile("^(?:"+gate.imports+")$").MatchString(imported) {
					found = append(found, fmt.Sprintf("%s imports %s: %s", f.path, imported, gate.why))
				}
			}
		}
	}
	return found
}

// knows tells for some rooms which others alone they may know. Pure ones may
// have no effect either, so they get along without other modules, and without
// the parts of the standard library that have effects.
var knows = []struct {
	rooms   []string
	allowed []string
	pure    bool
}{
	{[]string{"deployers", "hooks"}, []string{"internal/lineage", "internal/endpoint"}, true},
	{[]string{"internal/proposal"}, []string{"deployers", "internal/lineage", "internal/endpoint"}, true},
	{[]string{"internal/endpoint", "internal/command", "internal/disk"}, nil, false},
	{[]string{"internal/lineage"}, []string{"internal/disk"}, false},
	{[]string{"internal/watch"}, []string{"internal/lineage"}, false},
	{[]string{"internal/daemon"}, []string{"internal/config", "internal/disk", "internal/engine", "internal/lineage", "internal/state", "internal/watch"}, false},
}

// strangers know nothing of each other; the engine and the commands bring
// them together.
var strangers = []string{
	"templates", "internal/command", "internal/control", "internal/host", "internal/install", "internal/policy", "internal/probe",
	"internal/process", "internal/revocation", "internal/rows", "internal/srv", "internal/state", "internal/systemd", "internal/watch",
}

// impure is the part of the standard library that reaches out of the process.
var impure = regexp.MustCompile(`^(os(/.*)?|net|net/(http|rpc|smtp|textproto)(/.*)?|crypto/tls|syscall|log/syslog|database/sql)$`)

// directions holds the tables of who knows whom.
func directions(t tree) (found []string) {
	for _, f := range t {
		if f.test {
			continue
		}
		complain := func(imported, why string) {
			found = append(found, fmt.Sprintf("%s imports %s: %s", f.path, imported, why))
		}
		for _, imported := range f.imports() {
			room, ours := strings.CutPrefix(imported, module)
			thirdParty := !ours && strings.Contains(strings.Split(imported, "/")[0], ".")
			for _, k := range knows {
				switch {
				case !f.in(k.rooms):
				case ours && !slices.Contains(k.allowed, room):
					complain(imported, fmt.Sprintf("of this house it may only know %q", k.allowed))
				case k.pure && (thirdParty || impure.MatchString(imported)):
					complain(imported, "it says what to do, and does nothing")
				}
			}
			switch {
			case f.in(strangers) && slices.Contains(strangers, room) && !f.in([]string{room}):
				complain(imported, "they know nothing of each other")
			case room == "internal/engine" && !f.in([]string{"cmd/certlatch", "internal/daemon"}):
				complain(imported, "the engine uses the rooms, not the other way round")
			case strings.HasPrefix(room, "cmd/"):
				complain(imported, "a command is not a library")
			}
		}
	}
	return found
}

// acts tell where alone a function or constant of the standard library may be
// mentioned, tests aside.
var acts = []struct {
	packages string // regular expressions over the whole path and name
	names    string
	allowed  []string // directories or files
	why      string
}{
	{
		`os`, `WriteFile|Create|CreateTemp|Rename|Remove(All)?|Mkdir(All|Temp)?|Chmod|L?chown|Chown|Chtimes|Symlink|Link|Truncate|CopyFS|OpenRoot|O_CREATE|O_TRUNC`,
		[]string{"internal/disk"}, "files are changed in one place",
	},
	{
		`golang.org/x/sys/unix|syscall`, `Creat|Rename(at2?)?|Unlink(at)?|Rmdir|Mkdir(at)?|Mkfifo(at)?|Mknod(at)?|[FL]?[Cc]hown|Fchownat|F?[Cc]hmod|Fchmodat|Link(at)?|Symlink(at)?|F?[Tt]runcate|[FL]?(Set|Remove)xattr|[FL](set|remove)xattr|O_CREAT|O_TRUNC|O_TMPFILE`,
		[]string{"internal/disk"}, "files are changed in one place",
	},
	{`os`, `Exit`, []string{"cmd/certlatch/main.go"}, "the process ends in one place"},
	{`log`, `Fatal(f|ln)?|Panic(f|ln)?`, nil, "errors are returned"},
}

// effects holds the table of acts.
func effects(t tree) (found []string) {
	for _, f := range t {
		if f.test || f.in(testTools) {
			continue
		}
		imported := f.importNames()
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			base, ok := selector.X.(*ast.Ident)
			if !ok || imported[base.Name] == "" {
				return true
			}
			for _, act := range acts {
				mentioned := regexp.MustCompile("^(?:"+act.packages+")$").MatchString(imported[base.Name]) &&
					regexp.MustCompile("^(?:"+act.names+")$").MatchString(selector.Sel.Name)
				if mentioned && !f.in(act.allowed) {
					found = append(found, fmt.Sprintf("%s uses %s.%s: %s", f.path, base.Name, selector.Sel.Name, act.why))
				}
			}
			return true
		})
	}
	return found
}

// noInit forbids func init, and imports whose only use is theirs.
func noInit(t tree) (found []string) {
	for _, f := range t {
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				found = append(found, f.path+" has a func init")
			}
		}
		for _, spec := range f.syntax.Imports {
			if spec.Name != nil && (spec.Name.Name == "_" || spec.Name.Name == ".") && spec.Path.Value != `"embed"` {
				found = append(found, fmt.Sprintf("%s imports %s as %s", f.path, spec.Path.Value, spec.Name.Name))
			}
		}
	}
	return found
}

// oneComment wants exactly one package comment a package, that of its tests
// not counted.
func oneComment(t tree) (found []string) {
	comments := map[string]int{}
	for _, f := range t {
		if f.test {
			continue
		}
		n := 0
		if f.syntax.Doc != nil {
			n = 1
		}
		comments[f.dir()] += n
	}
	for dir, n := range comments {
		if n != 1 {
			found = append(found, fmt.Sprintf("%s has %d package comments", dir, n))
		}
	}
	slices.Sort(found)
	return found
}

// names forbids packages that could hold anything.
func names(t tree) (found []string) {
	for _, f := range t {
		if regexp.MustCompile(`^(utils?|commons?|helpers?|managers?|types|misc|shared|base)(_test)?$`).MatchString(f.syntax.Name.Name) {
			found = append(found, fmt.Sprintf("%s is in package %s, which could hold anything", f.path, f.syntax.Name.Name))
		}
	}
	return found
}
