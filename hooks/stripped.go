package hooks

import (
	"cmp"
	"fmt"
	"path"
	"strings"
)

// variablesOf returns the variables in which a client names lineages, for people; of no
// client in particular those of all.
func variablesOf(client string) string {
	all := map[string]string{
		"certbot": "RENEWED_LINEAGE", "acme.sh": "CERT_FULLCHAIN_PATH,CERT_KEY_PATH",
		"lego": "LEGO_CERT_PATH,LEGO_HOOK_CERT_PATH", "acmetool": "ACME_STATE_DIR",
	}
	if client != "" {
		return all[client]
	}
	var some []string
	for _, c := range All() {
		if names := all[c.Name()]; names != "" {
			some = append(some, names)
		}
	}
	return strings.Join(some, ",")
}

// Stripped returns how the environment got lost in which a client names lineages,
// and what to do; empty: nothing shows that it did. The client may have no name,
// and the program is the path under which certlatch was called.
//
// sudo and doas hand on no environment, and leave a variable of their own
// (sudoers(5), env_reset; doas(1) of OpenDoas 6.8). certbot names no lineage before
// renewals, nor after them all (certbot 5.6.0 certbot/_internal/hooks.py, pre_hook,
// _run_post_hook).
func Stripped(client, program string, call Call) string {
	variables := variablesOf(client)
	asked := cmp.Or(client, "CLIENT")
	switch by := call.variable("SUDO_COMMAND", "DOAS_USER"); {
	case variables == "":
		return ""
	case by == "SUDO_COMMAND":
		return fmt.Sprintf("sudo has stripped the environment, in which the client names the lineage: sudo --preserve-env=%s certlatch hook %s", variables, asked)
	case by != "":
		return fmt.Sprintf("doas has stripped the environment, in which the client names the lineage: permit it setenv { %s } in doas.conf", strings.ReplaceAll(variables, ",", " "))
	case client != "" && client != "certbot":
		return ""
	}
	in := path.Base(path.Dir(program))
	if all := path.Base(path.Dir(path.Dir(program))); all != "renewal-hooks" || in != "pre" && in != "post" {
		in = ""
		if call.variable("RENEWED_DOMAINS", "FAILED_DOMAINS") != "" {
			in = "post"
		}
	}
	if in == "" {
		return ""
	}
	return fmt.Sprintf("certbot names no lineage to a %s hook: let it be a deploy hook (certlatch hook install certbot), or call certlatch deploy --pending there", in)
}
