package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/generic"
	"github.com/certlatch/certlatch/deployers/kamailio"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/process"
)

// This file is about when services are told, and how often.

// how lets the service be told in a way that is changed a little.
func how(change func(*deployers.Activation)) hook {
	return after(func(w *world) { change(&w.plan.Activate) })
}

// TestTwice is about services that may need a second activation.
func TestTwice(t *testing.T) {
	twice := how(func(a *deployers.Activation) { a.Twice = true })
	forEach(t, []way{
		{"once does", on{"before": twice}, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"twice does", on{"before": twice, "tell 1": ignored()}, "deployed", "bsctapr", "reload, reload", "new new new -", ""},
		{"neither does", on{"before": twice, "tell": ignored()}, "rolled-back (not-proven) at prove", "bsctaPur", "reload, reload, reload", "old old old again", ""},
		{"the first fails", on{"before": twice, "tell 1": fails(errors.New("no"))}, "rolled-back (activation-failed) at activate", "bsctAur", "reload, reload", "old old old again alone", ""},
		{"the second fails", on{"before": twice, "tell 1": ignored(), "tell 2": fails(jobEnded("failed"))}, "rolled-back (reload-failed) at prove", "bsctaPur", "reload, reload, reload", "old old old again alone", ""},
		{"it dies of the second", on{"before": twice, "tell 1": ignored(), "tell 2": crash}, "failed (service-crashed) at prove", "bsctaPr", "reload, reload", "new new old never", ""},
		{"it was never told", on{"before": sequence(twice, after(func(w *world) { w.nothing = true })), "begin": takesIt}, "deployed", "bsctapr", "", "new new new -", ""},
	}, func(*world) {})
}

// TestIntervals is about how long services are left alone between two activations.
// A unit is never restarted so often that systemd would refuse to start it again.
func TestIntervals(t *testing.T) {
	gap := how(func(a *deployers.Activation) { a.Gap = 20 * time.Second })
	last := func(ago time.Duration) hook {
		return after(func(w *world) { w.known.NoteActivation("unit web.service", time.Now().Add(-ago)) })
	}
	limit := func(burst uint32, interval time.Duration) hook {
		return after(func(w *world) { w.unit.StartLimitBurst, w.unit.StartLimitInterval = burst, interval })
	}
	restart := how(func(a *deployers.Activation) { a.Way = deployers.RestartUnit })
	unknown := fails(errors.New("no"))
	issued := issue(t)
	for _, test := range []struct {
		name  string
		on    on
		want  string
		at    string // when it was told
		noted bool
	}{
		{"no gap", on{"begin": last(time.Second)}, "deployed", "0s", false},
		{"a gap, and nothing before", on{"before": gap}, "deployed", "0s", true},
		{"a gap", on{"before": gap, "begin": last(4 * time.Second)}, "deployed", "16s", true},
		{"a gap that is over", on{"before": gap, "begin": last(20 * time.Second)}, "deployed", "0s", true},
		{"a gap, and back again", on{"before": gap, "begin": last(4 * time.Second), "tell 1": unknown}, "rolled-back (activation-failed) at activate", "16s 36s", true},
		{"a gap that the run is too short for", on{"before": sequence(gap, how(func(a *deployers.Activation) { a.Gap = 10 * time.Minute })), "begin": last(time.Second)}, "rolled-back (out-of-time) at activate", "", false},
		{"a gap that the way back is too short for", on{"before": how(func(a *deployers.Activation) { a.Gap = 3 * time.Minute }), "tell 1": sequence(goesSilent, unknown)}, "rollback-failed (not-proven) at prove", "0s", true},
		{"a second activation", on{"before": how(func(a *deployers.Activation) { a.Twice = true }), "tell 1": ignored()}, "deployed", "0s 2s", false},
		{"a proof that fails", on{"tell 1": ignored()}, "rolled-back (not-proven) at prove", "0s 10s", false},
		{"a proof that fails where nothing was before", on{"before": after(func(w *world) { w.first = true }), "tell 1": ignored(), "keep": fails(notKept)}, "failed (unexpected) at record", "0s 5s", false},
		{"an activation that takes too long", on{"tell 1": lasts(time.Hour)}, "rolled-back (out-of-time) at activate", "0s 25s", false},
		{"a gap, and nobody knows how often it may be restarted", on{"before": sequence(restart, gap), "unit 2": fails(errors.New("no bus"))}, "rolled-back (activation-failed) at activate", "", false},
		{"a gap, and nobody knows any more", on{"before": sequence(restart, gap), "unit 3": fails(errors.New("no bus")), "tell 1": unknown}, "rolled-back (activation-failed) at activate", "0s", true},
		{"restarts as often as one likes", on{"before": restart, "tell 1": unknown}, "rolled-back (activation-failed) at activate", "0s 0s", false},
		{"restarts within the usual limit", on{"before": sequence(restart, limit(5, 10*time.Second)), "tell 1": unknown}, "rolled-back (activation-failed) at activate", "0s 2s", true},
		{"reloads have none", on{"before": limit(5, 10*time.Second), "tell 1": unknown}, "rolled-back (activation-failed) at activate", "0s 0s", false},
		{"restarts within a limit and a gap", on{"before": sequence(restart, gap, limit(5, 10*time.Second)), "tell 1": unknown}, "rolled-back (activation-failed) at activate", "0s 20s", true},
		{"restarts within a limit longer than the run", on{"before": sequence(restart, limit(3, time.Hour)), "begin": last(time.Second)}, "rolled-back (out-of-time) at activate", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, issued, 1, func(w *world) {
				w.on = test.on
				began := time.Now()
				became := w.deploy()
				if got, at := verdict(became[0].outcome), strings.Join(w.at, " "); got != test.want || at != test.at {
					t.Errorf("%q at %q, and not %q at %q: %s", got, at, test.want, test.at, words(became[0].outcome))
				}
				if noted := !w.known.Activations["unit web.service"].Before(began); noted != test.noted {
					t.Errorf("noted is %v", w.known.Activations)
				}
			})
		})
	}
}

// TestNotNow is about activations that are put off: to a window, for what they
// would take away, and for what the service could not bear.
func TestNotNow(t *testing.T) {
	window := func(from, to time.Duration) hook {
		return after(func(w *world) { w.target.Window = &deployers.Window{From: from, To: to} })
	}
	other := func(says string, served bool) hook {
		e := endpoint.Endpoint{Scheme: "tls", Host: "127.0.0.1", Port: 8443, Name: "other.example"}
		return after(func(w *world) {
			w.plan.Test.Failures = `cannot .*`
			w.plan.Test.Others = []deployers.Other{{Name: "other.example", Says: says, Probes: []endpoint.Endpoint{e}}}
			if served {
				w.shown[e.String()] = w.issued.leaves["a.example"].old.Cert
			}
		})
	}
	warns := fails(outputError("other.example: cannot load\n"))
	spends := func(change func(*world)) hook {
		return after(func(w *world) {
			w.target.Options = &generic.Options{}
			w.plan.Activate.Spends = true
			change(w)
		})
	}
	notReloadable := func(w *world) { w.unit.CanReload = false }
	waits := func(w *world) {
		w.plan.Activate.Way, w.plan.Activate.Wait, w.plan.Activate.Why = deployers.NoWay, deployers.RestartNotAllowed, "only then"
	}
	forEach(t, []way{
		{"its window is closed", on{"before": window(3*time.Hour, 4*time.Hour)}, "deferred (outside-window)", "bsctar", "", "new old old again", ""},
		{"its window is open", on{"before": window(0, time.Hour)}, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"its window is closed, and it served it", on{"before": sequence(window(3*time.Hour, 4*time.Hour), after(func(w *world) { w.nothing = true })), "begin": takesIt}, "deployed", "bsctapr", "", "new new new -", ""},

		{"another host would go", on{"before": other(`^other\.example: `, true), "test 2": warns}, "rolled-back (test-failed) at test", "bscTur", "", "old old old again alone", ""},
		{"another host would go, but fails already", on{"before": other(`^other\.example: `, true), "test": warns}, "deferred (other-host-endangered)", "bsctar", "", "new old old again", ""},
		{"another host would go that is not served", on{"before": other(`^other\.example: `, false), "test": warns}, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"another host is well", on{"before": other(`^another: `, true), "test": warns}, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"a host that cannot be told", on{"before": other(`(`, true), "test": warns}, "rolled-back (activation-failed) at activate", "bsctAur", "", "old old old again alone", ""},

		{"it can be reloaded as planned", on{"before": spends(func(*world) {})}, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"it cannot be reloaded any more", on{"before": spends(func(*world) {}), "test": after(notReloadable)}, "waiting-restart (restart-not-allowed)", "bsctar", "", "new old old again", ""},
		{"it cannot be planned any more", on{"before": spends(func(*world) {}), "test": after(func(w *world) { w.unit.LoadState = "not-found" })}, "rolled-back (unit-not-found) at activate", "bsctAur", "", "old old old again alone", ""},
		{"it can be reloaded by now", on{"before": spends(waits)}, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"it still cannot be reloaded", on{"before": spends(func(w *world) { waits(w); notReloadable(w) })}, "waiting-restart (restart-not-allowed)", "bsctar", "", "new old old again", ""},
		{"it could not be planned by now", on{"before": spends(func(w *world) { waits(w); w.unit.LoadState = "masked" })}, "rolled-back (unit-unusable) at activate", "bsctAur", "", "old old old again alone", ""},
		{"it could be reloaded, but nobody looks", on{"before": after(waits)}, "waiting-restart (restart-not-allowed)", "bsctar", "", "new old old again", ""},
	}, func(*world) {})
}

// TestIntervalEnds ends the wait for a service where the run is.
func TestIntervalEnds(t *testing.T) {
	inWorld(t, issued{}, 0, func(w *world) {
		w.group()
		w.known.NoteActivation("unit web.service", time.Now())
		a := newAttempt([]prepared{{plan: deployers.Plan{Activate: deployers.Activation{Unit: "web.service", Gap: time.Minute}}}})
		ctx, cancel := context.WithCancel(w.t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		if err := w.run.waitMinInterval(ctx, a); !errors.Is(err, context.Canceled) || time.Since(began) != time.Second {
			t.Errorf("it ended after %s with %v", time.Since(began), err)
		}
	})
}

// TestReplanned is about a Kamailio whose memory is less by the time that its
// reload comes, or that the way back does.
func TestReplanned(t *testing.T) {
	kamailioWith := func(free string, restart bool) hook {
		return after(func(w *world) {
			w.target.Service, w.target.AllowRestart = "kamailio", restart
			w.target.Options = &kamailio.Options{RPC: kamailio.RPC{Protocol: deployers.JSONRPC, Address: "rpc"}, Config: "/nowhere/kamailio.cfg"}
			for method, reply := range map[string]string{
				"tls.options":  "config: /nowhere/tls.cfg\nlow_mem_threshold1: 13107200\nlow_mem_threshold2: 6553600",
				"core.version": "kamailio 6.0.1 (x86_64/linux)", "core.arg": "/usr/sbin/kamailio", "core.ps": fmt.Sprint(w.unit.MainPID, "\nmain process"),
				"core.shmmem": "total: 67108864\nfree: " + free, "tls.info": "opened_connections: 0",
				"tls.reload": "Ok. TLS configuration reloaded.",
			} {
				w.answers[method] = []deployers.Answer{{Reply: reply, Sent: true}}
			}
			w.plan.Activate = deployers.Activation{
				Way: deployers.CallControl, Unit: "web.service", Calls: []deployers.Query{{Channel: deployers.Channel{Address: "rpc"}, Method: "tls.reload"}}, Spends: true,
			}
		})
	}
	shrinks := answers("core.shmmem", deployers.Answer{Reply: "total: 67108864\nfree: 13200000"})
	limited := after(func(w *world) { w.unit.StartLimitBurst, w.unit.StartLimitInterval = 1, time.Hour })
	noted := after(func(w *world) { w.known.NoteActivation("unit web.service", time.Now().Add(-time.Minute)) })
	forEach(t, []way{
		{"enough", on{"before": kamailioWith("60000000", false)}, "deployed", "bsctapr", "call rpc", "new new new -", ""},
		{"too little", on{"before": kamailioWith("13200000", false)}, "waiting-restart (shared-memory-low)", "bsctar", "", "new old old again", ""},
		{"too little for another", on{"before": kamailioWith("60000000", false), "tell": sequence(shrinks, goesSilent)}, "rollback-failed (shared-memory-low) at prove", "bsctaPUr", "call rpc", "old - old again", ""},
		{"too little, and it may be restarted", on{"before": kamailioWith("13200000", true)}, "deployed", "bsctapr", "restart", "new new new -", ""},
		{"too little, and it may be restarted, but not so often", on{"before": sequence(kamailioWith("13200000", true), limited, noted)}, "rolled-back (out-of-time) at activate", "bsctAur", "", "old old old again alone", ""},
		{"too little for another, and its pair cannot be put back", on{"before": kamailioWith("60000000", false), "tell": sequence(shrinks, goesSilent), "undo": fails(lost)}, "rollback-failed (not-proven) at prove", "bsctaPUr", "call rpc", "new - old again", ""},
	}, func(*world) {})
}

// TestWindowOpens tries again what waits for its window as soon as that opens.
func TestWindowOpens(t *testing.T) {
	inWorld(t, issue(t), 1, func(w *world) {
		window := &deployers.Window{From: 3 * time.Hour, To: 4 * time.Hour}
		w.target.Window = window
		opens := window.Opens(time.Now())
		w.deploy()
		if next := w.known.Get("web", "a.example").Pending.Next; !next.Equal(opens) {
			t.Errorf("it opens at %s, and is tried at %s", opens, next)
		}
	})
}

// at lets found probes with some ports reach somebody else than the service.
func at(peer process.Peer, ports ...uint16) hook {
	return after(func(w *world) {
		for _, port := range ports {
			w.peers[port] = peer
		}
	})
}

// TestFound is about probes that are found and not written down. They are told by
// their ports.
func TestFound(t *testing.T) {
	ports := func(text string) (all []endpoint.Endpoint) {
		for _, port := range strings.Fields(text) {
			e, err := endpoint.Parse("tls://127.0.0.1:" + port + "?name=a.example")
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, e)
		}
		return all
	}
	issued := issue(t)
	stranger := pki.SelfSigned(t, pki.Names("a.example"))
	silence := after(func(w *world) { w.silence() })
	for _, test := range []struct {
		name         string
		found, deaf  string // the ports that are found, and those of them where nothing answers
		proved       string // the ports that proved it; "-": it was never proven
		on           on
		want, told   string
		now          string // the ports that are remembered of the proof in the end
		installed    string
		says         string
		first, twice bool
	}{
		{name: "all answer", found: "443 444", proved: "443 444", want: "deployed", told: "reload", now: "443 444", installed: "new"},
		{name: "one never did", found: "443 444", deaf: "444", proved: "443", says: "not: 444", want: "deployed", told: "reload", now: "443", installed: "new"},
		{name: "one does no more", found: "443 444", deaf: "444", proved: "443 444", says: "nothing answers; see why the service completes no TLS handshake (journalctl -u web.service)", want: "deployed", told: "reload", now: "443 444", installed: "new"},
		{name: "one is gone", found: "443", proved: "443 444", says: "not: 444", want: "deployed", told: "reload", now: "443", installed: "new"},
		{name: "one answers after it", found: "443 444", proved: "443", on: on{"begin": after(func(w *world) { delete(w.shown, tlsAt(444, "a.example").String()) })}, want: "deployed", told: "reload", now: "443 444", installed: "new"},
		{name: "one answers after it with another", found: "443 444", proved: "443", on: on{
			"begin": after(func(w *world) { delete(w.shown, tlsAt(444, "a.example").String()) }),
			"tell 1": func(_ context.Context, w *world) error {
				w.take()
				w.shown[tlsAt(444, "a.example").String()] = stranger.Cert
				return errIgnored
			},
		}, want: "rolled-back (not-proven) at prove", told: "reload, reload", now: "443", installed: "old"},
		{name: "one goes silent", found: "443 444", proved: "443 444", on: on{"tell 1": after(func(w *world) { w.deaf = []uint16{444}; delete(w.shown, tlsAt(444, "a.example").String()) }), "undo": after(func(w *world) { w.deaf = nil })}, want: "rolled-back (not-proven) at prove", told: "reload, reload", now: "443 444", installed: "old"},
		{name: "none answers, but after it", found: "443 444", proved: "443 444", on: on{"begin": silence}, want: "deployed", told: "reload", now: "443 444", installed: "new"},
		{name: "none answers, nor after it", found: "443 444", proved: "443 444", on: on{"begin": silence, "tell": ignored()}, says: "journalctl -u web.service", want: "rolled-back (outage) at prove", told: "reload, reload", now: "443 444", installed: "old"},
		{name: "none answers that was proven", found: "443 444", proved: "444", on: on{"begin": silence}, want: "deployed", told: "reload", now: "443 444", installed: "new"},
		{name: "none answers, and one of them never did", found: "443 444", deaf: "443", proved: "444", on: on{"begin": silence}, want: "deployed", told: "reload", now: "444", installed: "new"},
		{name: "none answers, and nothing was proven", found: "443 444", proved: "-", on: on{"begin": silence}, want: "deployed", told: "reload", now: "443 444", installed: "new"},
		{name: "none answers, and nothing was proven, nor after it", found: "443 444", proved: "-", on: on{"begin": silence, "tell": ignored()}, want: "rolled-back (not-proven) at prove", told: "reload, reload", now: "", installed: "old"},
		{name: "none is left", found: "", proved: "443", says: "journalctl -u web.service", want: "rolled-back (outage) at prove", told: "reload, reload", now: "443", installed: "old"},
		{name: "none was found", found: "", proved: "-", want: "failed (no-probe) at baseline", told: "", now: "", installed: "old"},
		{name: "none was found, of one that is stopped", found: "", proved: "443", on: on{"before": activated(notNow(deployers.ServiceInactive))}, want: "deferred (service-inactive)", told: "", now: "443", installed: "new"},
		{name: "what is left is another's", found: "", proved: "443", on: on{"begin": after(func(w *world) { w.shows("a.example", stranger) })}, want: "failed (outage) at baseline", told: "", now: "443", installed: "old"},
		{name: "a first one", found: "443 444", proved: "-", first: true, want: "deployed", told: "reload", now: "443 444", installed: "new"},
		{name: "a first one, and one does not answer", found: "443 444", deaf: "444", proved: "-", first: true, want: "deferred (first-install)", told: "reload", now: "", installed: "new"},
		{name: "a first one of a service that answers", found: "443 444", deaf: "444", proved: "-", first: true, on: on{"begin": after(func(w *world) { w.shows("a.example", stranger) })}, want: "deployed", told: "reload", now: "443", installed: "new"},
		{name: "one is at another host's address", found: "443 444", proved: "443 444", on: on{"before": at(process.NotHere, 444)}, says: "444?name=a.example: 127.0.0.1 is no address of this host now", want: "deployed", told: "reload", now: "443 444", installed: "new"},
		{name: "all are at another host's address", found: "443 444", proved: "443", on: on{"before": at(process.NotHere, 443, 444)}, want: "deferred (address-not-here)", told: "reload", now: "443", installed: "new"},
		{name: "all are, and a first one", found: "443", proved: "-", first: true, on: on{"before": at(process.NotHere, 443)}, want: "deferred (address-not-here)", told: "reload", now: "", installed: "new"},
		{name: "all are, and nothing was proven", found: "443", proved: "-", on: on{"before": at(process.NotHere, 443)}, want: "deferred (address-not-here)", told: "reload", now: "", installed: "new"},
		{name: "what is gone was there", found: "", proved: "443", on: on{"before": at(process.NotHere, 443), "begin": after(func(w *world) { w.shows("a.example", stranger) })}, want: "deferred (address-not-here)", told: "reload", now: "443", installed: "new"},
		{name: "one is left, and never did", found: "443 444", deaf: "444", proved: "-", on: on{"before": at(process.NotHere, 443)}, want: "deferred (address-not-here)", told: "reload", now: "", installed: "new"},
		{name: "the address leaves before the proof, and shows another", found: "443", proved: "443", on: on{"tell": sequence(at(process.NotHere, 443), ignored())}, want: "deferred (address-not-here)", told: "reload", now: "443", installed: "new"},
		{name: "the address leaves while it is proven", found: "443", proved: "443", on: on{"prove": at(process.NotHere, 443)}, want: "deferred (address-not-here)", told: "reload", now: "443", installed: "new"},
		{name: "the address leaves, and the activation fails", found: "443", proved: "443", on: on{"tell 1": sequence(at(process.NotHere, 443), fails(errors.New("no")))}, want: "rolled-back (activation-failed) at activate", told: "reload, reload", now: "443", installed: "old"},
		{name: "the address leaves, and the service dies", found: "443", proved: "443", on: on{"tell": sequence(at(process.NotHere, 443), crash)}, says: "it does not serve the new certificate", want: "failed (service-crashed) at prove", told: "reload", now: "443", installed: "old"},
		{name: "the address comes with the activation", found: "443", proved: "443", on: on{"before": at(process.NotHere, 443), "tell": at(process.Own, 443)}, want: "deployed", told: "reload", now: "443", installed: "new"},
		{name: "another process listens there", found: "443", proved: "-", on: on{"before": at(process.Another, 443)}, says: "another process than the service's listens there", want: "failed (no-probe) at baseline", told: "", now: "", installed: "old"},
		{name: "it has a network of its own", found: "443", proved: "-", on: on{"before": at(process.Apart, 443)}, says: "network namespace of its own", want: "deferred (network-apart)", told: "reload", now: "", installed: "new"},
		{name: "another process listens at one of them", found: "443 444", proved: "443", on: on{"before": at(process.Another, 444)}, want: "deployed", told: "reload", now: "443", installed: "new"},
		{name: "nobody can tell", found: "443 444", proved: "443 444", on: on{"peers": fails(errors.New("no netlink"))}, want: "deployed", told: "reload", now: "443 444", installed: "new"},
		{name: "one needs another activation", found: "443 444", proved: "443", twice: true, on: on{
			"begin": after(func(w *world) { delete(w.shown, tlsAt(444, "a.example").String()) }),
			"tell 1": func(_ context.Context, w *world) error {
				w.shown[tlsAt(443, "a.example").String()] = w.installed("a.example")
				return errIgnored
			},
		}, want: "deployed", told: "reload, reload", now: "443 444", installed: "new"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, issued, 1, func(w *world) {
				w.plan.Found, w.plan.Probes, w.on, w.first, w.plan.Activate.Twice = true, ports(test.found), test.on, test.first, test.twice
				for _, e := range ports(test.deaf) {
					w.deaf = append(w.deaf, e.Port)
				}
				w.noProofs = test.proved == "-"
				w.provedBy = ports(strings.TrimPrefix(test.proved, "-"))
				out := w.deploy()[0].outcome
				var now []string
				if proven := w.known.Get("web", "a.example").Proven; proven != nil {
					for _, text := range proven.Probes {
						e, err := endpoint.Parse(text)
						if err != nil {
							t.Fatal(err)
						}
						now = append(now, e.Address()[len("127.0.0.1:"):])
					}
				}
				slices.Sort(now)
				installed := w.whichLeaf("a.example", w.installed("a.example"))
				if got, told, now := verdict(out), strings.Join(w.told, ", "), strings.Join(now, " "); got != test.want || told != test.told || now != test.now || installed != test.installed {
					t.Errorf("want: %q, told: %q, now: %q, installed: %q\n%s", got, told, now, installed, words(out))
				}
				says, not := strings.CutPrefix(test.says, "not: ")
				if all := words(out); strings.Contains(all, says) == not && test.says != "" {
					t.Errorf("it says %s", all)
				}
			})
		})
	}
}
