package hooks

// Telling is what the exit status of a hook may tell its client. Nothing is lost
// by what it does not tell: what failed or waits is pending, in the journal, and
// in status and check.
type Telling int

const (
	// TellAll ends a hook as it went.
	TellAll Telling = iota

	// TellFailures ends a hook that waits for somebody or something as one that
	// went well: the client would take it for a failure of its own.
	TellFailures

	// TellNothing ends every hook as one that went well: the client would renew
	// no other certificates.
	TellNothing
)

// Consequence is what a client does where its hook fails, and so what the hook
// tells it.
type Consequence struct {
	Client  string
	Call    string // what shows the call to be one of these ([Client.Evidence]); empty: whichever it is
	Does    string // what the client does, for people
	Telling Telling
}

// Consequences returns what clients do where their hooks fail. The first that is
// about a call counts; a call that none is about tells all.
func Consequences() []Consequence {
	return []Consequence{
		// certbot 5.6.0 certbot/_internal/hooks.py, _run_hook, and compat/misc.py: a hook
		// that fails is "reported error code 9", one that goes well "ran with output"
		{"certbot", "", "warns, goes on, and ends with 0", TellFailures},

		// acme.sh 3.1.4 issue, _on_issue_success, renewAll; what 3.1.5 calls again is
		// in its renew
		{"acme.sh", "", "leaves out that certificate's other hooks, renews the others, and ends with 1; from 3.1.5 on calls again at every run until it goes well", TellFailures},

		// lego 5.3.1 cmd/internal/root/process.go: the first error ends the run
		{"lego", "LEGO_HOOK_CERT_PATH", "renews none of the certificates and accounts that come later in its configuration", TellNothing},

		// lego 4.35.2 cmd/lego/main.go
		{"lego", "LEGO_CERT_PATH", "ends with 1, and was about one certificate", TellFailures},

		// dehydrated 0.7.2 command_sign_domains; of unchanged_cert also with KEEP_GOING
		{"dehydrated", "", "renews none of the certificates that come later in domains.txt", TellNothing},

		// acmetool 0.2.2 hooks/hooks.go, runParts
		{"acmetool", "", "logs it, goes on, and ends with 0", TellFailures},
	}
}

// TellingOf returns what the hook of a client may tell by its exit status after a
// call. Where the client has no name, it is any whose call it may be, and the one
// counts that must be told least. A call that no client made is told all.
func TellingOf(name string, call Call) Telling {
	least := TellAll
	for _, c := range All() {
		if evidence := c.Evidence(call); evidence != "" && (name == "" || name == c.Name()) {
			least = max(least, tellingOf(c.Name(), evidence))
		}
	}
	return least
}

func tellingOf(client, evidence string) Telling {
	for _, c := range Consequences() {
		if c.Client == client && (c.Call == "" || c.Call == evidence) {
			return c.Telling
		}
	}
	return TellAll
}
