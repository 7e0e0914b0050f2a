package hooks

import "github.com/certlatch/certlatch/internal/lineage"

// uacme returns the keeper of what uacme has had issued, which has hooks for challenges
// only: cert.pem is the full chain, and keys lie apart (uacme 1.7 uacme.c, cert_issue).
func uacme() Keeper {
	return Keeper{
		Name: "uacme", OnlyAsked: true,
		Layout: lineage.Layout{Fullchain: "{dir}/cert.pem", Key: "private/{dir}/key.pem"},
		// Debian's is built with --sysconfdir=/etc (uacme 1.7.5, uacme(1), --confdir).
		Places: []string{"/etc/ssl/uacme"},
	}
}
