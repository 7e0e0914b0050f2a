package deployertest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
)

// source matches what makes a citation: a version, or an address.
var source = regexp.MustCompile(`\d+\.\d+|https?://`)

// checkSource wants the deployer's comment to cite upstream's sources. A
// service that has no unit of its own is none in particular.
func (s *suite) checkSource() {
	name := reflect.TypeOf(s.deployer).Name()
	doc, err := docOfType(s.room, name)
	switch {
	case err != nil:
		s.flaw("its source cannot be read: %v", err)
	case s.unit() != "" && !source.MatchString(doc):
		s.flaw("the comment of the type %s cites no source: name the file and the version upstream where it can be read how the service takes new files, or an address", name)
	}
}

// unit returns the unit that a target has by default; empty: none.
func (s *suite) unit() string { return s.target(s.deployer.Options()).Unit }

// docOfType returns the comment of a type in a directory's package.
func docOfType(dir, name string) (string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", err
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return "", err
		}
		for _, d := range file.Decls {
			if gen, ok := d.(*ast.GenDecl); ok && gen.Tok == token.TYPE && !strings.HasSuffix(path, "_test.go") && gen.Specs[0].(*ast.TypeSpec).Name.Name == name {
				return gen.Doc.Text(), nil
			}
		}
	}
	return "", nil
}
