package generic

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/sample"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// presetTarget returns a target of a preset without probes.
func presetTarget(name PresetName, change func(*deployers.Target, *Options)) deployers.Target {
	return sample.Target(Deployer{}, func(t *deployers.Target) {
		options := &Options{Preset: name}
		t.Options, t.Probes = options, nil
		if change != nil {
			change(t, options)
		}
	})
}

func up(unit string, canReload bool) deployers.Unit {
	return deployers.Unit{Name: unit, LoadState: "loaded", ActiveState: "active", CanReload: canReload, MainPID: 7}
}

func TestPresets(t *testing.T) {
	comm := map[string][]deployers.Text{"/proc/7/comm": {{Path: "/proc/7/comm", Content: "turnserver\n"}}}
	const haproxyNote = "haproxy usually reads certificate and key from one file; set combined, unless its configuration names them apart"
	for _, test := range []struct {
		name     string
		target   deployers.Target
		facts    deployers.Facts
		activate deployers.Activation
		test     []string
		notes    []string
	}{
		{
			"coturn gets a signal", presetTarget("coturn", nil), deployers.Facts{Unit: up("coturn.service", false), Texts: comm},
			deployers.Activation{Way: deployers.SignalPID, Unit: "coturn.service", PID: 7, Signal: "USR2", Why: "coturn reads its certificate again on a SIGUSR2; its unit has no reload"}, nil, nil,
		}, {
			"but what is written goes before it",
			presetTarget("coturn", func(t *deployers.Target, o *Options) {
				t.Unit, o.Activate, o.Test = "turn2.service", []string{"turn", "reload"}, []string{"turn", "test"}
			}),
			deployers.Facts{Unit: up("turn2.service", false), Texts: comm},
			deployers.Activation{Way: deployers.RunCommand, Unit: "turn2.service", Command: []string{"turn", "reload"}, Written: true}, []string{"turn", "test"}, nil,
		}, {
			"a stopped coturn gets none", presetTarget("coturn", nil), deployers.Facts{Unit: deployers.Unit{LoadState: "loaded", ActiveState: "inactive"}},
			deployers.Activation{Way: deployers.NoWay, Unit: "coturn.service", Wait: deployers.ServiceInactive}, nil, nil,
		}, {
			"haproxy wants one file", presetTarget("haproxy", nil), deployers.Facts{Unit: up("haproxy.service", true)},
			deployers.Activation{Way: deployers.ReloadUnit, Unit: "haproxy.service"}, []string{"haproxy", "-c", "-q", "-f", "/etc/haproxy/haproxy.cfg"}, []string{haproxyNote},
		}, {
			"and has it", presetTarget("haproxy", func(t *deployers.Target, _ *Options) { t.Combined = "/etc/haproxy/all.pem" }), deployers.Facts{Unit: up("haproxy.service", true)},
			deployers.Activation{Way: deployers.ReloadUnit, Unit: "haproxy.service"}, []string{"haproxy", "-c", "-q", "-f", "/etc/haproxy/haproxy.cfg"}, nil,
		}, {
			"postfix", presetTarget("postfix", nil), deployers.Facts{Unit: up("postfix.service", true)},
			deployers.Activation{Way: deployers.RunCommand, Unit: "postfix.service", Command: []string{"postfix", "reload"}}, []string{"postfix", "check"}, nil,
		}, {
			"dovecot", presetTarget("dovecot", nil), deployers.Facts{Unit: up("dovecot.service", true)},
			deployers.Activation{Way: deployers.ReloadUnit, Unit: "dovecot.service"}, []string{"doveconf", "-n"}, nil,
		}, {
			"ejabberd", presetTarget("ejabberd", nil), deployers.Facts{Unit: up("ejabberd.service", true)},
			deployers.Activation{
				Way: deployers.RunCommand, Unit: "ejabberd.service", Command: []string{"ejabberdctl", "reload_config"},
				Why: "ejabberdctl reload_config ends well even where a certificate was not taken; only the probes tell",
			}, nil, nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.facts.Systemd = true
			plan, err := Deployer{}.Plan(test.target, lineage.Lineage{Name: "web.example"}, test.facts)
			if err != nil {
				t.Fatal(err)
			}
			for _, diff := range []string{cmp.Diff(test.activate, plan.Activate), cmp.Diff(test.test, plan.Test.Command), cmp.Diff(test.notes, plan.Notes())} {
				if diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// TestPresetSignalsOnlyItsProgram wants no signal to another program than the
// preset's, which might end by it.
func TestPresetSignalsOnlyItsProgram(t *testing.T) {
	coturn := presetTarget("coturn", nil)
	facts := deployers.Facts{Systemd: true, Unit: up("coturn.service", false)}
	if diff := cmp.Diff([]string{"/proc/7/comm"}, Deployer{}.Wants(coturn, facts).Texts); diff != "" {
		t.Error(diff)
	}
	for _, comm := range []string{"", "sh\n", "turnserverd\n"} {
		facts.Texts = map[string][]deployers.Text{"/proc/7/comm": {{Content: comm}}}
		plan, err := Deployer{}.Plan(coturn, lineage.Lineage{Name: "web.example"}, facts)
		want := &deployers.NoWayError{Target: "web", Why: "the main process of coturn.service is not turnserver, so it is sent no SIGUSR2", Remedy: "set generic: {activate: [program, argument]} for this target", About: deployers.Reload}
		if diff := cmp.Diff(error(want), err); diff != "" {
			t.Errorf("%q: %+v\n%s", comm, plan.Activate, diff)
		}
	}
}

func TestPresetProbes(t *testing.T) {
	dovecot := presetTarget("dovecot", nil)
	facts := deployers.Facts{Systemd: true, Unit: up("dovecot.service", true)}
	if diff := cmp.Diff([]uint16{143, 993, 995}, Deployer{}.Wants(dovecot, facts).Ports); diff != "" {
		t.Error(diff)
	}
	facts.Listeners = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:143"), netip.MustParseAddrPort("[::]:993")}
	plan, err := Deployer{}.Plan(dovecot, lineage.Lineage{Name: "web.example"}, facts)
	if err != nil {
		t.Fatal(err)
	}
	want := []endpoint.Endpoint{{Scheme: "imap", Host: "127.0.0.1", Port: 143}, {Scheme: "tls", Host: "::1", Port: 993}}
	if diff := cmp.Diff(want, plan.Probes); diff != "" {
		t.Error(diff)
	}
}

// TestPostfixMaps is about tables that hold copies of the files.
func TestPostfixMaps(t *testing.T) {
	const files = "/etc/x/key.pem /etc/x/cert.pem"
	for _, test := range []struct {
		name, tables, services string
		sources                map[string]string
		copies                 [][]string
		notes                  []string
	}{
		{"none", "\n", "", nil, nil, nil},
		{
			"one that names the files", "lmdb:/etc/postfix/sni\n", "", map[string]string{"/etc/postfix/sni": "# x\nmail.example " + files + "\n"},
			[][]string{{"postmap", "-F", "lmdb:/etc/postfix/sni"}}, nil,
		}, {
			"on continued lines, with commas, and for a service of its own", "proxy:hash:/a, cdb:/b\n", "smtps/inet/tls_server_sni_maps = hash:/a\n",
			map[string]string{"/a": "mail.example\n\t/srv/k,\n /etc/x/cert.pem\n", "/b": ".example " + files},
			[][]string{{"postmap", "-F", "hash:/a"}, {"postmap", "-F", "cdb:/b"}}, nil,
		}, {
			"for other names", "hash:/a\n", "", map[string]string{"/a": "other.example /srv/k /srv/c\n"}, nil, nil,
		}, {
			"with other files for a name", "hash:/a\n", "", map[string]string{"/a": ".EXAMPLE /srv/k /srv/c\n"}, nil,
			[]string{"/a has other files than the target's for .EXAMPLE, and Postfix serves copies of those; let it name /etc/x/key.pem /etc/x/cert.pem, and run postmap -F hash:/a"},
		}, {
			"whose source is gone", "hash:/a\n", "", nil, nil,
			[]string{"/a, of which tls_server_sni_maps has copies, cannot be read; write the names and the target's files there, and run postmap -F hash:/a"},
		}, {
			"of another kind", "pgsql:/etc/postfix/sni.cf\n", "", nil, nil,
			[]string{"of tls_server_sni_maps pgsql:/etc/postfix/sni.cf, it is not known how its copies are renewed; renew its copies by generic: {copies: [[program, argument]]}, if it holds any of these files"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := presetTarget("postfix", func(t *deployers.Target, _ *Options) { t.Certificate, t.Key = "/etc/x/cert.pem", "/etc/x/key.pem" })
			facts := deployers.Facts{Systemd: true, Unit: up("postfix.service", true), Names: []string{"mail.example"}, Texts: map[string][]deployers.Text{}, Outputs: map[string]deployers.Output{}}
			main, _, own := postfix{}.commands()
			facts.Outputs[strings.Join(main, "\x00")] = deployers.Output{Stdout: "tls_server_sni_maps = " + test.tables}
			facts.Outputs[strings.Join(own, "\x00")] = deployers.Output{Stdout: test.services}
			wants := Deployer{}.Wants(target, facts).Texts
			for path, content := range test.sources {
				facts.Texts[path] = []deployers.Text{{Path: path, Content: content}}
				if !slices.Contains(wants, path) {
					t.Errorf("%s is not read: %q", path, wants)
				}
			}
			plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "mail.example"}, facts)
			if err != nil {
				t.Fatal(err)
			}
			for _, diff := range []string{cmp.Diff(test.copies, plan.Activate.Copies), cmp.Diff(test.notes, plan.Notes())} {
				if diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// What the configuration says of copies goes before what the preset finds.
func TestCopies(t *testing.T) {
	copies := [][]string{{"keytool", "-import"}}
	target := presetTarget("postfix", func(_ *deployers.Target, o *Options) { o.Copies = copies })
	plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "mail.example"}, deployers.Facts{Systemd: true, Unit: up("postfix.service", true)})
	if err != nil {
		t.Fatal(err)
	}
	if got := plan.Activate.String(); got != "run keytool -import, then run postfix reload" {
		t.Error(got)
	}
}

// Each preset names what exists, and something that takes the files.
func TestPresetsAreWhole(t *testing.T) {
	for name, preset := range presets() {
		for port, scheme := range preset.schemes {
			if _, ok := endpoint.SchemeOf(scheme); !ok {
				t.Errorf("%s: there is no scheme %s for port %d", name, scheme, port)
			}
		}
		if preset.unit == "" || (preset.signal == "") != (preset.program == "") || len(preset.schemes) == 0 {
			t.Errorf("%s: something is missing: %+v", name, preset)
		}
		for _, argv := range [][]string{preset.test, preset.activate} {
			if slices.Contains(argv, "") {
				t.Errorf("%s: an empty argument in %q", name, argv)
			}
		}
	}
}

func TestPresetName(t *testing.T) {
	var name PresetName
	if err := name.UnmarshalText([]byte("dovecot")); err != nil || name != "dovecot" {
		t.Errorf("got %q, %v", name, err)
	}
	err := name.UnmarshalText([]byte("apache"))
	want := `"apache" is not a preset; use one of coturn, dovecot, ejabberd, haproxy, postfix, or write activate and test by hand`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// noReload is a unit of a service that systemd cannot reload.
var noReload = deployers.Unit{Name: "turn.service", LoadState: "loaded", ActiveState: "active", MainPID: 7, User: "turnserver"}

func TestActivation(t *testing.T) {
	turn := func(t *deployers.Target) { t.Unit = "turn.service" }
	for _, test := range []struct {
		name   string
		target deployers.Target
		facts  deployers.Facts
		want   deployers.Activation
		fails  error
	}{
		{
			"a unit without reload waits for a restart", sample.Target(Deployer{}, turn), deployers.Facts{Systemd: true, Unit: noReload},
			deployers.Activation{Way: deployers.NoWay, Unit: "turn.service", Wait: deployers.RestartNotAllowed, Why: "turn.service has no reload"}, nil,
		}, {
			"a unit without reload is restarted where that is allowed",
			sample.Target(Deployer{}, func(t *deployers.Target) { turn(t); t.AllowRestart = true }), deployers.Facts{Systemd: true, Unit: noReload},
			deployers.Activation{Way: deployers.RestartUnit, Unit: "turn.service", Why: "turn.service has no reload; allow_restart is set, so it is restarted"}, nil,
		}, {
			"a command goes before the unit",
			sample.Target(Deployer{}, func(t *deployers.Target) { turn(t); t.Options = &Options{Activate: []string{"turnadmin", "-x"}} }),
			deployers.Facts{Systemd: true, Unit: noReload},
			deployers.Activation{Way: deployers.RunCommand, Unit: "turn.service", Command: []string{"turnadmin", "-x"}, Written: true}, nil,
		}, {
			"a unit where no systemd runs", sample.Target(Deployer{}, turn), deployers.Facts{},
			deployers.Activation{}, &deployers.NoWayError{Target: "web", About: deployers.Reload, Why: "systemd does not run here, so turn.service cannot be reloaded", Remedy: "set generic: {activate: [program, argument]} for this target"},
		}, {
			"nothing to activate by", sample.Target(Deployer{}, nil), deployers.Facts{},
			deployers.Activation{Way: deployers.NoWay, Wait: deployers.NothingToDo, Why: "neither unit nor generic.activate is set: the service must take the files by itself"}, nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := Deployer{}.Plan(test.target, lineage.Lineage{Name: "web.example"}, test.facts)
			if diff := cmp.Diff(test.fails, err); diff != "" {
				t.Fatal(diff)
			}
			if diff := cmp.Diff(test.want, plan.Activate); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOwnerAndReader(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*deployers.Target)
		unit   deployers.Unit
		group  string
	}{
		{"the target's group wins", func(t *deployers.Target) { t.Group = "ssl-cert" }, deployers.Unit{User: "u", Group: "g"}, "ssl-cert"},
		{"then the unit's", nil, deployers.Unit{User: "u", Group: "g"}, "g"},
		{"then the primary group of its user", nil, deployers.Unit{User: "u"}, "u:"},
		{"else the owner's own", nil, deployers.Unit{}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.unit.LoadState, test.unit.ActiveState, test.unit.CanReload = "loaded", "active", true
			plan, err := Deployer{}.Plan(sample.Target(Deployer{}, func(target *deployers.Target) {
				target.Unit, target.Chain, target.Combined = "x.service", "/etc/x/chain.pem", "/etc/x/all.pem"
				if test.change != nil {
					test.change(target)
				}
			}), lineage.Lineage{Name: "web.example"}, deployers.Facts{Systemd: true, Unit: test.unit})
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
			if want := (deployers.Account{User: test.unit.User, Group: test.unit.Group}); !cmp.Equal(want, plan.Reader) {
				t.Errorf("reader is %v instead of %v", plan.Reader, want)
			}
		})
	}
}
