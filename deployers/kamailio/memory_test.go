package kamailio

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/sample"
	"github.com/certlatch/certlatch/internal/lineage"
)

// measured are Kamailios of Debian 13 (6.0.1, OpenSSL 3.5) that were told to
// reload until the first handshake failed.
var measured = []struct {
	servers, clients, processes int64
	total                       int64 // MB
	start, first, last          int64 // free at the start, after the first reload, and after the last
	failed                      int   // which reload that was
}{
	{1, 1, 25, 64, 58792688, 54853488, 12814032, 54},
	{2, 1, 25, 64, 56291696, 49846256, 12449008, 32},
	{3, 1, 25, 64, 53792528, 44847680, 11561504, 22},
	{10, 1, 25, 64, 36308960, 9851168, 9851168, 1},
	{1, 1, 17, 64, 60070192, 57390464, 8395984, 87},
	{1, 1, 25, 128, 125901600, 121962368, 12520192, 131},
	{3, 1, 25, 128, 120901392, 111956544, 11293056, 60},
	{5, 1, 13, 64, 55510272, 48254768, 5880960, 34},
	{1, 1, 25, 64, 59331360, 55909616, 12566048, 52}, // ECDSA, and no chain
}

// facts returns the facts of a Kamailio that was measured, with an amount of
// free memory; reloaded is whether it has reloaded since its start.
func (m sharedMemory) facts(servers int64, reloaded bool) deployers.Facts {
	tls := "[server:default]\n" + strings.Repeat("[server:any]\nserver_name = x\n", int(servers)-1)
	return with(factsOf(byFile, tls), func(f *deployers.Facts) {
		f.Answers[deployers.Query{Channel: ctl, Method: "tls.options"}] = deployers.Answer{Reply: fmt.Sprintf("config: /etc/kamailio/tls.cfg\nlow_mem_threshold1: %d\nlow_mem_threshold2: %d", m.threshold, m.threshold/2)}
		f.Answers[deployers.Query{Channel: ctl, Method: "core.ps"}] = deployers.Answer{Reply: strings.TrimSuffix(strings.Repeat("1\nx\n", int(m.processes)), "\n")}
		f.Answers[deployers.Query{Channel: ctl, Method: "core.shmmem"}] = deployers.Answer{Reply: fmt.Sprintf("total: %d\nfree: %d", m.total<<20, m.free)}
		f.Unit.Since = time.Unix(1000, 0)
		if reloaded {
			f.Activated = f.Unit.Since.Add(time.Hour)
		}
	})
}

// Whatever was measured, the reload that ended TLS is refused, and at most two
// before it that would have passed.
func TestMemoryMeasured(t *testing.T) {
	for i, test := range measured {
		m := sharedMemory{total: test.total, threshold: 512 << 10 * test.processes, processes: test.processes}
		lost := int64(0)
		if test.failed > 1 {
			lost = (test.first - test.last) / int64(test.failed-1)
		}
		fits := func(passed int) *int {
			m.free = test.first - int64(passed-1)*lost
			if passed == 0 {
				m.free = test.start
			}
			plan, err := Deployer{}.Plan(sample.Target(Deployer{}, nil), lineage.Lineage{}, m.facts(test.servers, passed > 0))
			if err != nil {
				t.Fatal(err)
			}
			if low := plan.Activate.Wait == deployers.SharedMemoryLow; low != (*plan.Activate.Left == 0) {
				t.Errorf("case %d: %d are left, and the activation is %s", i, *plan.Activate.Left, plan.Activate)
			}
			return plan.Activate.Left
		}
		refused := 0
		for refused < test.failed && *fits(refused) > 0 {
			refused++
		}
		if refused++; refused > test.failed || refused < test.failed-2 {
			t.Errorf("case %d: reload %d is the first that is refused, and %d the first that ends TLS", i, refused, test.failed)
		}
		for passed := range max(test.failed-2, 0) {
			// 17 KB is more than the average was, so that many are too few.
			left, passes := *fits(passed), test.failed-1-passed
			if left > passes || left < passes*9/10-3 {
				t.Errorf("case %d: after %d reloads %d are left, and %d passed", i, passed, left, passes)
			}
		}
	}
}

// With what a reload really cost, the first that fails is two, and what fits into
// what is free after the first, within one.
func TestMemoryArithmetic(t *testing.T) {
	for i, test := range measured {
		if test.failed == 1 {
			continue // there is no second that would tell its cost
		}
		m := sharedMemory{free: test.first, threshold: 512 << 10 * test.processes, lost: (test.first - test.last) / int64(test.failed-1)}
		if first := 2 + *m.left(); first < test.failed-1 || first > test.failed {
			t.Errorf("case %d: reload %d would be the first to fail, and %d was", i, first, test.failed)
		}
	}
}

// What makes a reload fit, or not.
func TestMemory(t *testing.T) {
	usual := sharedMemory{total: 64, free: 20 << 20, threshold: 13107200, processes: 25}
	says := func(f deployers.Facts, method, reply string) deployers.Facts {
		return with(f, func(f *deployers.Facts) {
			f.Answers[deployers.Query{Channel: ctl, Method: method}] = deployers.Answer{Reply: reply}
		})
	}
	arguments := func(f deployers.Facts, more ...string) deployers.Facts {
		return says(f, "core.arg", strings.Join(append([]string{"/usr/sbin/kamailio", "-f", "/etc/kamailio/kamailio.cfg"}, more...), "\n"))
	}
	version := func(f deployers.Facts, number string) deployers.Facts {
		return says(f, "core.version", "kamailio "+number+" (x86_64/linux) ")
	}
	thresholds := func(f deployers.Facts, first, second string) deployers.Facts {
		return says(f, "tls.options", "config: /etc/kamailio/tls.cfg\nlow_mem_threshold1: "+first+"\nlow_mem_threshold2: "+second)
	}
	short := usual
	short.free = 13 << 20
	long := usual
	long.free = 50 << 20
	const endless = -1
	for _, test := range []struct {
		name  string
		facts deployers.Facts
		left  int
	}{
		{"it has reloaded before", usual.facts(1, true), 8},
		{"it has not", usual.facts(1, false), 4},
		{"nobody knows when it started", with(usual.facts(1, true), func(f *deployers.Facts) { f.Unit.Since = time.Time{} }), 4},
		{"connections hold what is in use", says(usual.facts(1, true), "tls.info", "max_connections: 2048\nopened_connections: 3"), 4},
		{"it does not say whether they do", says(usual.facts(1, true), "tls.info", ""), 4},
		{"more profiles take more", usual.facts(3, true), 4},
		{"a whole set of them does not fit", usual.facts(3, false), 0},
		{"little is left", short.facts(1, true), 0},

		{"the allocator tlsf", arguments(usual.facts(1, true), "-x", "tlsf"), endless},
		{"in one word", arguments(usual.facts(1, true), "-xfm"), endless},
		{"by name qm", arguments(usual.facts(1, true), "-x", "qm"), 8},
		{"the allocator for private memory", arguments(usual.facts(1, true), "-X", "tlsf"), 8},
		{"tlsf, and little is left", arguments(short.facts(1, false), "-x", "tlsf"), 0},
		{"tlsf, and a set of three does not fit", arguments(usual.facts(3, false), "-x", "tlsf"), 0},

		{"5.6.3", version(usual.facts(1, true), "5.6.3"), 8},
		{"5.8.7", version(usual.facts(1, true), "5.8.7"), 8},
		{"5.8.8", version(usual.facts(1, true), "5.8.8"), endless},
		{"6.0.0", version(usual.facts(1, true), "6.0.0"), 8},
		{"6.0.5", version(usual.facts(1, true), "6.0.5"), 8},
		{"6.0.6", version(usual.facts(1, true), "6.0.6"), endless},
		{"6.1.0", version(usual.facts(1, true), "6.1.0"), endless},
		{"6.1.0, and little is left", version(short.facts(1, false), "6.1.0"), 0},
		{"6.2.0, of which nothing is known", version(short.facts(1, true), "6.2.0"), endless},
		{"one that does not say its version", says(usual.facts(1, true), "core.version", ""), 8},

		{"no thresholds", thresholds(short.facts(1, true), "0", "0"), 7},
		{"only that of connections that are up", thresholds(usual.facts(1, true), "0", "6553600"), 15},
		{"one that was raised", thresholds(usual.facts(1, true), "18874368", "0"), 1},
		{"none that it tells", thresholds(usual.facts(1, true), "-1", "-1"), 8},
		{"thresholds of nothing, and tlsf", arguments(thresholds(short.facts(1, false), "0", "0"), "-x", "tlsf"), endless},

		{"5.6 with more than its numbers hold", arguments(version(short.facts(1, true), "5.6.3"), "-m", "8192"), endless},
		{"6.0 with as much", arguments(short.facts(1, true), "-m", "8192"), 0},
		{"5.6 with numbers that wrapped", version(says(usual.facts(1, true), "core.shmmem", "total: -5\nfree: -9"), "5.6.3"), endless},
		{"less than nothing", says(usual.facts(1, true), "core.shmmem", "total: 67108864\nfree: -9223372036854776"), 0},
		{"it does not say", says(usual.facts(1, true), "core.shmmem", ""), endless},

		{"roots take a lot", with(long.facts(1, false), func(f *deployers.Facts) {
			f.Texts["/etc/kamailio/tls.cfg"] = []deployers.Text{{Path: "/etc/kamailio/tls.cfg", Content: "[client:default]\nca_list = roots.pem\n"}}
			f.Texts["/etc/kamailio/roots.pem"] = []deployers.Text{{Path: "/etc/kamailio/roots.pem", Content: strings.Repeat("x", 224449)}}
		}), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := Deployer{}.Plan(sample.Target(Deployer{}, nil), lineage.Lineage{}, test.facts)
			if err != nil {
				t.Fatal(err)
			}
			left := endless
			if plan.Activate.Left != nil {
				left = *plan.Activate.Left
			}
			if left != test.left {
				t.Errorf("%d are left instead of %d", left, test.left)
			}
			if warned := slices.ContainsFunc(plan.Checks, func(c deployers.Check) bool {
				return c.Level == deployers.Warned && strings.HasPrefix(c.Says, "its shared memory lasts for ")
			}); warned != (test.left > 0 && test.left <= 10) {
				t.Errorf("it is warned: %v", warned)
			}
		})
	}
}

// What is done where a reload does not fit, and what is said.
func TestMemoryShort(t *testing.T) {
	const (
		why  = "a reload may take 3.9 MB of shared memory for its 25 processes, and 14.0 MB are free: below 12.5 MB Kamailio closes every new TLS connection"
		cure = "restart kamailio.service when it suits, or set allow_restart: true for target web; for good, upgrade Kamailio to 5.8.8, 6.0.6 or 6.1.0, or start it with -x tlsf, or with more (Debian: SHM_MEMORY= in /etc/default/kamailio); for now, kamcmd cfg.seti tls low_mem_threshold1 0 and kamcmd cfg.seti tls low_mem_threshold2 0 let it serve on, until nothing is left at all"
	)
	short := sharedMemory{total: 64, free: 14 << 20, threshold: 13107200, processes: 25}.facts(1, false)
	tiny := sharedMemory{total: 16, free: 14 << 20, threshold: 13107200, processes: 25}.facts(1, false)
	allowed := func(t *deployers.Target) { t.AllowRestart = true }
	none := new(int)
	for _, test := range []struct {
		name   string
		change func(*deployers.Target)
		facts  deployers.Facts
		want   deployers.Activation
	}{
		{"it waits", nil, short, deployers.Activation{Way: deployers.NoWay, Unit: "kamailio.service", Wait: deployers.SharedMemoryLow, Why: why, Remedy: cure, Spends: true, Left: none}},
		{"it is restarted", allowed, short, deployers.Activation{Way: deployers.RestartUnit, Unit: "kamailio.service", Why: why + "; allow_restart is set, so it is restarted", Spends: true, Left: none}},
		{"a restart would not help", allowed, tiny, deployers.Activation{
			Way: deployers.NoWay, Unit: "kamailio.service", Wait: deployers.SharedMemoryLow, Why: why, Spends: true, Left: none,
			Remedy: "start it with more (Debian: SHM_MEMORY= in /etc/default/kamailio); a restart without that would end its TLS",
		}},
		{"nothing can restart it", allowed, with(short, func(f *deployers.Facts) { f.Systemd, f.Unit = false, deployers.Unit{} }), deployers.Activation{Way: deployers.NoWay, Unit: "kamailio.service", Wait: deployers.SharedMemoryLow, Why: why, Remedy: cure, Spends: true, Left: none}},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := Deployer{}.Plan(sample.Target(Deployer{}, test.change), lineage.Lineage{}, test.facts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, plan.Activate); diff != "" {
				t.Error(diff)
			}
		})
	}
}
