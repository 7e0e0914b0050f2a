package report

import (
	"fmt"

	"github.com/certlatch/certlatch/internal/inspect"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Validation is what validate has to show of a bundle.
type Validation struct {
	Lineage  string            // its name, or the path of its certificate
	Verdicts []inspect.Verdict // one a target, or one for none in particular
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

// JSON returns the findings in the schema certlatch.validate/1.
func (v Validation) JSON() any {
	view := validateJSON{Schema: "certlatch.validate/1", Lineage: v.Lineage, Leaf: v.Verdicts[0].Leaf, Findings: []findingJSON{}}
	for _, verdict := range v.Verdicts {
		view.Findings = append(view.Findings, findingsJSON(verdict.Target, verdict.Findings)...)
	}
	return view
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
	fmt.Fprintf(&text, "%s\n", v.Lineage)
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
