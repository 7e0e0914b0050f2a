package hooks

import "github.com/certlatch/certlatch/internal/lineage"

// nginxACME returns the keeper of what nginx's own module has had issued, which nginx
// serves itself: NAME-HASH.crt and .key in its state_path, by the first DNS name. The
// hash is of all names and the type of key, so it changes with them, and the newest
// counts (nginx-acme 0.4.1 src/conf/order.rs, cache_key; src/conf/issuer.rs). Where the
// issuer has key=FILE, there is no .key, and no lineage either.
func nginxACME() Keeper {
	return Keeper{
		Name: "nginx-acme", Serves: "nginx", OnlyAsked: true,
		Layout: lineage.Layout{Fullchain: "{dir}{tail}.crt", Key: "{dir}{tail}.key", Literal: true},
		ByHand: servesItself("nginx-acme", "nginx", "PATH", "Its\nmodule has no hooks, and PATH is the state_path of the issuer."),
	}
}
