package generic

import (
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// reader reads which certificates a service takes, as its own configuration has it.
type reader interface {
	// wants adds what must be known for that.
	wants(*deployers.Wants, *deployers.Facts)
	// describe puts into a plan who takes its files, and, where it is known to be all,
	// what is taken in their place.
	describe(*deployers.Plan, *deployers.Facts)
	// asks adds what certlatch init must know besides: what is in the files, and who
	// listens.
	asks(*deployers.Wants, *deployers.Facts)
	// discover returns what the configuration says, of a service that is known to be there.
	discover(*deployers.Discovery, *deployers.Facts)
}

// compare notes who of all that is taken takes a plan's files, or what is taken in their
// place. The remedy is of a setting. Texts of the configuration may name the files for
// another purpose, as a client's: then it is not said that nothing takes them.
func compare(plan *deployers.Plan, service, setting string, all []deployers.Use, texts ...string) {
	var takes []deployers.Taken
	ours, fixed := false, true
	for _, use := range all {
		t := deployers.Taken{Where: use.Where, File: use.Certificate}
		if use.Key != use.Certificate {
			t.Key = use.Key
		}
		takes = append(takes, t)
		if writesAny(*plan, t.File) {
			ours = true
			plan.Fine(deployers.Configuration, "%s", t)
		}
		fixed = fixed && t.IsFixed()
	}
	if takes != nil && fixed && !ours && !slices.ContainsFunc(texts, func(text string) bool { return mentions(text, *plan) }) {
		plan.TakesElsewhere(true, "let "+setting+" name the target's files ("+pathsOf(*plan)+"), or the target those that it names", service+"'s configuration names none of the target's files", takes...)
	}
}

// writesAny reports whether a plan writes a file of any content at a path.
func writesAny(plan deployers.Plan, path string) bool {
	return slices.ContainsFunc(plan.Files, func(f deployers.File) bool { return f.IsAt(path) })
}

// mentions reports whether a word of a text is the path of one of a plan's files.
func mentions(text string, plan deployers.Plan) bool {
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n,;=<\"'[]{}", r) })
	return slices.ContainsFunc(words, func(word string) bool { return writesAny(plan, word) })
}

// isUsual reports whether a unit is that of a preset, and so reads the usual configuration.
func isUsual(unit string, f *deployers.Facts) bool { return !f.Systemd || f.Unit.Name == unit }
