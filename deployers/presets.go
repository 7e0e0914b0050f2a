package deployers

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// preset is what is known of a service that needs no deployer of its own.
// Whatever the configuration says goes before it.
type preset struct {
	unit     string
	test     []string          // the service's own test of its configuration
	activate []string          // nil: a signal, or the reload of the unit
	signal   string            // to the main process of the unit,
	program  string            // if it runs this program
	schemes  map[uint16]string // of probes, by the ports that the service usually listens on
	oneFile  bool              // certificate and key are in one file
	about    string            // what an operator should know about the activation
}

// presets is the table of them.
func presets() map[string]preset {
	return map[string]preset{
		// Signals: reload_ssl_certs in src/apps/relay/mainrelay.c of coturn
		// 4.6.1; a HUP only reopens the log. Ports: turnserver(1),
		// --tls-listening-port. It has no test of its configuration.
		"coturn": {
			unit:   "coturn.service",
			signal: "USR2", program: "turnserver",
			schemes: map[uint16]string{5349: "tls", 443: "tls"},
			about:   "coturn reads its certificate again on a SIGUSR2; its unit has no reload",
		},
		// ejabberd 24.12: ejabberdctl reload_config lets ejabberd_pkix read
		// certfiles again, and ends well whatever came of it. Ports:
		// ejabberd.yml.example; 5270 is that of XEP-0368 in its manual.
		"ejabberd": {
			unit:     "ejabberd.service",
			activate: []string{"ejabberdctl", "reload_config"},
			schemes:  map[uint16]string{5222: "xmpp-client", 5223: "xmpps-client", 5269: "xmpp-server", 5270: "xmpps-server", 5443: "https"},
			about:    "ejabberdctl reload_config ends well even where a certificate was not taken; only the probes tell",
		},
		// HAProxy 3.0: the master starts itself again with new workers
		// (management.txt section 4); crt takes a file with certificate and
		// key (configuration.txt section 5.1).
		"haproxy": {
			unit:    "haproxy.service",
			test:    []string{"haproxy", "-c", "-q", "-f", "/etc/haproxy/haproxy.cfg"},
			schemes: map[uint16]string{443: "https", 8443: "https"},
			oneFile: true,
		},
		// Postfix 3.10: smtpd(8) reads the files when it starts; on a reload,
		// running processes end at their earliest convenience (postfix(1)).
		// Ports: master.cf.
		"postfix": {
			unit:     "postfix.service",
			test:     []string{"postfix", "check"},
			activate: []string{"postfix", "reload"},
			schemes:  map[uint16]string{25: "smtp", 587: "smtp", 465: "tls"},
		},
		// Dovecot 2.4: the unit's reload is doveadm reload, which lets the
		// processes for new logins be started afresh (doveadm(1)). Ports:
		// doc.dovecot.org, imap-login and pop3-login.
		"dovecot": {
			unit:    "dovecot.service",
			test:    []string{"doveconf", "-n"},
			schemes: map[uint16]string{143: "imap", 993: "tls", 995: "tls"},
		},
	}
}

// ports are those that the service usually listens on.
func (p preset) ports() []uint16 { return slices.Sorted(maps.Keys(p.schemes)) }

// PresetName is the name of a preset; empty: none.
type PresetName string

// UnmarshalText refuses names that no preset has.
func (n *PresetName) UnmarshalText(text []byte) error {
	if _, ok := presets()[string(text)]; !ok {
		return fmt.Errorf("%.80q is not a preset; use one of %s, or write activate and test by hand", text, strings.Join(presetNames(), ", "))
	}
	*n = PresetName(text)
	return nil
}

func presetNames() []string { return slices.Sorted(maps.Keys(presets())) }
