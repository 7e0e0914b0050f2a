package architecture

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"strconv"
	"testing"
)

// pathsRoom is the home of the comparison of paths.
const pathsRoom = "internal/paths"

// mayCompare are the places that compare paths themselves.
var mayCompare = []string{
	pathsRoom,
	"deployers", // Prosody's proxies have certificates below a directory of its configuration
}

// comparisons checks that whether a path is within a directory is found out in
// one place: it is by the directory and a slash that a prefix is one.
func comparisons(t tree) (found []string) {
	for _, f := range t {
		if f.test || f.in(testTools) || f.in(mayCompare) {
			continue
		}
		names := f.importNames()
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 2 {
				return true
			}
			selector, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !regexp.MustCompile("^(Has|Cut|Trim)Prefix$").MatchString(selector.Sel.Name) {
				return true
			}
			if base, ok := selector.X.(*ast.Ident); ok && names[base.Name] == "strings" && (endsInSlash(call.Args[0]) || endsInSlash(call.Args[1])) {
				found = append(found, fmt.Sprintf("%s compares paths by strings.%s: %s says what is below a directory", f.path, selector.Sel.Name, pathsRoom))
			}
			return true
		})
	}
	return found
}

// endsInSlash reports whether an expression adds a slash to something.
func endsInSlash(e ast.Expr) bool {
	sum, ok := e.(*ast.BinaryExpr)
	if !ok || sum.Op != token.ADD {
		return false
	}
	last, ok := sum.Y.(*ast.BasicLit)
	return ok && (last.Value == `"/"` || last.Value == "`/`")
}

// writers checks that outcomes are made in one room: others call its functions,
// and do not write into what they return.
func writers(t tree) (found []string) {
	const room = "internal/outcome"
	for _, f := range t {
		if f.test || f.in(testTools) || f.dir() == room {
			continue
		}
		names := f.importNames()
		isOutcome := func(e ast.Expr) bool {
			named, ok := e.(*ast.SelectorExpr)
			if !ok || named.Sel.Name != "Outcome" {
				return false
			}
			base, ok := named.X.(*ast.Ident)
			return ok && names[base.Name] == module+room
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				if isOutcome(n.Type) {
					found = append(found, fmt.Sprintf("%s makes an outcome: %s does", f.path, room))
				}
			case *ast.AssignStmt:
				for _, to := range n.Lhs {
					field, ok := to.(*ast.SelectorExpr)
					if !ok {
						continue
					}
					if of, ok := field.X.(*ast.SelectorExpr); ok && of.Sel.Name == "outcome" {
						found = append(found, fmt.Sprintf("%s writes %s of an outcome: %s does", f.path, field.Sel.Name, room))
					}
				}
			}
			return true
		})
	}
	return found
}

// reasonsRoom is the home of the codes for why outcomes are what they are:
// constants of its type Reason. Empty: there is none yet.
const reasonsRoom = "internal/outcome"

// otherWords are texts that are reasons, and mean something else in some places.
var otherWords = map[string][]string{}

// reasons checks that a reason is written in one room: others use its constant.
func reasons(t tree) []string { return literalReasons(t, reasonsRoom) }

// literalReasons returns the places outside room that write a reason of it as a
// literal. Reasons of one word are not looked for, as other texts may be equal.
func literalReasons(t tree, room string) (found []string) {
	known := map[string]bool{}
	for _, f := range t {
		if !f.test && f.dir() == room {
			f.constants("Reason", func(value string) { known[value] = regexp.MustCompile(`^[a-z]+(-[a-z]+)+$`).MatchString(value) })
		}
	}
	for _, f := range t {
		if f.test || f.in(testTools) || f.dir() == room {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			text, ok := n.(*ast.BasicLit)
			if !ok || text.Kind != token.STRING {
				return true
			}
			value, err := strconv.Unquote(text.Value)
			if err == nil && known[value] && !f.in(otherWords[value]) {
				found = append(found, fmt.Sprintf("%s writes the reason %q: use the constant of %s", f.path, value, room))
			}
			return true
		})
	}
	return found
}

// constants calls see with the text of each constant that is declared with a
// type.
func (s source) constants(of string, see func(value string)) {
	for _, d := range s.syntax.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.CONST {
			continue
		}
		for _, spec := range decl.Specs {
			declared := spec.(*ast.ValueSpec)
			if kind, ok := declared.Type.(*ast.Ident); !ok || kind.Name != of {
				continue
			}
			for _, v := range declared.Values {
				if text, ok := v.(*ast.BasicLit); ok {
					if value, err := strconv.Unquote(text.Value); err == nil {
						see(value)
					}
				}
			}
		}
	}
}

// TestReasonsAreFound wants the home of reasons, where there is one, to have
// some, and the rule to notice a second one, a constant and a word of a map.
func TestReasonsAreFound(t *testing.T) {
	home := parse(t, "internal/outcome/reasons.go", `package outcome; type Reason string; const ( NoProbe Reason = "no-probe"; Outage Reason = "outage"; other = "by-hand" )`)
	for text, against := range map[string]bool{
		`package deploy; var reason = "no-probe"`:                                true,
		"package deploy; const reason = `no-probe`":                              true,
		`package deploy; var reasons = map[string]bool{"no-probe": true}`:        true,
		`package deploy; import "example/outcome"; var reason = outcome.NoProbe`: false,
		`package deploy; var reason = "outage"`:                                  false,
		`package deploy; var reason = "by-hand"`:                                 false,
	} {
		found := literalReasons(tree{home, parse(t, "internal/deploy/a.go", text)}, "internal/outcome")
		if len(found) > 0 != against {
			t.Errorf("%s: found %q", text, found)
		}
		if found := literalReasons(tree{home, parse(t, "internal/deploy/a_test.go", text)}, "internal/outcome"); found != nil {
			t.Errorf("a test may write %s: found %q", text, found)
		}
	}
	if reasonsRoom == "" {
		return
	}
	n := 0
	for _, f := range repository(t) {
		if !f.test && f.dir() == reasonsRoom {
			f.constants("Reason", func(string) { n++ })
		}
	}
	if n < 20 {
		t.Errorf("%s has %d reasons: is this the right room?", reasonsRoom, n)
	}
}
