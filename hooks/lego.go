package hooks

import (
	"fmt"

	"github.com/certlatch/certlatch/internal/lineage"
)

// lego names the certificate's file in LEGO_CERT_PATH (lego 4.35.2
// cmd/cmd_run.go, cmd_renew.go) or, from version 5 on, in LEGO_HOOK_CERT_PATH
// (lego 5.3.1 cmd/internal/hook/metadata.go). It runs a hook without a shell,
// after splitting it at blanks (hook.go of both), and fails where the hook
// does.
type lego struct{}

func (lego) Name() string { return "lego" }

func (lego) Evidence(call Call) string {
	return call.variable("LEGO_HOOK_CERT_PATH", "LEGO_CERT_PATH")
}

func (l lego) Events(call Call) ([]Event, error) {
	if err := call.noArguments(l.Name()); err != nil {
		return nil, err
	}
	variable := l.Evidence(call)
	if variable == "" {
		return nil, &NotCalledError{l.Name(), "neither LEGO_CERT_PATH nor LEGO_HOOK_CERT_PATH is set"}
	}
	file, err := cleanPath(l.Name(), variable, call.Env(variable))
	if err != nil {
		return nil, err
	}
	if other := call.Env("LEGO_CERT_PATH"); other != "" && other != call.Env(variable) {
		return nil, &InputError{l.Name(), "LEGO_CERT_PATH and LEGO_HOOK_CERT_PATH speak of two lineages"}
	}
	return []Event{{Client: l.Name(), Path: file}}, nil
}

// Layout is flat: "*" becomes "_", and other scripts than ASCII Punycode (lego
// 4.35.2 cmd/certs_storage.go and 5.3.1 cmd/internal/storage).
func (lego) Layout() lineage.Layout {
	return lineage.Layout{Fullchain: "{dir}.crt", Chain: "{dir}.issuer.crt", Key: "{dir}.key"}
}

// Places are one for the whole host, since lego has none of its own, and that
// where root runs it at home: --path is .lego below the working directory
// (lego 4.9.1).
func (lego) Places() []string {
	return []string{"/var/lib/lego/certificates", "/root/.lego/certificates"}
}

func (l lego) Setup(self string) Setup {
	if advice := blanks(l.Name(), self); advice != "" {
		return Setup{Advice: advice}
	}
	return Setup{Advice: fmt.Sprintf(`lego has no directory of hooks and remembers none: the hook is an argument of every
call, in the timer or cron job that renews. With lego 4:

    lego ... run --run-hook "%[1]s hook lego"
    lego ... renew --renew-hook "%[1]s hook lego"

From lego 5 on, for the first issue and renewals alike:

    lego run ... --deploy-hook "%[1]s hook lego"

No shell is involved, and lego gives its --path on as it is, so that has to be an
absolute one.
`, self)}
}
