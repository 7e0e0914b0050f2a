package hooks

import (
	"fmt"

	"github.com/certlatch/certlatch/internal/lineage"
)

// uacme returns the keeper of what uacme has had issued, which has hooks for challenges
// only: cert.pem is the full chain, and keys lie apart (uacme 1.7 uacme.c, cert_issue).
func uacme() Keeper {
	return Keeper{
		Name: "uacme", OnlyAsked: true,
		Layout: lineage.Layout{Fullchain: "{dir}/cert.pem", Key: "private/{dir}/key.pem"},
		// Debian's is built with --sysconfdir=/etc (uacme 1.7.6, uacme(1), --confdir).
		Places: []string{"/etc/ssl/uacme"},
		ByHand: func(self string) string {
			return fmt.Sprintf(`uacme has hooks for challenges only, and remembers nothing to call: the timer or cron job
that renews deploys what was issued. With uacme: /etc/ssl/uacme below lineages in the
configuration, for each certificate:

    uacme issue NAME && %s deploy uacme:NAME

NAME is the first name, without the *. of a wildcard. uacme ends with 1 where the
certificate is still good, and then nothing is to be deployed.
`, shellQuote(self))
		},
	}
}
