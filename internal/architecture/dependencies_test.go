package architecture

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// required returns the modules that a go.mod requires directly.
func required(gomod string) (modules []string) {
	for _, line := range regexp.MustCompile(`(?m)^(?:require)?\s+([\w.-]+\.[\w.-]+/\S+) v\S+$`).FindAllStringSubmatch(gomod, -1) {
		modules = append(modules, line[1])
	}
	return modules
}

// unexplained returns what is wrong with the section of ARCHITECTURE.md about
// dependencies: modules without a reason, and reasons without a module.
func unexplained(gomod, architecture string) (found []string) {
	_, section, ok := strings.Cut(architecture, "\n## Dependencies\n")
	if !ok {
		return []string{"there is no section about dependencies"}
	}
	section, _, _ = strings.Cut(section, "\n## ")
	modules := required(gomod)
	var named []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|(.*)\\|$").FindAllStringSubmatch(section, -1) {
		named = append(named, row[1])
		if strings.TrimSpace(row[2]) == "" {
			found = append(found, fmt.Sprintf("ARCHITECTURE.md does not say what %s is for", row[1]))
		}
		if !slices.Contains(modules, row[1]) {
			found = append(found, fmt.Sprintf("ARCHITECTURE.md says what %s is for, which go.mod does not require", row[1]))
		}
	}
	for _, m := range modules {
		if !slices.Contains(named, m) {
			found = append(found, fmt.Sprintf("go.mod requires %s: say in ARCHITECTURE.md what it is for", m))
		}
	}
	return found
}

func TestDependencies(t *testing.T) {
	gomod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	architecture, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(required(string(gomod))); n < 5 {
		t.Fatalf("go.mod requires %d modules: look at the expression here", n)
	}
	for _, flaw := range unexplained(string(gomod), string(architecture)) {
		t.Error(flaw)
	}
}

// TestDependenciesCanFail checks documents with flaws, and one without.
func TestDependenciesCanFail(t *testing.T) {
	const gomod = "module m\n\ngo 1.26.0\n\nrequire (\n\texample.org/a v1.0.0\n\texample.org/b/v2 v2.0.0\n\texample.org/c v1.0.0 // indirect\n)\nrequire example.org/d v0.1.0\n"
	const rows = "| `example.org/a` | one |\n| `example.org/b/v2` | two |\n| `example.org/d` | three |\n"
	for text, flaws := range map[string]int{
		"":                           1,
		rows:                         1,
		"\n## Dependencies\n" + rows: 0,
		"\n## Dependencies\n| `example.org/a` | one |\n":                    2,
		"\n## Dependencies\n\n## Other\n" + rows:                            3,
		"\n## Dependencies\n" + rows + "| `example.org/c` | indirect |\n":   1,
		"\n## Dependencies\n" + strings.Replace(rows, "| two |", "|  |", 1): 1,
	} {
		if found := unexplained(gomod, text); len(found) != flaws {
			t.Errorf("%q: %q instead of %d flaws", text, found, flaws)
		}
	}
}
