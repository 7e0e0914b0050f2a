package lineage

import "fmt"

// Severity says what a finding does to a deployment.
type Severity string

const (
	Refused Severity = "refused" // the bundle is not installed
	Warned  Severity = "warned"  // it is, and the operator is told
)

// Finding is one thing to say about a bundle. The codes are fixed by the
// contract and stay stable in JSON.
type Finding struct {
	Code     string
	Severity Severity
	Detail   string // names the file and the certificate; one sentence, no period
	Remedy   string // what to do, imperative
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s", f.Code, f.Detail) }
