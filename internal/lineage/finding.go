package lineage

import "fmt"

// Severity says what a finding does to a deployment.
type Severity string

const (
	Refused Severity = "refused" // the bundle is not installed
	Warned  Severity = "warned"  // the bundle is installed, and the operator warned
)

// Finding is a flaw of a bundle, or a remark on it. The codes are stable.
type Finding struct {
	Code     string
	Severity Severity
	Detail   string // names the file and the certificate; one sentence, no period
	Remedy   string // what to do, imperative
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s", f.Code, f.Detail) }
