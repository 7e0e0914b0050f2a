package generic

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
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
	about    string            // what an operator should know about the activation
	reads    reader            // reads which certificates the service takes; nil: that is not read

	// copies returns the argument lists that renew what the service keeps as copies of a
	// plan's files, and puts what was found into the plan; nil: it keeps none.
	copies func(*deployers.Plan, *deployers.Facts) [][]string
}

// presets returns the table of presets.
func presets() map[string]preset {
	return map[string]preset{
		// A SIGUSR2 calls reload_ssl_certs since 4.5.0.8, and what cannot be
		// loaded leaves the old pair in use; a HUP only reopens the log
		// (src/apps/relay/mainrelay.c, src/apps/common/ns_turn_utils.c of
		// 4.6.1). Ports: 5349 is the default of --tls-listening-port
		// (turnserver(1)), 443 is what gets through firewalls. It has no test
		// of its configuration.
		"coturn": {
			unit:   "coturn.service",
			signal: "USR2", program: "turnserver",
			schemes: map[uint16]string{5349: "tls", 443: "tls"},
			about:   "coturn reads its certificate again on a SIGUSR2; its unit has no reload",
			reads:   coturn{},
		},
		// ejabberdctl reload_config lets ejabberd_pkix read certfiles again.
		// It fails where ejabberd.yml is wrong, and ends well whatever becomes
		// of those files, which is only logged (ejabberd_config:reload,
		// ejabberd_pkix:handle_call of 24.12). Ports: ejabberd.yml.example;
		// 5270 is in wide use for direct TLS between servers (XEP-0368), which
		// has no port of its own.
		"ejabberd": {
			unit:     "ejabberd.service",
			activate: []string{"ejabberdctl", "reload_config"},
			schemes:  map[uint16]string{5222: "xmpp-client", 5223: "xmpps-client", 5269: "xmpp-server", 5270: "xmpps-server", 5443: "https"},
			about:    "ejabberdctl reload_config ends well even where a certificate was not taken; only the probes tell",
			reads:    ejabberd{},
		},
		// The unit's reload is haproxy -c and then a SIGUSR2, by which the
		// master executes itself again and forks new workers
		// (admin/systemd/haproxy.service.in, management.txt section 4 of 3.0).
		// haproxy -c loads every certificate. crt takes a file with certificate
		// and key, or else looks for the key beside it, in a file with .key
		// added to the name (configuration.txt section 5.1). Ports: by custom.
		"haproxy": {
			unit:    "haproxy.service",
			test:    []string{"haproxy", "-c", "-q", "-f", "/etc/haproxy/haproxy.cfg"},
			schemes: map[uint16]string{443: "https", 8443: "https"},
			reads:   haproxyFiles{},
		},
		// smtpd reads the files as root when a process starts (pre_jail_init
		// in smtpd.c of 3.10), and where it cannot use them it turns STARTTLS
		// down with a 454. On a reload, processes end at their earliest
		// convenience (postfix(1), master(8)). postfix check does not look at
		// certificates (conf/postfix-script). Ports: master.cf with
		// services(5)'s submission and submissions.
		"postfix": {
			unit:     "postfix.service",
			test:     []string{"postfix", "check"},
			activate: []string{"postfix", "reload"},
			schemes:  map[uint16]string{25: "smtp", 587: "smtp", 465: "tls"},
			copies:   postfixCopies,
			reads:    postfix{},
		},
		// The unit's reload is doveadm reload, a SIGHUP to the master, which
		// starts all services afresh (src/master/main.c of 2.4.1). It ends open
		// sessions unless shutdown_clients = no (dovecot(1)). doveconf does not
		// look at certificates. Ports: the settings of imap-login and
		// pop3-login in src.
		"dovecot": {
			unit:    "dovecot.service",
			test:    []string{"doveconf", "-n"},
			schemes: map[uint16]string{143: "imap", 993: "tls", 995: "tls"},
			reads:   dovecot{},
		},
	}
}

// ports returns the ports that the service usually listens on.
func (p preset) ports() []uint16 { return slices.Sorted(maps.Keys(p.schemes)) }

// PresetName is the name of a preset; empty: none.
type PresetName string

// UnmarshalText fails for names that no preset has.
func (n *PresetName) UnmarshalText(text []byte) error {
	if _, ok := presets()[string(text)]; !ok {
		return fmt.Errorf("%.80q is not a preset; use one of %s, or write activate and test by hand", text, strings.Join(presetNames(), ", "))
	}
	*n = PresetName(text)
	return nil
}

func presetNames() []string { return slices.Sorted(maps.Keys(presets())) }
