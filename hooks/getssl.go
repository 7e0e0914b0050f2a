package hooks

import (
	"fmt"

	"github.com/certlatch/certlatch/internal/lineage"
)

// getssl returns the keeper of what getssl has had issued, in a directory for each
// domain, as it was typed. It hands nothing over to its RELOAD_CMD (getssl 2.51 getssl,
// get_certificate, reload_service).
func getssl() Keeper {
	return Keeper{
		Name: "getssl", OnlyAsked: true,
		Layout: lineage.Layout{Fullchain: "{dir}/fullchain.crt", Key: "{dir}/{dir}.key", Literal: true},
		Places: []string{"/etc/getssl", "/root/.getssl"},
		ByHand: func(self string) string {
			return fmt.Sprintf(`getssl runs one command for each certificate, in its getssl.cfg. With
getssl: /etc/getssl below lineages in the configuration:

    RELOAD_CMD=("%s deploy getssl:NAME")

NAME is the name of the directory, with _. in place of the *. of a wildcard.
`, shellQuote(self))
		},
	}
}
