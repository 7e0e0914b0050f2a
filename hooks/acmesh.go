package hooks

import (
	"encoding/base64"
	"fmt"
	"path"
	"regexp"
	"strings"
	"sync"

	"github.com/certlatch/certlatch/internal/lineage"
)

// acme.sh exports CERT_FULLCHAIN_PATH and CERT_KEY_PATH, which are files in
// its own store, to the commands of --reloadcmd, --post-hook and --renew-hook.
// A deploy hook is a shell file with a function that gets the paths as
// arguments; the one that is written here hands them on in the same variables
// (acme.sh 3.1.4 _installcert, _on_issue_success, _deploy).
//
// The variables may be left over from somewhere else, so the two have to speak
// of one directory.
type acmesh struct{}

func (acmesh) Name() string { return "acme.sh" }

func (acmesh) Evidence(call Call) string { return call.variable("CERT_FULLCHAIN_PATH") }

func (a acmesh) Events(call Call) ([]Event, error) {
	if err := call.noArguments(a.Name()); err != nil {
		return nil, err
	}
	if a.Evidence(call) == "" {
		return nil, &NotCalledError{a.Name(), "CERT_FULLCHAIN_PATH is not set"}
	}
	fullchain, err := cleanPath(a.Name(), "CERT_FULLCHAIN_PATH", call.Env("CERT_FULLCHAIN_PATH"))
	if err != nil {
		return nil, err
	}
	key, err := cleanPath(a.Name(), "CERT_KEY_PATH", call.Env("CERT_KEY_PATH"))
	if err != nil {
		return nil, err
	}
	if path.Dir(key) != path.Dir(fullchain) {
		return nil, &InputError{a.Name(), fmt.Sprintf("CERT_FULLCHAIN_PATH and CERT_KEY_PATH speak of two lineages: %.100q, %.100q", fullchain, key)}
	}
	return []Event{{Client: a.Name(), Path: path.Dir(fullchain)}}, nil
}

// acmeshDeploy is the deploy hook. acme.sh runs it in a subshell of its own,
// and takes its status for that of the deployment.
const acmeshDeploy = `#!/usr/bin/env sh
# %s
# acme.sh reads it: acme.sh --deploy -d NAME --deploy-hook certlatch

# Gets the domain and the paths of key, certificate, CA and full chain.
certlatch_deploy() {
  CERT_KEY_PATH="$2" CERT_FULLCHAIN_PATH="$5" %s hook acme.sh
}
`

// What acme.sh repeats at a renewal: the names of deploy hooks, and a command,
// which is in base64 (acme.sh 3.1.4 _savedomainconf).
var (
	acmeshDeployHook = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^Le_DeployHook='[^'\n]*certlatch`) })
	acmeshReloadCmd  = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?m)^Le_ReloadCmd='__ACME_BASE64__START_([^'\n]*)__ACME_BASE64__END_'`)
	})
)

func acmeshReloads(conf string) bool {
	found := acmeshReloadCmd().FindStringSubmatch(conf)
	if found == nil {
		return false
	}
	command, err := base64.StdEncoding.DecodeString(found[1])
	return err == nil && strings.Contains(string(command), "certlatch")
}

// acmeshECC ends the names of directories whose key is an ECDSA one.
const acmeshECC = "_ecc"

// Layout is that of acme.sh's home: DOMAIN, or DOMAIN_ecc for an ECDSA key, with
// wildcards as they are (acme.sh 3.1.4 _initpath).
func (acmesh) Layout() lineage.Layout {
	return lineage.Layout{Fullchain: "{dir}/fullchain.cer", Key: "{dir}/{base}.key", Suffix: acmeshECC, Literal: true}
}

func (acmesh) Places() []string { return []string{"/root/.acme.sh"} }

// acmeshChoose returns the command line that chooses the deploy hook.
func acmeshChoose(dir string) string {
	name, isECC := strings.CutSuffix(dir, acmeshECC)
	name = shellQuote(name)
	if isECC {
		name += " --ecc"
	}
	return "acme.sh --deploy -d " + name + " --deploy-hook certlatch"
}

// AcmeshForgets reports whether acme.sh's cron never renews what it keeps in a directory:
// of one that ends in _ecc, it takes what is before the first underscore for the name
// (acme.sh 3.1.4 and 3.1.5 renewAll, cut -d _ -f 1; measured with both).
func AcmeshForgets(dir string) bool {
	name, isECC := strings.CutSuffix(dir, acmeshECC)
	return isECC && strings.Contains(name, "_")
}

func (a acmesh) Setup(self string) Setup {
	return Setup{
		Dirs:  []string{"/root/.acme.sh/deploy"},
		Needs: "..",
		Parts: []Part{{Name: "certlatch.sh", Text: fmt.Sprintf(acmeshDeploy, writtenBy(a.Name()), shellQuote(self))}},
		Memory: Memory{
			File:   func(dir string) string { return strings.TrimSuffix(dir, acmeshECC) + ".conf" },
			Calls:  func(conf string) bool { return acmeshDeployHook().MatchString(conf) || acmeshReloads(conf) },
			Alone:  acmeshReloads,
			Choose: acmeshChoose,
		},
		Advice: fmt.Sprintf(`acme.sh keeps one choice for each certificate, and repeats it at every renewal.
Either the deploy hook:

    acme.sh --deploy -d NAME --deploy-hook certlatch

or, without that file, the command that --install-cert runs:

    acme.sh --install-cert -d NAME --reloadcmd %s

For a certificate with an RSA key and one with an ECDSA key, say both, the latter
with --ecc.
`, shellQuote(shellQuote(self)+" hook acme.sh")),
	}
}
