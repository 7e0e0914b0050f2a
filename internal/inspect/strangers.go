package inspect

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/facts"
)

// This file names the servers of this host that certlatch has found no service in.

// tlsPorts returns the ports at which TLS begins with the connection: those of IANA's
// registry of service names for https, submissions, imaps, pop3s, ldaps, ftps,
// domain-s, sips, ircs-u and secure-mqtt, and what is usual for XMPP and for a second https.
func tlsPorts() []uint16 {
	return []uint16{443, 465, 636, 853, 990, 993, 995, 5061, 5223, 6697, 8443, 8883}
}

// strangersShown is how many are named: any user may listen at most of these ports.
const strangersShown = 8

// strangers names the processes that listen at ports of TLS and are not known to be of a
// service.
func strangers(finder *facts.Finder, isKnown func(deployers.Process) bool) (unknown []string) {
	listening, err := finder.Listening(tlsPorts())
	if err != nil {
		return []string{fmt.Sprintf("who listens at the ports of TLS: %v", err)}
	}
	more := 0
	for _, l := range listening {
		switch {
		case isKnown(l.Process), filepath.Base(l.Process.Program) == "caddy": // which takes nobody else's certificates as a rule
		case len(unknown) == strangersShown:
			more++
		default:
			unknown = append(unknown, fmt.Sprintf("process %d (%s) listens at %s, where TLS is usual, and is of no service that was found, so no target is proposed for it. If it takes the certificate of a lineage, write one: certlatch-services(7).",
				l.Process.PID, described(l.Process), joined(l.Ports)))
		}
	}
	if more > 0 {
		unknown = append(unknown, fmt.Sprintf("%d more processes listen at ports of TLS, and are of no service that was found: ss -tlnp", more))
	}
	return unknown
}

// described returns what is known of a process for sure, for people.
func described(p deployers.Process) string {
	program, unit := "whose program may not be seen", "of no unit"
	if p.Program != "" {
		program = fmt.Sprintf("%.200q", p.Program)
	}
	if p.Unit != "" {
		unit = p.Unit
	}
	return program + ", " + unit
}

// joined returns ports for people.
func joined(ports []uint16) string {
	var all []string
	for _, port := range ports {
		all = append(all, fmt.Sprintf(":%d", port))
	}
	return strings.Join(all, ", ")
}
