package hooks

import (
	"fmt"
	"path"
	"regexp"
	"slices"

	"github.com/certlatch/certlatch/internal/lineage"
)

// dehydrated has one HOOK, which it calls for everything, with a verb and its
// arguments. A certificate is deployed by
//
//	deploy_cert DOMAIN KEYFILE CERTFILE FULLCHAINFILE CHAINFILE TIMESTAMP
//	unchanged_cert DOMAIN KEYFILE CERTFILE FULLCHAINFILE CHAINFILE
//
// unchanged_cert at every run for every certificate that needs no renewal. A
// verb that the hook does not know must do nothing, succeed and print nothing:
// what it prints at generate_csr is taken for a CSR (dehydrated 0.7.2,
// docs/examples/hook.sh). DOMAIN is not looked at: the directory's name may be
// an alias.
type dehydrated struct{}

func (dehydrated) Name() string { return "dehydrated" }

func (dehydrated) Evidence(call Call) string {
	if len(call.Args) > 0 && slices.Contains([]string{
		"deploy_cert", "unchanged_cert", "sync_cert", "deploy_ocsp", "startup_hook", "exit_hook", "generate_csr",
		"deploy_challenge", "clean_challenge", "invalid_challenge", "request_failure",
	}, call.Args[0]) {
		return call.Args[0]
	}
	return ""
}

func (d dehydrated) Events(call Call) ([]Event, error) {
	if len(call.Args) == 0 {
		return nil, &NotCalledError{d.Name(), "there is no verb such as deploy_cert"}
	}
	verb, args := call.Args[0], call.Args[1:]
	if verb != "deploy_cert" && verb != "unchanged_cert" {
		return nil, nil
	}
	if len(args) < 4 {
		return nil, &InputError{d.Name(), fmt.Sprintf("%s has %d arguments, and the full chain is the fourth", verb, len(args))}
	}
	key, err := cleanPath(d.Name(), "KEYFILE", args[1])
	if err != nil {
		return nil, err
	}
	fullchain, err := cleanPath(d.Name(), "FULLCHAINFILE", args[3])
	if err != nil {
		return nil, err
	}
	if path.Dir(key) != path.Dir(fullchain) {
		return nil, &InputError{d.Name(), fmt.Sprintf("KEYFILE and FULLCHAINFILE are not of one lineage: %.100q, %.100q", key, fullchain)}
	}
	return []Event{{Client: d.Name(), Path: path.Dir(fullchain), Unchanged: verb == "unchanged_cert"}}, nil
}

// dehydratedHook is the HOOK. dehydrated knows only one, so another that is
// configured is called from here: dehydrated's configuration names it each
// time, whatever its admin makes of it later. Its status is dehydrated's to
// judge. certlatch's is 0, unless certlatch is gone or was killed; dehydrated would
// end there, whatever it was about.
const dehydratedHook = `#!/bin/sh
# %s
other=$CERTLATCH_OTHER_HOOK
unset CERTLATCH_OTHER_HOOK
status=0
if [ -n "$other" ]; then
  "$other" "$@" || status=$?
fi
%s hook dehydrated -- "$@" || :
exit $status
`

// dehydratedConfig is read after the main configuration and after what lies
// beside it under an earlier name (load_config).
const dehydratedConfig = `# %s
# A HOOK that is set elsewhere goes on being called, before certlatch.
export CERTLATCH_OTHER_HOOK="${HOOK}"
HOOK="${CONFIG_D}/../certlatch-hook"
`

// Layout is that of certs/ALIAS, whose files are links to their latest
// (dehydrated 0.7.2 sign_domain).
func (dehydrated) Layout() lineage.Layout {
	return lineage.Layout{Fullchain: "{dir}/fullchain.pem", Key: "{dir}/privkey.pem"}
}

// Places are that of Debian's configuration, and that where none is configured
// (dehydrated 0.7.2 load_config).
func (dehydrated) Places() []string {
	return []string{"/var/lib/dehydrated/certs", "/etc/dehydrated/certs"}
}

func (d dehydrated) Setup(self string) Setup {
	return Setup{
		// Debian's and Fedora's packages read conf.d/*.sh there.
		Dirs:  []string{"/etc/dehydrated"},
		Needs: "conf.d",
		Parts: []Part{
			{Name: "certlatch-hook", Text: fmt.Sprintf(dehydratedHook, writtenBy(d.Name()), shellQuote(self)), Run: true},
			{Name: "conf.d/zz-certlatch.sh", Text: fmt.Sprintf(dehydratedConfig, writtenBy(d.Name()))},
		},
		Own: OwnHooks{
			Files:  "/var/lib/dehydrated/certs/*/config",
			Line:   regexp.MustCompile(`(?m)^\s*(?:export\s+)?HOOK=(\S.*)$`),
			Effect: "dehydrated runs that one instead of certlatch",
		},
		Advice: `dehydrated reads conf.d only where its configuration says so, as Debian's and
Fedora's do:

    CONFIG_D=/etc/dehydrated/conf.d

Where it does not, name the hook there, unless there is another:

    HOOK=/etc/dehydrated/certlatch-hook

dehydrated has to run as root: with DEHYDRATED_USER set, so do its hooks as that user.
`,
	}
}
