package hooks

import "github.com/certlatch/certlatch/internal/lineage"

// caddy returns the keeper of what Caddy has had issued, which it serves itself. Below
// certificates in its storage there is a directory for each issuer, and in that one for
// each name: lower case, "*" as "wildcard_", ":" as "-" (certmagic 0.25 storage.go,
// KeyBuilder and StorageKeys.Safe; the issuer's is acmeissuer.go, issuerKey). Of several
// issuers' certificates of one name the newest counts, as for Caddy (certmagic 0.25
// certificates.go), which looks at those of the issuers that it is configured with. Those
// of its own CA are in local, and valid for 12 hours (seen with 2.6.2). Key, certificate and metadata are written in this order, each by a
// rename (crypto.go, saveCertResource; filestorage.go).
func caddy() Keeper {
	return Keeper{
		Name: "caddy", Serves: "Caddy", OnlyAsked: true,
		Layout: lineage.Layout{Above: "certificates/*", Own: "local", Fullchain: "{dir}/{dir}.crt", Key: "{dir}/{dir}.key", Wildcard: "wildcard_."},
		// Debian's caddy has /var/lib/caddy as its home (caddy 2.6.2-12+deb13u1 caddy.service).
		Places: []string{"/var/lib/caddy/.local/share/caddy", "/root/.local/share/caddy"},
		ByHand: servesItself("caddy", "Caddy", "/var/lib/caddy/.local/share/caddy",
			"Its events could\nrun a command in builds that have the module for it, and end that after 30 seconds."),
	}
}
