// Package architecture holds what ARCHITECTURE.md says of this repository by
// tests over its source: who may import whom, who may have which effect, what is
// written once, how packages introduce themselves. The rules are the tables in
// rules_test.go. It also holds that SECURITY.md, CONTRIBUTING.md, the glossary and
// the workflow for pull requests are true, as far as that can be tried.
//
// It reads syntax, not types, so it knows a method by its name alone, and does
// not promise to notice an effect behind a value of an interface: it notices who
// could make such a value.
package architecture
