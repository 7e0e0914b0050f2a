package architecture

import (
	"fmt"
	"go/ast"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// glossaryFlaws returns what is wrong with the glossary of ARCHITECTURE.md: words
// that it has twice, and types that there are not. types are PACKAGE.TYPE.
func glossaryFlaws(architecture string, types []string) (found []string) {
	_, section, ok := strings.Cut(architecture, "\n## Glossary\n")
	if !ok {
		return []string{"there is no glossary"}
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var words []string
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]+) \|(.*)\|$`).FindAllStringSubmatch(section, -1)[1:] {
		for word := range strings.SplitSeq(row[1], ", ") {
			if slices.Contains(words, word) {
				found = append(found, "the glossary has two rows for "+word)
			}
			words = append(words, word)
		}
		for _, named := range regexp.MustCompile("`([a-z]+\\.[A-Z][A-Za-z]*)`").FindAllStringSubmatch(row[2], -1) {
			if !slices.Contains(types, named[1]) {
				found = append(found, fmt.Sprintf("the glossary names the type %s, which there is not", named[1]))
			}
		}
	}
	return found
}

// typesOf returns the types that the files declare, as PACKAGE.TYPE.
func typesOf(all tree) (types []string) {
	for _, f := range all {
		for _, d := range f.syntax.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || f.test {
				continue
			}
			for _, spec := range decl.Specs {
				if declared, ok := spec.(*ast.TypeSpec); ok {
					types = append(types, f.syntax.Name.Name+"."+declared.Name.Name)
				}
			}
		}
	}
	return types
}

func TestGlossary(t *testing.T) {
	architecture, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, flaw := range glossaryFlaws(string(architecture), typesOf(repository(t))) {
		t.Error(flaw)
	}
}

// TestGlossaryCanFail checks glossaries with flaws, and one without.
func TestGlossaryCanFail(t *testing.T) {
	types := typesOf(tree{parse(t, "internal/lineage/a.go", "package lineage; type Lineage struct{}"), parse(t, "internal/lineage/a_test.go", "package lineage; type Fake struct{}")})
	const head = "\n## Glossary\n| word | what it is |\n|---|---|\n"
	for text, flaws := range map[string]int{
		"": 1,
		head + "| lineage | files (`lineage.Lineage`) |\n| leaf | a certificate |\n": 0,
		head + "| lineage | files (`lineage.Bundle`) |\n":                            1,
		head + "| lineage | files (`lineage.Fake`) |\n":                              1,
		head + "| lineage, leaf | files |\n| leaf | a certificate |\n":               1,
		head + "| lineage | files |\n\n## Other\n| lineage | `lineage.Bundle` |\n":   0,
	} {
		if found := glossaryFlaws(text, types); len(found) != flaws {
			t.Errorf("%q: %q instead of %d flaws", text, found, flaws)
		}
	}
}
