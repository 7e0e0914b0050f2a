package hooks

import "fmt"

// step returns the caller for Smallstep's client, which writes to any two files: plain
// directories. It splits the command of --exec at blanks, without a shell (step cli
// 0.30.6 command/ca/renew.go).
func step() Caller {
	return byHand{"step", func(self string) string {
		if advice := blanks("step", self); advice != "" {
			return advice
		}
		return fmt.Sprintf(`step keeps no lineages and remembers no hook: it writes to the files that it is told, in
place. With directory: /srv/certs below lineages in the configuration:

    step ca renew --daemon --exec "%[1]s deploy directory:NAME" \
         /srv/certs/NAME/fullchain.pem /srv/certs/NAME/privkey.pem

or, with its unit cert-renewer@.service, in a drop-in:

    ExecStartPost=%[1]s deploy directory:%%i
`, self)
	}}
}
