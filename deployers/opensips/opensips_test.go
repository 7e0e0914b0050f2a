package opensips

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/sample"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

var (
	running  = deployers.Unit{Name: "opensips.service", LoadState: "loaded", ActiveState: "active", MainPID: 52, User: "opensips", Group: "opensips"}
	miFIFO   = deployers.Channel{Protocol: deployers.MIFIFO, Address: "/run/opensips/opensips_fifo", ReplyDir: "/tmp"}
	miSilent = deployers.Answer{Err: "open /run/opensips/opensips_fifo: no such file or directory"}
)

// noMI is the remedy where a target named web cannot be asked.
const noMI = "set opensips: {mi: ..., reply_dir: ...} of target web to the fifo_name and reply_dir of its module mi_fifo, where both see /run/opensips and /tmp (PrivateTmp= hides /tmp), or see whether it hangs (journalctl -u opensips.service)"

// scriptOfTwo has a server domain, and a client's.
const scriptOfTwo = `
modparam("tls_mgm", "server_domain", "sip")
modparam("tls_mgm", "certificate", "[sip]/path/fullchain.pem")
modparam("tls_mgm", "private_key", "[sip]/path/privkey.pem")
`

// tlsList is what OpenSIPS 3.6.8 says of a domain named sip.
func tlsList(t testing.TB, kind string, replace ...string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/tls_list-" + kind + "-3.6.8.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(replace...).Replace(string(text))
}

// factsOf returns the facts of a running OpenSIPS of a version.
func factsOf(version, list string) deployers.Facts {
	return deployers.Facts{
		Systemd: true, Unit: running,
		Listeners: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:5061")},
		Answers: map[deployers.Query]deployers.Answer{
			{Channel: miFIFO, Method: "version"}:  {Reply: "Server: OpenSIPS (" + version + " (x86_64/linux))"},
			{Channel: miFIFO, Method: "tls_list"}: {Reply: list},
		},
	}
}

// inScript returns a target whose files OpenSIPS's script names.
func inScript(t *deployers.Target) {
	t.Probes = nil
	t.Certificate, t.Key = "/path/fullchain.pem", "/path/privkey.pem"
}

// inDatabase returns a target with a row.
func inDatabase(reload Reload) func(*deployers.Target) {
	return func(t *deployers.Target) {
		t.Probes, t.Certificate, t.Key = nil, "", ""
		options := t.Options.(*Options)
		options.Database, options.Domain, options.Reload = "mysql://opensips:secret@localhost/opensips", "sip", reload
	}
}

func TestActivation(t *testing.T) {
	database, script := tlsList(t, "database"), tlsList(t, "script")
	reload := deployers.Activation{
		Way: deployers.CallControl, Unit: "opensips.service", Calls: []deployers.Query{{Channel: miFIFO, Method: "tls_reload"}}, Success: "OK",
		Faults: reloadFaults(), FaultKeepsOld: true,
		After: []deployers.Expect{{
			Query: deployers.Query{Channel: miFIFO, Method: "tls_list"}, Contains: "name: sip\ntype: TLS_DOMAIN_SRV\n",
			Reason: "domain-dropped", Says: "OpenSIPS does not list the domain sip any more", Remedy: "OpenSIPS could not use the row of domain sip; its log tells why",
		}},
	}
	beside := reload
	for _, other := range []struct{ name, kind string }{{"other", "TLS_DOMAIN_SRV"}, {"sip", "TLS_DOMAIN_CLI"}} {
		beside.After = append(slices.Clip(beside.After), deployers.Expect{
			Query: deployers.Query{Channel: miFIFO, Method: "tls_list"}, Contains: "name: " + other.name + "\ntype: " + other.kind + "\n",
			Reason: "other-domain-dropped",
			Says:   "OpenSIPS has dropped another domain of its database, " + other.name + " (" + other.kind + "): it has no TLS now",
			Remedy: "correct the row of " + other.name + " in table tls_mgm (OpenSIPS's log tells what it could not use), then have it reloaded (MI command tls_reload)",
			Warn:   true,
		})
	}
	waits := func(why string) deployers.Activation {
		return deployers.Activation{Way: deployers.NoWay, Unit: "opensips.service", Wait: deployers.RestartNotAllowed, Why: why}
	}
	allowed := func(change func(*deployers.Target)) func(*deployers.Target) {
		return func(t *deployers.Target) {
			change(t)
			t.AllowRestart = true
		}
	}
	const (
		scriptWhy = "OpenSIPS reads the files that its script names only when it starts"
		crashWhy  = "OpenSIPS 4.1.0-dev may crash on tls_reload, as all do from 4.0 on"
	)
	unknown := func(why string) deployers.Activation {
		a := waits(why)
		a.Remedy = "restart opensips.service when it suits, or set opensips: {reload: always} for target web if this version bears tls_reload, never if it does not"
		return a
	}
	restart := deployers.Activation{Way: deployers.RestartUnit, Unit: "opensips.service", Why: scriptWhy + "; allow_restart is set, so it is restarted"}
	fresh := restart // of a domain of the database
	fresh.Why, fresh.After = crashWhy+"; allow_restart is set, so it is restarted", reload.After
	without := factsOf("4.1.0-dev", "")
	without.Texts = map[string][]deployers.Text{scriptPath: {{Path: scriptPath, Content: scriptOfTwo}}}
	unreachable := factsOf("", "")
	unreachable.Answers = map[deployers.Query]deployers.Answer{{Channel: miFIFO, Method: "version"}: miSilent, {Channel: miFIFO, Method: "tls_list"}: miSilent}
	unversioned := factsOf("", database)
	unversioned.Answers[deployers.Query{Channel: miFIFO, Method: "version"}] = deployers.Answer{Fault: "Method not found"}
	hangs := factsOf("", "")
	hangs.Answers = map[deployers.Query]deployers.Answer{{Channel: miFIFO, Method: "version"}: {Err: "no answer", Sent: true}, {Channel: miFIFO, Method: "tls_list"}: {Err: "no answer", Sent: true}}
	mute := func(why string) error {
		return &deployers.UnreachableError{NoWayError: &deployers.NoWayError{Target: "web", Why: "OpenSIPS cannot be reached: " + why, Remedy: noMI, About: deployers.Control}}
	}
	script2, script1 := deployers.Text{Path: "/srv/sip.cfg", Content: scriptOfTwo}, deployers.Text{Path: scriptPath, Content: scriptOfTwo}
	written := unreachable
	written.Texts = map[string][]deployers.Text{scriptPath: {script1}}
	elsewhere := unreachable
	elsewhere.Argv, elsewhere.Texts = []string{"/usr/sbin/opensips", "-f", "/srv/sip.cfg"}, map[string][]deployers.Text{"/srv/sip.cfg": {script2}}
	stopped := unreachable
	stopped.Unit = deployers.Unit{Name: "opensips.service", LoadState: "loaded", ActiveState: "inactive"}
	missing := unreachable
	missing.Unit = deployers.Unit{Name: "opensips.service", LoadState: "not-found", ActiveState: "inactive"}
	bare := factsOf("3.6.8", database)
	bare.Systemd, bare.Unit = false, deployers.Unit{}
	for _, test := range []struct {
		name   string
		change func(*deployers.Target)
		facts  deployers.Facts
		want   deployers.Activation
		fails  error
	}{
		{"3.6 reads its database again", inDatabase(ReloadAuto), factsOf("3.6.8", database), reload, nil},
		{
			"and tells where another domain is dropped by that", inDatabase(ReloadAuto),
			factsOf("3.6.8", strings.Join([]string{
				tlsList(t, "database", "name: sip", "name: other"), database,
				tlsList(t, "database", "_SRV", "_CLI"), tlsList(t, "script", "name: sip", "name: files"),
			}, "\n")),
			beside, nil,
		},
		{"and needs no systemd for it", inDatabase(ReloadAuto), bare, reload, nil},
		{"nor a domain that is listed", inDatabase(ReloadAuto), factsOf("3.6.8", ""), reload, nil},
		{"unless it shall not", inDatabase(ReloadNever), factsOf("3.6.8", database), waits("opensips: {reload: never} is set"), nil},
		{"4.1 would crash", inDatabase(ReloadAuto), factsOf("4.1.0-dev", database), waits(crashWhy), nil},
		{
			"but not where it takes nothing from a database", allowed(inDatabase(ReloadAuto)), without,
			deployers.Activation{
				Way: deployers.NoWay, Unit: "opensips.service", Wait: deployers.RestartNotAllowed,
				Why:    scriptPath + " gives the module tls_mgm no db_url, so OpenSIPS takes no domain from a database, and a restart would be for nothing",
				Remedy: "set certificate and key for target web in place of opensips.database; or give tls_mgm the database, and restart opensips.service",
			}, nil,
		},
		{"so it is restarted", allowed(inDatabase(ReloadAuto)), factsOf("4.1.0-dev", database), fresh, nil},
		{"or asked for all that", inDatabase(ReloadAlways), factsOf("4.1.0-dev", database), reload, nil},
		{"one that cannot be asked is not told", inDatabase(ReloadAuto), unreachable, deployers.Activation{}, mute(miSilent.Err)},
		{"not to know is no reason to restart it", allowed(inDatabase(ReloadAuto)), unreachable, deployers.Activation{}, mute(miSilent.Err)},
		{"nor that it hangs", allowed(inDatabase(ReloadAuto)), hangs, deployers.Activation{}, mute("no answer")},
		{"nor a version that nobody knows", allowed(inDatabase(ReloadAuto)), unversioned, unknown(`the version of OpenSIPS is not known (OpenSIPS answers version with "Method not found"), and from 4.0 on it crashes on tls_reload`), nil},
		{"which does not matter where it is not to be reloaded", inDatabase(ReloadNever), hangs, waits("opensips: {reload: never} is set"), nil},
		{
			"a version that cannot be read may crash too", inDatabase(ReloadAuto), factsOf("devel", database),
			unknown(`the version of OpenSIPS is not known (OpenSIPS answers version with "Server: OpenSIPS (devel (x86_64/linux))"), and from 4.0 on it crashes on tls_reload`), nil,
		}, {
			"or one that is not told", inDatabase(ReloadAuto), unversioned,
			unknown(`the version of OpenSIPS is not known (OpenSIPS answers version with "Method not found"), and from 4.0 on it crashes on tls_reload`), nil,
		},
		{"and is called where it shall be", inDatabase(ReloadAlways), unreachable, reload, nil},
		{
			"a domain of the script has no row", inDatabase(ReloadAuto), factsOf("3.6.8", script), deployers.Activation{},
			&deployers.NoWayError{Target: "web", Why: "OpenSIPS's domain sip is one of its script, which takes /path/fullchain.pem and nothing from a database", Remedy: "set certificate and key for target web in place of opensips.database", About: deployers.Domains},
		},

		{"the script is read once", inScript, factsOf("3.6.8", script), waits(scriptWhy), nil},
		{
			"at a restart", allowed(inScript), factsOf("3.6.8", script),
			deployers.Activation{Way: deployers.RestartUnit, Unit: "opensips.service", Why: scriptWhy + "; allow_restart is set, so it is restarted"}, nil,
		},
		{"which needs no MI", inScript, unreachable, waits(scriptWhy), nil},
		{"but does to be told", allowed(inScript), unreachable, deployers.Activation{}, mute(miSilent.Err)},
		{"or the script tells that it takes the files", allowed(inScript), written, restart, nil},
		{"wherever it is", allowed(inScript), elsewhere, restart, nil},
		{
			"a start must fail with half a pair", allowed(inScript), factsOf("3.6.8", tlsList(t, "script", "/path/privkey", "/path/other")), deployers.Activation{},
			&deployers.NoWayError{Target: "web", Why: "domain sip takes /path/fullchain.pem with the key /path/other.pem, and the target has only one of the two, so OpenSIPS could not start with the new pair", Remedy: "let it name both files of one pair", About: deployers.Configuration},
		}, {
			"and would be for nothing with another", allowed(inScript), factsOf("3.6.8", tlsList(t, "script", "/path/", "/other/")),
			deployers.Activation{
				Way: deployers.NoWay, Unit: "opensips.service", Wait: deployers.RestartNotAllowed, Why: "no domain of OpenSIPS takes the files, so a restart would be for nothing",
				Remedy: "name the target's paths in its script, and restart opensips.service; certlatch deploy --pending then proves it",
			}, nil,
		},
		{
			"a domain of the database has no files", inScript, factsOf("3.6.8", database), deployers.Activation{},
			&deployers.NoWayError{Target: "web", Why: "OpenSIPS takes no certificate from files: its domains come from a database (it lists sip)", Remedy: "set opensips: {database: URL, domain: NAME} in place of the files of target web", About: deployers.Domains},
		},

		{"a stopped one takes its row at the start", inDatabase(ReloadAuto), stopped, deployers.Activation{Way: deployers.NoWay, Unit: "opensips.service", Wait: deployers.ServiceInactive}, nil},
		{"or its files", inScript, stopped, deployers.Activation{Way: deployers.NoWay, Unit: "opensips.service", Wait: deployers.ServiceInactive}, nil},
		{"a missing unit", inScript, missing, deployers.Activation{}, &deployers.UnitError{Unit: "opensips.service", LoadState: "not-found"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := Deployer{}.Plan(sample.Target(Deployer{}, test.change), lineage.Lineage{Name: "sip.example"}, test.facts)
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
	const filters = "*\n*\n"
	named := []string{filters, "192.0.2.1:5061\nSIP.example\n*.example\nnone\n"}
	probe := func(name string) []endpoint.Endpoint {
		return []endpoint.Endpoint{{Scheme: "sips", Host: "192.0.2.1", Port: 5061, Name: name}}
	}
	row := &deployers.Row{Database: "mysql://opensips:secret@localhost/opensips", Table: "tls_mgm", Domain: "sip", Type: 2}
	unreachable := factsOf("", "")
	unreachable.Answers = map[deployers.Query]deployers.Answer{{Channel: miFIFO, Method: "version"}: miSilent, {Channel: miFIFO, Method: "tls_list"}: miSilent}
	for _, test := range []struct {
		name   string
		change func(*deployers.Target)
		facts  deployers.Facts
		row    *deployers.Row
		probes []endpoint.Endpoint
		names  []string
		notes  []string
	}{
		{"a row", inDatabase(ReloadAuto), factsOf("3.6.8", tlsList(t, "database")), row, probe(""), nil, nil},
		{"a row with names", inDatabase(ReloadAuto), factsOf("3.6.8", tlsList(t, "database", named...)), row, probe("sip.example"), []string{"sip.example"}, nil},
		{
			"a row of another name", inDatabase(ReloadAuto), factsOf("3.6.8", tlsList(t, "database", "name: sip", "name: voice")), row, probe(""), nil,
			[]string{"OpenSIPS does not list a server domain sip now (it lists voice); set opensips: {domain: NAME} if it has another name; if its row could not be used, a good one brings it back"},
		}, {
			"a client's domain of that name", inDatabase(ReloadAuto), factsOf("3.6.8", tlsList(t, "database", "_SRV", "_CLI")), row, probe(""), nil,
			[]string{"OpenSIPS does not list a server domain sip now (it lists none); set opensips: {domain: NAME} if it has another name; if its row could not be used, a good one brings it back"},
		},
		{"files", inScript, factsOf("3.6.8", tlsList(t, "script", named...)), nil, probe("sip.example"), []string{"sip.example"}, nil},
		{
			"other files", inScript, factsOf("3.6.8", tlsList(t, "script", "/path/", "/etc/opensips/tls/")), nil, probe(""), nil,
			[]string{"OpenSIPS does not take its certificates from /path/fullchain.pem: domain sip takes /etc/opensips/tls/fullchain.pem; name the target's paths there, or those in the target"},
		}, {
			"half a pair", inScript, factsOf("3.6.8", tlsList(t, "script", "/path/privkey", "/path/other")), nil, probe(""), nil,
			[]string{"domain sip takes /path/fullchain.pem with the key /path/other.pem, and the target has only one of the two; let it name both files of one pair"},
		}, {
			"no domain", inScript, factsOf("3.6.8", ""), nil, probe(""), nil,
			[]string{"OpenSIPS lists no server domain, so nothing takes /path/fullchain.pem; define one in its script"},
		}, {
			"no answer", inScript, unreachable, nil, probe(""), nil,
			[]string{"OpenSIPS cannot be reached: open /run/opensips/opensips_fifo: no such file or directory, so it is not known which files its domains take; " + noMI},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := Deployer{}.Plan(sample.Target(Deployer{}, test.change), lineage.Lineage{Name: "sip.example"}, test.facts)
			if err != nil {
				t.Fatal(err)
			}
			for _, diff := range []string{
				cmp.Diff(test.row, plan.Row), cmp.Diff(test.probes, plan.Probes), cmp.Diff(test.names, plan.Names),
				cmp.Diff(test.names, plan.SIPDomains), cmp.Diff(test.notes, plan.Notes()),
			} {
				if diff != "" {
					t.Error(diff)
				}
			}
			if (plan.Row != nil) == (len(plan.Files) > 0) {
				t.Errorf("row %v and files %v", plan.Row, plan.Files)
			}
		})
	}
}

func TestDomainOfLineage(t *testing.T) {
	plan, err := Deployer{}.Plan(sample.Target(Deployer{}, func(target *deployers.Target) {
		inDatabase(ReloadAuto)(target)
		target.Options.(*Options).Domain = "tls-{lineage}"
	}), lineage.Lineage{Name: "sip.example"}, factsOf("3.6.8", ""))
	if err != nil || plan.Row.Domain != "tls-sip.example" {
		t.Errorf("got %+v, %v", plan.Row, err)
	}
}

func TestWants(t *testing.T) {
	for text, channel := range map[string]deployers.Channel{
		"fifo:/run/opensips/opensips_fifo": {Protocol: deployers.MIFIFO, Address: "/run/opensips/opensips_fifo", ReplyDir: "/tmp"},
		"unix:/run/opensips/mi.sock":       {Protocol: deployers.MIDatagram, Address: "/run/opensips/mi.sock"},
		"udp:127.0.0.1:8080":               {Protocol: deployers.MIDatagram, Address: "127.0.0.1:8080"},
		"udp:[::1]:8080":                   {Protocol: deployers.MIDatagram, Address: "[::1]:8080"},
		"http://127.0.0.1:8888/mi":         {Protocol: deployers.MIHTTP, Address: "http://127.0.0.1:8888/mi"},
	} {
		var mi MI
		if err := mi.UnmarshalText([]byte(text)); err != nil {
			t.Error(err)
			continue
		}
		if back, err := mi.MarshalText(); err != nil || string(back) != text {
			t.Errorf("%s becomes %s, %v", text, back, err)
		}
		got := Deployer{}.Wants(sample.Target(Deployer{}, func(t *deployers.Target) { t.Options.(*Options).MI = mi }), deployers.Facts{})
		want := deployers.Wants{Unit: "opensips.service", Argv: true, Ports: []uint16{5061}, Texts: []string{scriptPath}, Queries: []deployers.Query{{Channel: channel, Method: "version"}, {Channel: channel, Method: "tls_list"}}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	for _, text := range []string{"", "/run/opensips/opensips_fifo", "fifo:opensips_fifo", "unix:", "udp:127.0.0.1", "udp::8080", "udp:127.0.0.1:8080/x", "udp:h:99999999", "http:/mi", "http://user:secret@127.0.0.1/mi", "https://127.0.0.1/mi"} {
		mi := MI{}
		if err := mi.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken as %+v", text, mi)
		}
	}
}

func TestDiscover(t *testing.T) {
	sample.CheckUses(t, sample.Discover(Deployer{}, factsOf("3.6.8", tlsList(t, "script"))), []deployers.Use{
		{Where: "domain sip", Certificate: "/path/fullchain.pem", Key: "/path/privkey.pem", Note: scriptNote},
	})
	sample.CheckUses(t, sample.Discover(Deployer{}, factsOf("3.6.8", tlsList(t, "database"))), []deployers.Use{{
		Where: "domain sip", Domain: "sip", Note: rowNote, Incomplete: true,
		Settings: []deployers.Setting{{Key: "database", Value: "mysql://USER:PASSWORD@localhost/opensips"}, {Key: "domain", Value: "sip"}},
	}})

	stopped := deployers.Facts{Systemd: true, Unit: running, Answers: map[deployers.Query]deployers.Answer{{Channel: miFIFO, Method: "tls_list"}: miSilent}, Texts: map[string][]deployers.Text{}}
	if got := (Deployer{}).Wants(deployers.Target{Options: Deployer{}.Options()}, stopped).Texts; !cmp.Equal(got, []string{scriptPath}) {
		t.Errorf("a silent OpenSIPS's script is not asked for, but %q", got)
	}
	stopped.Texts[scriptPath] = []deployers.Text{{Path: scriptPath, Content: `
modparam("tls_mgm", "server_domain", "sip")
modparam("tls_mgm", "match_sip_domain", "[sip]SIP.example, *.other.example")
modparam("tls_mgm", "certificate", "[sip]/etc/opensips/tls/a.pem")
modparam("tls_mgm", "private_key", "[sip]/etc/opensips/tls/a.key")
# modparam("tls_mgm", "certificate", "[sip]/etc/opensips/tls/old.pem")
modparam("tls_mgm", "client_domain", "out")
modparam("tls_mgm", "certificate", "[out]/etc/opensips/tls/out.pem")
`}}
	sample.CheckUses(t, sample.Discover(Deployer{}, stopped), []deployers.Use{
		{Where: "domain sip", Certificate: "/etc/opensips/tls/a.pem", Key: "/etc/opensips/tls/a.key", Names: []string{"sip.example"}, Note: scriptNote},
	}, "OpenSIPS cannot be reached")
}

// TestProbes is about where a domain is looked for, among others.
func TestProbes(t *testing.T) {
	at := func(addresses ...string) (all []netip.AddrPort) {
		for _, address := range addresses {
			all = append(all, netip.MustParseAddrPort(address))
		}
		return all
	}
	domain := func(name, address string, filters ...string) tlsDomain {
		d := tlsDomain{name: name, values: map[string]string{"type": serverDomain}, filters: filters}
		if address != "" {
			d.addresses = at(address)
		}
		return d
	}
	for _, test := range []struct {
		name      string
		domains   []tlsDomain // of the first
		listeners []netip.AddrPort
		leaf      []string
		want      string
	}{
		{"alone", []tlsDomain{domain("a", "", "*")}, at("192.0.2.1:5061"), []string{"a.example"}, "sips://192.0.2.1:5061?name=a.example"},
		{"by address", []tlsDomain{domain("a", "192.0.2.1:5061", "*"), domain("b", "192.0.2.2:5061", "*")}, at("192.0.2.1:5061", "192.0.2.2:5061"), []string{"a.example"}, "sips://192.0.2.1:5061?name=a.example"},
		{"where no other names the address", []tlsDomain{domain("a", "", "*"), domain("b", "192.0.2.2:5061", "*")}, at("192.0.2.1:5061", "192.0.2.2:5061"), nil, "sips://192.0.2.1:5061"},
		{"at its address behind a listener for all", []tlsDomain{domain("a", "192.0.2.1:5061", "*"), domain("b", "192.0.2.2:5061", "*")}, at("0.0.0.0:5061"), []string{"a.example"}, "sips://192.0.2.1:5061?name=a.example"},
		{"of another port", []tlsDomain{domain("a", "192.0.2.1:5062", "*")}, at("192.0.2.1:5061"), nil, ""},
		{"by name", []tlsDomain{domain("a", "", "A.example", "b.example"), domain("b", "", "*")}, at("192.0.2.1:5061"), []string{"b.example"}, "sips://192.0.2.1:5061?name=a.example sips://192.0.2.1:5061?name=b.example"},
		{"by a name that no other has", []tlsDomain{domain("a", "", "*"), domain("b", "", "b.example"), domain("c", "", "*.c.example")}, at("192.0.2.1:5061"), []string{"b.example", "x.c.example", "*.example", "a.example"}, "sips://192.0.2.1:5061?name=a.example"},
		{"without a name of its own", []tlsDomain{domain("a", "", "*"), domain("b", "", "b.example")}, at("192.0.2.1:5061"), []string{"b.example"}, ""},
		{"only without a name", []tlsDomain{domain("a", "", "none")}, at("192.0.2.1:5061"), []string{"a.example"}, ""},
	} {
		var got []string
		for _, e := range (observed{domains: test.domains}).probes(test.domains[0], deployers.Facts{Listeners: test.listeners, Names: test.leaf}) {
			got = append(got, e.String())
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %q", test.name, got)
		}
	}
	list := tlsDomains("name: a\ntype: TLS_DOMAIN_SRV\n192.0.2.1:5061\n2001:DB8:0:0:0:0:0:1:5061\n*\nMETHOD: TLSv1_2\nname: b\ntype: TLS_DOMAIN_SRV\n*\n192.0.2.3:5061\n")
	want := at("192.0.2.1:5061", "[2001:db8::1]:5061")
	if len(list) != 2 || !slices.Equal(list[0].addresses, want) || !slices.Equal(list[0].filters, []string{"*"}) || list[1].addresses != nil || !slices.Equal(list[1].filters, []string{"192.0.2.3:5061"}) {
		t.Errorf("%+v", list)
	}
}

// scriptOfText returns what a script says.
func scriptOfText(text string) script {
	return read(deployers.Facts{Texts: map[string][]deployers.Text{scriptPath: {{Path: scriptPath, Content: text}}}})
}

// TestScript is about what a script says beside its domains.
func TestScript(t *testing.T) {
	s := scriptOfText(`
socket=udp:127.0.0.1:5060
socket=tls:127.0.0.1:5071 use_workers 2
 socket = "wss:[::1]"
listen=tls:eth0
# socket=tls:127.0.0.1:5099
db_default_url="mysql://other@localhost/x"
loadmodule "/usr/lib/opensips/modules/mi_fifo.so"
modparam("mi_fifo", "fifo_name", "/run/edge/fifo")
modparam("mi_fifo", "reply_dir", "/run/edge/")
modparam("tls_mgm", "db_url", "mysql://sip:p@ss/word@db.example:3307/sip")
modparam("tls_mgm", "db_table", "my_tls")
modparam("httpd", "port", 8080)
`)
	if want := []uint16{5071, 443, 5061}; !slices.Equal(s.ports(), want) {
		t.Errorf("ports %v", s.ports())
	}
	options := Deployer{}.Options().(*Options)
	if !s.channel(options) || options.MI.Address != "/run/edge/fifo" || options.ReplyDir != "/run/edge" {
		t.Errorf("%+v", options)
	}
	if got := s.database(); got != "mysql://sip:p%40ss%2Fword@db.example:3307/sip" || s.table() != "my_tls" {
		t.Errorf("%q, %s", string(got), s.table())
	}
	for text, want := range map[string]string{
		`modparam("tls_mgm", "db_url", "sqlite:///var/lib/sip.db")`:     "sqlite:///var/lib/sip.db",
		`modparam("tls_mgm", "db_url", "postgres://sip@localhost/sip")`: "postgres://sip@localhost/sip",
		`modparam("tls_mgm", "db_url", "text:///etc/opensips/dbtext")`:  "",
		`db_default_url="mysql://sip@localhost/sip"`:                    "",
	} {
		if got := scriptOfText(text).database(); string(got) != want {
			t.Errorf("%s: %q", text, string(got))
		}
	}
	for text, want := range map[string]string{
		"loadmodule \"mi_fifo.so\"": "fifo:/tmp/opensips_fifo",
		"loadmodule \"mi_datagram.so\"\nmodparam(\"mi_datagram\", \"socket_name\", \"udp:127.0.0.1:8080\")": "udp:127.0.0.1:8080",
		"loadmodule \"mi_datagram.so\"\nmodparam(\"mi_datagram\", \"socket_name\", \"/run/mi\")":            "unix:/run/mi",
		"loadmodule \"httpd.so\"\nloadmodule \"mi_http.so\"\nmodparam(\"httpd\", \"port\", 8080)":           "http://127.0.0.1:8080/mi",
	} {
		options := Deployer{}.Options().(*Options)
		is := scriptOfText(text).channel(options)
		if got, _ := options.MI.MarshalText(); !is || string(got) != want {
			t.Errorf("%s: %s", text, got)
		}
	}
	if scriptOfText("").channel(Deployer{}.Options().(*Options)) {
		t.Error("a script without a management interface has one")
	}
}

// TestNotOurs is about what is said where no domain of the script takes the files: only
// what is sure.
func TestNotOurs(t *testing.T) {
	silent := factsOf("", "")
	silent.Answers = map[deployers.Query]deployers.Answer{{Channel: miFIFO, Method: "version"}: miSilent, {Channel: miFIFO, Method: "tls_list"}: miSilent}
	others := tlsList(t, "script", "/path/", "/etc/opensips/tls/")
	for _, test := range []struct {
		name   string
		change func(*deployers.Target)
		facts  deployers.Facts
		want   bool
	}{
		{"another pair", inScript, factsOf("3.6.8", others), true},
		{"ours", inScript, factsOf("3.6.8", tlsList(t, "script")), false},
		{"half of ours", inScript, factsOf("3.6.8", tlsList(t, "script", "/path/privkey", "/path/other")), false},
		{"the other half of ours", inScript, factsOf("3.6.8", tlsList(t, "script", "/path/fullchain", "/path/other")), false},
		{"ours as a client", inScript, factsOf("3.6.8", others+"\n"+strings.Replace(tlsList(t, "script"), "_SRV", "_CLI", 1)), false},
		{"no answer", inScript, silent, false},
		{"a database", inDatabase(ReloadAuto), factsOf("3.6.8", tlsList(t, "database")), false},
	} {
		plan, err := Deployer{}.Plan(sample.Target(Deployer{}, test.change), lineage.Lineage{Name: "sip.example"}, test.facts)
		if err != nil {
			t.Fatal(err)
		}
		if got := plan.NotOurs != nil; got != test.want {
			t.Errorf("%s: %v; %q", test.name, plan.NotOurs, plan.Notes())
		}
	}
}
