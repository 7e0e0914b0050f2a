package deployers

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// The states of nginx.service as systemd 257 shows them.
var (
	running  = Unit{Name: "nginx.service", LoadState: "loaded", ActiveState: "active", CanReload: true, MainPID: 63}
	stopped  = Unit{Name: "nginx.service", LoadState: "loaded", ActiveState: "inactive", CanReload: true}
	missing  = Unit{Name: "nginx.service", LoadState: "not-found", ActiveState: "inactive"}
	masked   = Unit{Name: "nginx.service", LoadState: "masked", ActiveState: "inactive"}
	noReload = Unit{Name: "turn.service", LoadState: "loaded", ActiveState: "active", MainPID: 7, User: "turnserver"}
)

func target(service string, change func(*Target)) Target {
	d, _ := For(service)
	t := Target{
		Name: "web", Service: service, Lineage: "web.example", Mode: 0o640,
		Certificate: "/etc/x/cert.pem", Key: "/etc/x/key.pem",
		Probes:  []endpoint.Endpoint{{Scheme: "https", Host: "127.0.0.1", Port: 443, Name: "web.example"}},
		Options: d.Options(),
	}
	if change != nil {
		change(&t)
	}
	d.Defaults(&t)
	return t
}

func TestActivation(t *testing.T) {
	turn := func(t *Target) { t.Unit = "turn.service" }
	for _, test := range []struct {
		name   string
		target Target
		facts  Facts
		want   Activation
		fails  error
	}{
		{
			"nginx under systemd is reloaded", target("nginx", nil), Facts{Systemd: true, Unit: running, Master: 63},
			Activation{Way: ReloadUnit, Unit: "nginx.service"}, nil,
		}, {
			"a stopped nginx takes the files at its start", target("nginx", nil), Facts{Systemd: true, Unit: stopped},
			Activation{Way: NoWay, Unit: "nginx.service", Wait: ServiceInactive}, nil,
		}, {
			"a missing unit", target("nginx", nil), Facts{Systemd: true, Unit: missing},
			Activation{}, &UnitError{"nginx.service", "not-found"},
		}, {
			"a masked unit", target("nginx", nil), Facts{Systemd: true, Unit: masked},
			Activation{}, &UnitError{"nginx.service", "masked"},
		}, {
			"without systemd the master gets a HUP", target("nginx", nil), Facts{Master: 9},
			Activation{Way: SignalPID, PID: 9, Signal: "HUP", Why: "systemd does not manage this nginx, so its master process is sent a HUP"}, nil,
		}, {
			"an nginx beside the unit's gets a HUP", target("nginx", nil), Facts{Systemd: true, Unit: missing, Master: 9},
			Activation{Way: SignalPID, PID: 9, Signal: "HUP", Why: "systemd does not manage this nginx, so its master process is sent a HUP"}, nil,
		}, {
			"without systemd and process", target("nginx", nil), Facts{},
			Activation{Way: NoWay, Wait: ServiceInactive, Why: "no systemd here, and no process in /run/nginx.pid"}, nil,
		}, {
			"a unit without reload waits for a restart", target("generic", turn), Facts{Systemd: true, Unit: noReload},
			Activation{Way: NoWay, Unit: "turn.service", Wait: RestartNotAllowed, Why: "turn.service has no reload"}, nil,
		}, {
			"a unit without reload is restarted where that is allowed",
			target("generic", func(t *Target) { turn(t); t.AllowRestart = true }), Facts{Systemd: true, Unit: noReload},
			Activation{Way: RestartUnit, Unit: "turn.service", Why: "turn.service has no reload; allow_restart is set, so it is restarted"}, nil,
		}, {
			"a command goes before the unit",
			target("generic", func(t *Target) { turn(t); t.Options = &GenericOptions{Activate: []string{"turnadmin", "-x"}} }),
			Facts{Systemd: true, Unit: noReload},
			Activation{Way: RunCommand, Unit: "turn.service", Command: []string{"turnadmin", "-x"}}, nil,
		}, {
			"a unit where no systemd runs", target("generic", turn), Facts{},
			Activation{}, &NoWayError{Target: "web", About: Reload, Why: "systemd does not run here, so turn.service cannot be reloaded", Remedy: "set generic: {activate: [program, argument]} for this target"},
		}, {
			"nothing to activate by", target("generic", nil), Facts{},
			Activation{Way: NoWay, Wait: NothingToDo, Why: "neither unit nor generic.activate is set: the service must take the files by itself"}, nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, _ := For(test.target.Service)
			plan, err := d.Plan(test.target, lineage.Lineage{Name: "web.example"}, test.facts)
			if diff := cmp.Diff(test.fails, err); diff != "" {
				t.Fatal(diff)
			}
			if diff := cmp.Diff(test.want, plan.Activate); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	managed := target("nginx", func(t *Target) {
		t.Certificate, t.Key = "", ""
		t.Directory = "/etc/nginx/tls/{lineage}"
		t.Probes = nil
		t.Options = &NginxOptions{Binary: "/usr/sbin/nginx", Config: "/srv/nginx.conf", Prefix: "/srv"}
	})
	facts := Facts{Systemd: true, Unit: running, Listeners: []netip.AddrPort{
		netip.MustParseAddrPort("0.0.0.0:443"), netip.MustParseAddrPort("[::]:443"), netip.MustParseAddrPort("192.0.2.1:8443"),
	}}
	got, err := nginx{}.Plan(managed, lineage.Lineage{Name: "web.example"}, facts)
	if err != nil {
		t.Fatal(err)
	}
	want := Plan{
		Target: "web", Service: "nginx", Lineage: "web.example",
		Directory: "/etc/nginx/tls/web.example",
		Files: []File{
			{Path: "/etc/nginx/tls/web.example/current/fullchain.pem", Content: Fullchain, Mode: 0o644},
			{Path: "/etc/nginx/tls/web.example/current/chain.pem", Content: Chain, Mode: 0o644},
			{Path: "/etc/nginx/tls/web.example/current/privkey.pem", Content: Key, Mode: 0o640},
		},
		Test:     Test{Command: []string{"/usr/sbin/nginx", "-t", "-q", "-c", "/srv/nginx.conf", "-p", "/srv"}},
		Activate: Activation{Way: ReloadUnit, Unit: "nginx.service"},
		Probes: []endpoint.Endpoint{
			{Scheme: "https", Host: "127.0.0.1", Port: 443},
			{Scheme: "https", Host: "::1", Port: 443},
			{Scheme: "https", Host: "192.0.2.1", Port: 8443},
		},
		Found: true,
		Checks: []Check{{
			Configuration, Warned,
			"nginx's configuration could not be read, so it is not known which of its servers use these files: no file of it was printed",
			"run /usr/sbin/nginx -T -q -c /srv/nginx.conf -p /srv",
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOwnerAndReader(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Target)
		unit   Unit
		group  string
	}{
		{"the target's group wins", func(t *Target) { t.Group = "ssl-cert" }, Unit{User: "u", Group: "g"}, "ssl-cert"},
		{"then the unit's", nil, Unit{User: "u", Group: "g"}, "g"},
		{"then the primary group of its user", nil, Unit{User: "u"}, "u:"},
		{"else the owner's own", nil, Unit{}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.unit.LoadState, test.unit.ActiveState, test.unit.CanReload = "loaded", "active", true
			plan, err := generic{}.Plan(target("generic", func(target *Target) {
				target.Unit, target.Chain, target.Combined = "x.service", "/etc/x/chain.pem", "/etc/x/all.pem"
				if test.change != nil {
					test.change(target)
				}
			}), lineage.Lineage{Name: "web.example"}, Facts{Systemd: true, Unit: test.unit})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range plan.Files {
				if f.Group != test.group {
					t.Errorf("%s has group %q instead of %q", f.Path, f.Group, test.group)
				}
				if secret := f.Mode&0o004 == 0; secret != f.Content.HoldsKey() {
					t.Errorf("%s (%s) has mode %04o", f.Path, f.Content, f.Mode)
				}
			}
			if want := (Account{User: test.unit.User, Group: test.unit.Group}); !cmp.Equal(want, plan.Reader) {
				t.Errorf("reader is %v instead of %v", plan.Reader, want)
			}
		})
	}
}

func TestWindow(t *testing.T) {
	night := Window{From: 22 * time.Hour, To: 4*time.Hour + 30*time.Minute}
	day := Window{From: 2 * time.Hour, To: 4*time.Hour + 30*time.Minute}
	for _, test := range []struct {
		window Window
		clock  string
		in     bool
	}{
		{day, "01:59", false}, {day, "02:00", true}, {day, "04:29", true}, {day, "04:30", false},
		{night, "21:59", false}, {night, "22:00", true}, {night, "00:00", true}, {night, "04:30", false}, {night, "12:00", false},
	} {
		at, err := time.Parse("15:04", test.clock)
		if err != nil {
			t.Fatal(err)
		}
		if got := test.window.Contains(at); got != test.in {
			t.Errorf("%s in %s: %v", test.clock, test.window, got)
		}
		if opens := test.window.Opens(at); !opens.After(at) || opens.Sub(at) > 24*time.Hour || !test.window.Contains(opens) {
			t.Errorf("%s opens after %s at %s", test.window, at, opens)
		}
	}
}
