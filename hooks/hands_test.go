package hooks

import (
	"fmt"
	"slices"
	"testing"
)

// wantedHere is a target whose service and files others may be at.
var wantedHere = []Interest{{Target: "sip", Paths: []string{"/etc/x/cert.pem", "/etc/x/key.pem"}, Service: "kamailio", Unit: "kamailio.service"}}

// TestDoes is about what a command does to a target.
func TestDoes(t *testing.T) {
	for command, want := range map[string]string{
		"cp a /etc/x/cert.pem":                 "names /etc/x/cert.pem",
		"cp a /srv/etc/x/cert.pem":             "",
		"cp a /etc/x/cert.pem2":                "",
		"systemctl reload kamailio":            "reloads or restarts kamailio",
		"systemctl try-restart kamailio":       "reloads or restarts kamailio",
		"systemctl start kamailio":             "",
		"systemctl reload kamailio-edge":       "",
		"kamcmd tls.reload":                    "reloads or restarts kamailio",
		"kamcmd -s /run/k tls.list":            "",
		"kill -HUP $(cat /run/kamailio/x.pid)": "reloads or restarts kamailio",
	} {
		if got, _ := wantedHere[0].does(command); got != want {
			t.Errorf("%s: %q instead of %q", command, got, want)
		}
	}
}

// TestUnits is about path units and timers, and what the services do that they start.
func TestUnits(t *testing.T) {
	where := func(all []Hand) (says []string) {
		for _, hand := range all {
			says = append(says, fmt.Sprintf("%s:%d", hand.File, hand.Line))
		}
		return says
	}
	const unit = "[Path]\nPathChanged = /etc/letsencrypt/live/x/fullchain.pem\nPathModified=/etc/x\n"
	if got := where(readPathUnit("/etc/systemd/system/x.path", unit, wantedHere)); !slices.Equal(got, []string{"/etc/systemd/system/x.path:3"}) {
		t.Errorf("%q", got)
	}
	for text, want := range map[string][]string{
		unit:                            {"/etc/systemd/system/x.service"},
		"[Timer]\nUnit=copy.service\n":  {"/etc/systemd/system/copy.service"},
		"[Timer]\nUnit=../x.service\n":  nil,
		"[Timer]\nUnit=copy@%i*.device": nil,
	} {
		var got []string
		for _, next := range started("/etc/systemd/system/x.path", text) {
			got = append(got, next.Files)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q starts %q", text, got)
		}
	}
	const service = "[Unit]\nDescription=reload kamailio\n[Service]\nExecStart=/opt/copy.sh x\nExecStartPost=systemctl restart kamailio\n"
	for file, want := range map[string][]string{
		"/etc/systemd/system/x.service":                 {"/etc/systemd/system/x.service:5"},
		"/etc/systemd/system/kamailio.service":          nil,
		"/etc/systemd/system/kamailio.service.d/a.conf": nil,
	} {
		if got := where(readExec(file, service, wantedHere)); !slices.Equal(got, want) {
			t.Errorf("%s: %q", file, got)
		}
	}
	next := started("/etc/systemd/system/x.path", unit)[0].Then("", service)
	if len(next) != 1 || next[0].Files != "/opt/copy.sh" || !next[0].Run {
		t.Errorf("%v", next)
	}
}

// What a text names is followed only where no shell would make another name of it, and
// where no package has brought it.
func TestRuns(t *testing.T) {
	var got []string
	for _, next := range runs(whole)("", "# /opt/no.sh\n/opt/a.sh '/opt/b.sh';(/opt/c.sh)\nX=/opt/d.sh relative/e.sh /usr/bin/f /opt/*.sh /opt/$X ~/g.sh /usr/bin/../../opt/h.sh\n") {
		got = append(got, next.Files)
	}
	if want := []string{"/opt/a.sh", "/opt/b.sh", "/opt/c.sh", "/opt/d.sh", "/opt/h.sh"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestRemedies wants a command that calls certlatch as well to go on doing that.
func TestRemedies(t *testing.T) {
	for hook, want := range map[string]string{
		"systemctl reload kamailio":                         "take that line out",
		"systemctl reload kamailio; certlatch hook certbot": "leave nothing but certlatch's call in it",
		"certlatch hook certbot":                            "",
	} {
		got := ""
		for _, hand := range readCertbot("")("/etc/letsencrypt/renewal/x.conf", "renew_hook = "+hook+"\n", wantedHere) {
			got += hand.Remedy
		}
		if got != want {
			t.Errorf("%s: %q", hook, got)
		}
	}
}
