package hookstest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
)

// source matches what makes a citation: a version, or an address.
var source = regexp.MustCompile(`\d+\.\d+|https?://`)

// checkComments wants the client to be in a file of its own, and its comments
// to cite sources for what the client does.
func (s *suite) checkComments() {
	typeName := reflect.TypeOf(s.client).Name()
	file := filepath.Join(s.dir, typeName+".go")
	syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		s.flaw("the type %s has no file of its own: put all of it into %s.go: %v", typeName, typeName, err)
		return
	}
	for what, comment := range map[string]*ast.CommentGroup{"the type " + typeName: docOfType(syntax, typeName), "the method Layout": docOfMethod(syntax, "Layout")} {
		if !source.MatchString(comment.Text()) {
			s.flaw("%s.go: the comment of %s cites no source: name the file and the version upstream where this can be read, or an address", typeName, what)
		}
	}
}

func docOfType(file *ast.File, name string) *ast.CommentGroup {
	for _, d := range file.Decls {
		if gen, ok := d.(*ast.GenDecl); ok && gen.Tok == token.TYPE && gen.Specs[0].(*ast.TypeSpec).Name.Name == name {
			return gen.Doc
		}
	}
	return nil
}

func docOfMethod(file *ast.File, name string) *ast.CommentGroup {
	for _, d := range file.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil && fn.Name.Name == name {
			return fn.Doc
		}
	}
	return nil
}
