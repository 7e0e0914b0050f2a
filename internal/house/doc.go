// Package house holds the conventions of this repository by tests over its
// source: who may import whom, who may have which effect, how packages
// introduce themselves. The rules are the tables in rules_test.go.
//
// It reads syntax, not types, so it does not promise to notice a method that
// changes a file through an *os.File or a value of an interface.
package house
