package hooks

import "fmt"

// certmonger returns the caller for Fedora's daemon, which writes to any two files:
// plain directories. It runs the command of -C without a shell, and does not look at
// how it ended (certmonger src/hook.c; getcert-request(1)).
func certmonger() Caller {
	return byHand{"certmonger", func(self string) string {
		return fmt.Sprintf(`certmonger keeps no lineages: it writes to the files that it is told, and remembers one
command for each. With directory: /srv/certs below lineages in the configuration:

    getcert request -f /srv/certs/NAME/fullchain.pem -k /srv/certs/NAME/privkey.pem \
            -C "%s deploy directory:NAME"
`, shellQuote(self))
	}}
}
