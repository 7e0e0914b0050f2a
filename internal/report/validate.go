package report

import (
	"fmt"
	"strings"

	"github.com/certlatch/certlatch/internal/inspect"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Validation is what validate has to show of a bundle.
type Validation struct {
	Lineage  string            // its name, with its client's where it is one of several, or the path of its certificate
	Verdicts []inspect.Verdict // one a target, or one for none in particular
}

// Validations is what validate has to show of several lineages.
type Validations struct {
	Of    []Validation
	Every bool // of all that there are: those without a finding are only counted
}

// validateJSON is the schema certlatch.validate/1: what is to be said about a
// bundle.
type validateJSON struct {
	Schema   string        `json:"schema"`
	Lineage  string        `json:"lineage"` // or the path of the certificate
	Leaf     *lineage.Leaf `json:"leaf"`    // null: it cannot be read
	Findings []findingJSON `json:"findings"`
}

// findingJSON is one flaw of a bundle, or of a chain that is served.
type findingJSON struct {
	Code     string  `json:"code"`     // stable
	Severity string  `json:"severity"` // refused or warned
	Target   *string `json:"target"`   // whose policy finds it; null: none in particular
	Detail   string  `json:"detail"`
	Remedy   string  `json:"remedy"`
}

// validationsJSON is the schema certlatch.validations/1: what is to be said about
// several bundles.
type validationsJSON struct {
	Schema   string          `json:"schema"`
	Good     int             `json:"good"`    // lineages without a finding
	Warned   int             `json:"warned"`  // with findings, none of which refuses it
	Refused  int             `json:"refused"` // by some target
	Lineages []validatedJSON `json:"lineages"`
}

// validatedJSON is what is to be said about one of several bundles.
type validatedJSON struct {
	Lineage  string        `json:"lineage"`
	Leaf     *lineage.Leaf `json:"leaf"` // null: it cannot be read
	Findings []findingJSON `json:"findings"`
}

// JSON returns all findings in the schema certlatch.validations/1.
func (v Validations) JSON() any {
	good, warned, refused := v.count()
	view := validationsJSON{Schema: "certlatch.validations/1", Good: good, Warned: warned, Refused: refused, Lineages: []validatedJSON{}}
	for _, one := range v.Of {
		view.Lineages = append(view.Lineages, validatedJSON{one.Lineage, one.Verdicts[0].Leaf, one.findingsJSON()})
	}
	return view
}

// Text returns each validation, and how many there are of what kind.
func (v Validations) Text() string {
	var text strings.Builder
	for _, one := range v.Of {
		if !v.Every || one.findings() > 0 {
			text.WriteString(one.Text())
		}
	}
	good, warned, refused := v.count()
	fmt.Fprintf(&text, "%s: %d good, %d warned, %d refused\n", Count(len(v.Of), "lineage", "lineages"), good, warned, refused)
	return text.String()
}

// count returns how many lineages are how.
func (v Validations) count() (good, warned, refused int) {
	for _, one := range v.Of {
		switch {
		case one.Exit() == ExitRefused:
			refused++
		case one.findings() > 0:
			warned++
		default:
			good++
		}
	}
	return good, warned, refused
}

// findings returns how many findings there are.
func (v Validation) findings() (n int) {
	for _, verdict := range v.Verdicts {
		n += len(verdict.Findings)
	}
	return n
}

// JSON returns the findings in the schema certlatch.validate/1.
func (v Validation) JSON() any {
	return validateJSON{"certlatch.validate/1", v.Lineage, v.Verdicts[0].Leaf, v.findingsJSON()}
}

func (v Validation) findingsJSON() []findingJSON {
	views := []findingJSON{}
	for _, verdict := range v.Verdicts {
		views = append(views, findingsJSON(verdict.Target, verdict.Findings)...)
	}
	return views
}

func findingsJSON(target string, findings []lineage.Finding) []findingJSON {
	views := []findingJSON{}
	for _, f := range findings {
		views = append(views, findingJSON{f.Code, string(f.Severity), orNull(target), f.Detail, f.Remedy})
	}
	return views
}

// Text returns a line a finding.
func (v Validation) Text() string {
	var text block
	fmt.Fprintf(&text, "%s\n", quotedName(v.Lineage))
	if leaf := v.Verdicts[0].Leaf; leaf != nil {
		text.addLine("leaf", "%s", leafLine(*leaf))
	}
	for _, verdict := range v.Verdicts {
		whom := "for any target"
		if verdict.Target != "" {
			whom = "for target " + verdict.Target
		}
		if len(verdict.Findings) == 0 {
			text.addLine("good", "%s: no findings", whom)
		}
		for _, f := range verdict.Findings {
			text.addLine(string(f.Severity), "%s: %s; %s", whom, f, f.Remedy)
		}
	}
	return text.String()
}
