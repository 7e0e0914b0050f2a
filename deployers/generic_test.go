package deployers

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// presetTarget gives a target of a preset without probes.
func presetTarget(name PresetName, change func(*Target, *GenericOptions)) Target {
	return target("generic", func(t *Target) {
		options := &GenericOptions{Preset: name}
		t.Options, t.Probes = options, nil
		if change != nil {
			change(t, options)
		}
	})
}

func up(unit string, canReload bool) Unit {
	return Unit{Name: unit, LoadState: "loaded", ActiveState: "active", CanReload: canReload, MainPID: 7}
}

func TestPresets(t *testing.T) {
	comm := map[string][]Text{"/proc/7/comm": {{Path: "/proc/7/comm", Content: "turnserver\n"}}}
	const haproxyNote = "haproxy usually reads certificate and key from one file; set combined, unless its configuration names them apart"
	for _, test := range []struct {
		name     string
		target   Target
		facts    Facts
		activate Activation
		test     []string
		notes    []string
	}{
		{
			"coturn gets a signal", presetTarget("coturn", nil), Facts{Unit: up("coturn.service", false), Texts: comm},
			Activation{Way: SignalPID, Unit: "coturn.service", PID: 7, Signal: "USR2", Why: "coturn reads its certificate again on a SIGUSR2; its unit has no reload"}, nil, nil,
		}, {
			"but what is written goes before it",
			presetTarget("coturn", func(t *Target, o *GenericOptions) {
				t.Unit, o.Activate, o.Test = "turn2.service", []string{"turn", "reload"}, []string{"turn", "test"}
			}),
			Facts{Unit: up("turn2.service", false), Texts: comm},
			Activation{Way: RunCommand, Unit: "turn2.service", Command: []string{"turn", "reload"}}, []string{"turn", "test"}, nil,
		}, {
			"a stopped coturn gets none", presetTarget("coturn", nil), Facts{Unit: Unit{LoadState: "loaded", ActiveState: "inactive"}},
			Activation{Way: NoWay, Unit: "coturn.service", Wait: ServiceInactive}, nil, nil,
		}, {
			"haproxy wants one file", presetTarget("haproxy", nil), Facts{Unit: up("haproxy.service", true)},
			Activation{Way: ReloadUnit, Unit: "haproxy.service"}, []string{"haproxy", "-c", "-q", "-f", "/etc/haproxy/haproxy.cfg"}, []string{haproxyNote},
		}, {
			"and has it", presetTarget("haproxy", func(t *Target, _ *GenericOptions) { t.Combined = "/etc/haproxy/all.pem" }), Facts{Unit: up("haproxy.service", true)},
			Activation{Way: ReloadUnit, Unit: "haproxy.service"}, []string{"haproxy", "-c", "-q", "-f", "/etc/haproxy/haproxy.cfg"}, nil,
		}, {
			"postfix", presetTarget("postfix", nil), Facts{Unit: up("postfix.service", true)},
			Activation{Way: RunCommand, Unit: "postfix.service", Command: []string{"postfix", "reload"}}, []string{"postfix", "check"}, nil,
		}, {
			"dovecot", presetTarget("dovecot", nil), Facts{Unit: up("dovecot.service", true)},
			Activation{Way: ReloadUnit, Unit: "dovecot.service"}, []string{"doveconf", "-n"}, nil,
		}, {
			"ejabberd", presetTarget("ejabberd", nil), Facts{Unit: up("ejabberd.service", true)},
			Activation{
				Way: RunCommand, Unit: "ejabberd.service", Command: []string{"ejabberdctl", "reload_config"},
				Why: "ejabberdctl reload_config ends well even where a certificate was not taken; only the probes tell",
			}, nil, nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.facts.Systemd = true
			plan, err := generic{}.Plan(test.target, lineage.Lineage{Name: "web.example"}, test.facts)
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

// A signal that a program does not handle ends it.
func TestPresetSignalsOnlyItsProgram(t *testing.T) {
	coturn := presetTarget("coturn", nil)
	facts := Facts{Systemd: true, Unit: up("coturn.service", false)}
	if diff := cmp.Diff([]string{"/proc/7/comm"}, generic{}.Wants(coturn, facts).Texts); diff != "" {
		t.Error(diff)
	}
	for _, comm := range []string{"", "sh\n", "turnserverd\n"} {
		facts.Texts = map[string][]Text{"/proc/7/comm": {{Content: comm}}}
		plan, err := generic{}.Plan(coturn, lineage.Lineage{Name: "web.example"}, facts)
		want := &NoWayError{"web", "the main process of coturn.service is not turnserver, so it is sent no SIGUSR2", "set generic: {activate: [program, argument]} for this target", Reload}
		if diff := cmp.Diff(error(want), err); diff != "" {
			t.Errorf("%q: %+v\n%s", comm, plan.Activate, diff)
		}
	}
}

func TestPresetProbes(t *testing.T) {
	dovecot := presetTarget("dovecot", nil)
	facts := Facts{Systemd: true, Unit: up("dovecot.service", true)}
	if diff := cmp.Diff([]uint16{143, 993, 995}, generic{}.Wants(dovecot, facts).Ports); diff != "" {
		t.Error(diff)
	}
	facts.Listeners = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:143"), netip.MustParseAddrPort("[::]:993")}
	plan, err := generic{}.Plan(dovecot, lineage.Lineage{Name: "web.example"}, facts)
	if err != nil {
		t.Fatal(err)
	}
	want := []endpoint.Endpoint{{Scheme: "imap", Host: "127.0.0.1", Port: 143}, {Scheme: "tls", Host: "::1", Port: 993}}
	if diff := cmp.Diff(want, plan.Probes); diff != "" {
		t.Error(diff)
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
