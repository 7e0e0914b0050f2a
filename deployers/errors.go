package deployers

// UnitError says that a unit cannot be used as it is.
type UnitError struct {
	Unit, LoadState string
}

func (e *UnitError) Error() string {
	if e.LoadState == "not-found" {
		return "unit " + e.Unit + " does not exist"
	}
	return "unit " + e.Unit + " cannot be used: systemd says " + e.LoadState
}

// NoWayError says that a deployer knows no way to make a target's service
// take new files.
type NoWayError struct {
	Target, Why, Remedy string
	About               Aspect // what keeps it from that
	NoTLS               bool   // the service does no TLS at all yet; it may be waiting for a first pair
}

func (e *NoWayError) Error() string { return "target " + e.Target + ": " + e.Why }

// UnreachableError is the NoWayError of a service whose control channel cannot be
// reached or does not answer, where it would have to be asked. Not to know is no
// reason to restart it.
type UnreachableError struct{ *NoWayError }

func (e *UnreachableError) Unwrap() error { return e.NoWayError }

// SilentError is the NoWayError of a service that takes calls and does not
// answer them. Not to know is no reason to restart it.
type SilentError struct{ *NoWayError }

func (e *SilentError) Unwrap() error { return e.NoWayError }

// NewSilentError returns the error of a target whose service is silent, with why
// that is known.
func NewSilentError(t Target, why string) *SilentError {
	return &SilentError{&NoWayError{Target: t.Name, About: Control, Why: why, Remedy: "see why it hangs (journalctl -u " + t.Unit + "); certlatch deploy --pending tries again"}}
}
