package hooks

import "github.com/certlatch/certlatch/internal/lineage"

// getssl returns the keeper of what getssl has had issued, in a directory for each
// domain, as it was typed. It hands nothing over to its RELOAD_CMD (getssl 2.51 getssl,
// get_certificate, reload_service).
func getssl() Keeper {
	return Keeper{
		Name: "getssl", OnlyAsked: true,
		Layout: lineage.Layout{Fullchain: "{dir}/fullchain.crt", Key: "{dir}/{dir}.key", Literal: true},
		Places: []string{"/etc/getssl", "/root/.getssl"},
	}
}
