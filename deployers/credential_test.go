package deployers

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/lineage"
)

func TestHandsOver(t *testing.T) {
	u := Unit{Name: "web.service", Credentials: []Credential{
		{ID: "key", Path: "/etc/web/key.pem"}, {ID: "tls", Path: "/etc/tls/"}, {ID: "named", Path: "named.pem"},
		{ID: "sealed", Path: "/etc/sealed.pem", Encrypted: true}, {ID: "web.*", Imported: true}, {ID: "[", Imported: true},
		{ID: "old.*", Imported: true, Renamed: "new."}, {ID: "old_key", Imported: true, Renamed: "renamed_key"},
	}}
	for file, want := range map[string]struct {
		at        string
		encrypted bool
	}{
		"/etc/web/key.pem":                   {"/run/credentials/web.service/key", false},
		"/etc/web/key.pem.old":               {},
		"/etc/tls/a/key.pem":                 {"/run/credentials/web.service/tls_a_key.pem", false},
		"/etc/tls":                           {"/run/credentials/web.service/tls", false},
		"/etc/tls.d/key.pem":                 {},
		"/etc/credstore/named.pem":           {"/run/credentials/web.service/named", false},
		"/usr/local/lib/credstore/named.pem": {"/run/credentials/web.service/named", false},
		"/srv/credstore/named.pem":           {},
		"/etc/sealed.pem":                    {"/run/credentials/web.service/sealed", true},
		"/run/credstore/web.key":             {"/run/credentials/web.service/web.key", false},
		"/etc/credstore.encrypted/web.key":   {"/run/credentials/web.service/web.key", true},
		"/etc/web.key":                       {},
		"/etc/credstore/old.key":             {"/run/credentials/web.service/new.key", false},
		"/etc/credstore/old_key":             {"/run/credentials/web.service/renamed_key", false},
	} {
		_, encrypted := u.credential(file)
		if at := u.handsOver(file); at != want.at || encrypted != want.encrypted {
			t.Errorf("%s is handed over at %q (encrypted: %v)", file, at, encrypted)
		}
	}
	for handed, want := range map[string]string{
		"/run/credentials/web.service/key":       "/etc/web/key.pem",
		"/run/credentials/other.service/key":     "/run/credentials/other.service/key",
		"/run/credentials/web.service/named":     "/run/credentials/web.service/named",
		"/etc/web/key.pem":                       "/etc/web/key.pem",
		"/run/credentials/web.service/tls_a.pem": "/etc/tls/a.pem",
	} {
		if got := u.Source(handed); got != want {
			t.Errorf("%s comes from %s, want %s", handed, got, want)
		}
	}
}

func TestHandOver(t *testing.T) {
	reload := Activation{Way: ReloadUnit, Unit: "web.service"}
	call := Activation{Way: CallControl, Spends: true, Twice: true}
	written := Activation{Way: RunCommand, Command: []string{"renew"}, Written: true}
	stopped := Activation{Way: NoWay, Wait: ServiceInactive}
	for _, c := range []struct {
		name     string
		activate Activation
		unit     Unit
		restarts bool // are allowed
		way      Way
		wait     Wait
	}{
		{"a reload", reload, Unit{CanReload: true}, false, NoWay, RestartNotAllowed},
		{"a reload, and a restart is allowed", reload, Unit{CanReload: true}, true, RestartUnit, ""},
		{"a reload that hands over anew", reload, Unit{CanReload: true, RefreshesCredentials: true}, false, ReloadUnit, ""},
		{"a call", call, Unit{}, false, NoWay, RestartNotAllowed},
		{"a call, and a restart is allowed", call, Unit{}, true, RestartUnit, ""},
		{"a call, where the unit's reload hands over anew", call, Unit{CanReload: true, RefreshesCredentials: true}, true, ReloadUnit, ""},
		{"a call, where a reload would hand over anew and there is none", call, Unit{RefreshesCredentials: true}, true, RestartUnit, ""},
		{"a preset's command", Activation{Way: RunCommand, Command: []string{"renew"}}, Unit{}, false, NoWay, RestartNotAllowed},
		{"a command that the operator wrote", written, Unit{}, true, RunCommand, ""},
		{"a restart", Activation{Way: RestartUnit}, Unit{}, true, RestartUnit, ""},
		{"stopped", stopped, Unit{}, true, NoWay, ServiceInactive},
		{"started by hand, and the unit does not run", Activation{Way: SignalPID}, Unit{ActiveState: "inactive"}, true, SignalPID, ""},
	} {
		u := c.unit
		u.Name, u.Credentials = "web.service", []Credential{{ID: "key", Path: "/etc/web/key.pem"}}
		if u.ActiveState == "" && c.wait != ServiceInactive {
			u.ActiveState = "active"
		}
		facts := Facts{Systemd: true, Unit: u}
		target := Target{Name: "web", Unit: u.Name, Certificate: "/etc/web/cert.pem", Key: "/etc/web/key.pem", AllowRestart: c.restarts}
		plan := NewPlan(target, lineage.Lineage{}, facts, "https")
		plan.Activate, plan.Test.Command = c.activate, []string{"test"}
		got, err := HandOver(target, facts, plan)
		if tests := got.Test.Command != nil; tests != u.Running() {
			t.Errorf("%s: tests: %v", c.name, tests)
		}
		if err != nil || got.Activate.Way != c.way || got.Activate.Wait != c.wait || got.Activate.Spends && c.way != CallControl {
			t.Errorf("%s: got %+v (%v)", c.name, got.Activate, err)
		}
		facts.Unit.Credentials = nil
		plan = NewPlan(target, lineage.Lineage{}, facts, "https")
		plan.Activate = c.activate
		if got, err := HandOver(target, facts, plan); err != nil || !cmp.Equal(got.Activate, c.activate) {
			t.Errorf("%s: without credentials the activation is %+v (%v)", c.name, got.Activate, err)
		}
		facts.Unit.Credentials = []Credential{{ID: "key", Path: "/etc/web/key.pem", Encrypted: true}}
		plan = NewPlan(target, lineage.Lineage{}, facts, "https")
		if _, err := HandOver(target, facts, plan); !errors.As(err, new(*NoWayError)) {
			t.Errorf("%s: what systemd decrypts is written in the clear: %v", c.name, err)
		}
	}
}

// TestFilesOfUnit wants files to be the group's that is to read them, unless that
// goes with the unit, and those that systemd hands over to be nobody's but root's.
func TestFilesOfUnit(t *testing.T) {
	handed := []Credential{{ID: "key", Path: "/k"}}
	for _, c := range []struct {
		name             string
		facts            Facts
		written          string
		certificate, key string // groups
		reader           Account
	}{
		{"a user", Facts{Unit: Unit{User: "web"}}, "", "web:", "web:", Account{User: "web"}},
		{"a group", Facts{Unit: Unit{User: "web", Group: "certs"}}, "", "certs", "certs", Account{User: "web", Group: "certs"}},
		{"handed over", Facts{Unit: Unit{User: "web", Credentials: handed}}, "", "web:", "", Account{User: "web"}},
		{"handed over, with a group", Facts{Unit: Unit{User: "web", Credentials: handed}}, "certs", "certs", "certs", Account{User: "web"}},
		{
			"dynamic", Facts{Unit: Unit{User: "web", Group: "web"}, DynamicUser: true, DynamicGroup: true, Runs: IDs{Known: true, UID: 61500}}, "",
			"", "", Account{User: "web", Dynamic: true, Runs: IDs{Known: true, UID: 61500}},
		},
		{"dynamic, with a group", Facts{Unit: Unit{User: "web", Group: "certs"}, DynamicUser: true}, "", "certs", "certs", Account{User: "web", Group: "certs", Dynamic: true}},
	} {
		plan := NewPlan(Target{Certificate: "/c", Key: "/k", Group: c.written}, lineage.Lineage{}, c.facts, "https")
		if got := [2]string{plan.Files[0].Group, plan.Files[1].Group}; got != [2]string{c.certificate, c.key} {
			t.Errorf("%s: the groups are %q", c.name, got)
		}
		if diff := cmp.Diff(c.reader, plan.Reader); diff != "" {
			t.Errorf("%s: reader (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestReadAgain is about who reads the files of a service that was started as root.
func TestReadAgain(t *testing.T) {
	turnserver := IDs{Known: true, UID: 110, GID: 115, Groups: []uint32{115}}
	for _, test := range []struct {
		name string
		user string
		runs IDs
		way  Way
		want Account
	}{
		{"who is told", "", turnserver, SignalPID, Account{Runs: turnserver}},
		{"who is asked", "", turnserver, CallControl, Account{Runs: turnserver}},
		{"a start reads as root", "", turnserver, RestartUnit, Account{}},
		{"a reload may start another", "", turnserver, ReloadUnit, Account{}},
		{"still root", "", IDs{Known: true}, SignalPID, Account{}},
		{"by a capability", "", IDs{Known: true, UID: 110, ReadsAll: true}, SignalPID, Account{}},
		{"not known", "", IDs{}, SignalPID, Account{}},
		{"by the unit", "turnserver", IDs{}, SignalPID, Account{User: "turnserver"}},
	} {
		facts := Facts{Unit: Unit{User: test.user}, Runs: test.runs}
		plan := Plan{Reader: facts.account(), Activate: Activation{Way: test.way}}.ReadAgain(facts)
		if diff := cmp.Diff(test.want, plan.Reader); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}
