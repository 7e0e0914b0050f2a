package nginx

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/sample"
	"github.com/certlatch/certlatch/internal/lineage"
)

// debian is how Debian 13's nginx.service starts nginx, and what the master calls itself
// then.
var debian = []string{"/usr/sbin/nginx", "-g", "daemon on; master_process on;"}

const debianTitle = "nginx: master process /usr/sbin/nginx -g daemon on; master_process on;"

// TestInvoked wants the options to be read as nginx does (ngx_get_options).
func TestInvoked(t *testing.T) {
	for _, test := range []struct {
		argv   []string
		spread bool
		want   string
	}{
		{debian, false, "/usr/sbin/nginx"},
		{strings.Fields(strings.TrimPrefix(debianTitle, masterTitle)), true, "/usr/sbin/nginx"},
		{[]string{"nginx", "-c", "/etc/nginx/edge.conf"}, false, "nginx -c /etc/nginx/edge.conf"},
		{[]string{"nginx", "-c/etc/nginx/edge.conf", "-p/srv", "-e", "stderr"}, false, "nginx -c /etc/nginx/edge.conf -p /srv -e stderr"},
		{[]string{"nginx", "-qc", "/x y.conf", "-g", "daemon off; pid /x.pid;"}, false, `nginx -c "/x y.conf" -g "pid /x.pid;"`},
		{strings.Fields("nginx -g pid /x.pid; daemon off;master_process  on; -p /srv"), true, `nginx -p /srv -g "pid /x.pid;"`},
		{[]string{"nginx", "-g"}, false, "nginx"},
		{[]string{"nginx", "-q", "stray"}, false, "nginx"},
	} {
		if got := invoked(test.argv, test.spread).String(); got != test.want {
			t.Errorf("%q: %s, want %s", test.argv, got, test.want)
		}
	}
}

// main returns the main process of a unit that calls itself something.
func main(title string) deployers.Process {
	return deployers.Process{PID: 63, Started: 7, Title: title, Program: "/usr/sbin/nginx", Unit: "nginx.service", Own: true}
}

// others returns a process as one of another user.
func others(p deployers.Process) deployers.Process {
	p.Own = false
	return p
}

// TestWhichNginx wants the nginx that runs to be the target's, or else the one that its
// unit starts.
func TestWhichNginx(t *testing.T) {
	up := func(argv ...string) deployers.Unit {
		return deployers.Unit{Name: "nginx.service", LoadState: "loaded", ActiveState: "active", CanReload: true, MainPID: 63, ExecStart: argv}
	}
	down := func(argv ...string) deployers.Unit {
		u := up(argv...)
		u.ActiveState, u.MainPID = "inactive", 0
		return u
	}
	byHand := func(pid int, unit, arguments string) deployers.Process {
		return deployers.Process{PID: pid, Started: 7, Title: masterTitle + arguments, Program: "/usr/sbin/nginx", Unit: unit, Own: true}
	}
	const reload, start = "reload nginx.service", "not now: service-inactive"
	for _, test := range []struct {
		name       string
		options    Options
		facts      deployers.Facts
		dump, does string
		notes      int // beside that the configuration was not printed
	}{
		{"as Debian has it", Options{}, deployers.Facts{Unit: up(debian...), Main: main(debianTitle), Master: 63}, "nginx -T -q", reload, 0},
		{"stopped", Options{}, deployers.Facts{Unit: down(debian...)}, "nginx -T -q", start, 0},
		{"another file", Options{}, deployers.Facts{Unit: down("/usr/sbin/nginx", "-c", "/e.conf")}, "nginx -T -q -c /e.conf", start, 0},
		{"another program", Options{}, deployers.Facts{Unit: down("/opt/nginx/sbin/nginx", "-p", "/srv")}, "/opt/nginx/sbin/nginx -T -q -p /srv", start, 0},
		{"a variable", Options{Config: "/o.conf"}, deployers.Facts{Unit: down("/usr/sbin/nginx", "-c", "$CONF")}, "nginx -T -q -c /o.conf", start, 0},
		{"a variable, and it runs", Options{}, deployers.Facts{Unit: up("/usr/sbin/nginx", "-c", "$CONF"), Main: main(masterTitle + "/usr/sbin/nginx -c /e.conf")}, "nginx -T -q -c /e.conf", reload, 0},
		{"a shell", Options{}, deployers.Facts{Unit: down("/bin/sh", "-c", "nginx")}, "nginx -T -q", start, 0},
		{"changed since", Options{}, deployers.Facts{Unit: up("/usr/sbin/nginx", "-c", "/e.conf"), Main: main(debianTitle)}, "nginx -T -q", reload, 1},
		{"without a title", Options{Config: "/o.conf"}, deployers.Facts{Unit: up()}, "nginx -T -q -c /o.conf", reload, 0},

		{"by hand", Options{}, deployers.Facts{Unit: down(debian...), Outside: []deployers.Process{byHand(9, "", "nginx")}}, "nginx -T -q", "send HUP to process 9", 1},
		{"by hand, another file", Options{}, deployers.Facts{Unit: down(debian...), Outside: []deployers.Process{byHand(9, "", "nginx -c /e.conf")}}, "nginx -T -q -c /e.conf", "send HUP to process 9", 1},
		{"by hand, another than the unit's", Options{}, deployers.Facts{Unit: down("/usr/sbin/nginx", "-c", "/e.conf"), Outside: []deployers.Process{byHand(9, "", "nginx")}}, "nginx -T -q -c /e.conf", start, 0},
		{"by another unit", Options{}, deployers.Facts{Unit: down(debian...), Outside: []deployers.Process{byHand(9, "certbot.service", "nginx")}}, "nginx -T -q", "send HUP to process 9", 1},
		{"another instance", Options{}, deployers.Facts{Unit: down(debian...), Outside: []deployers.Process{byHand(9, "edge.service", "/usr/sbin/nginx -c /e.conf")}}, "nginx -T -q", start, 0},
		{"two by hand", Options{}, deployers.Facts{Unit: down(debian...), Outside: []deployers.Process{byHand(8, "", "nginx"), byHand(9, "", "nginx")}}, "nginx -T -q", "not now: outside-unit", 0},
		{"two by hand, one of the PID file", Options{}, deployers.Facts{Unit: down(debian...), Master: 9, Outside: []deployers.Process{byHand(8, "", "nginx"), byHand(9, "", "nginx")}}, "nginx -T -q", "send HUP to process 9", 1},
		{"beside the unit's, by a PID file of its own", Options{PID: "/srv/nginx.pid"}, deployers.Facts{Unit: up(debian...), Main: main(debianTitle), Master: 9, Outside: []deployers.Process{byHand(9, "", "nginx -c /e.conf")}}, "nginx -T -q -c /e.conf", "send HUP to process 9", 1},
		{"the PID file is another's", Options{}, deployers.Facts{Unit: up("/usr/sbin/nginx", "-c", "/e.conf"), Main: main(masterTitle + "/usr/sbin/nginx -c /e.conf"), Master: 9, Outside: []deployers.Process{byHand(9, "", "nginx")}}, "nginx -T -q -c /e.conf", reload, 0},
		{"tried again and again", Options{}, deployers.Facts{Unit: func() deployers.Unit { u := up(debian...); u.ActiveState, u.MainPID = "activating", 0; return u }(), Outside: []deployers.Process{byHand(9, "", "nginx")}}, "nginx -T -q", "send HUP to process 9", 1},
		{"by hand, by another name", Options{}, deployers.Facts{Unit: down(debian...), Holders: []deployers.Process{byHand(9, "", "openresty")}}, "nginx -T -q", "send HUP to process 9", 1},
		{"something else has its ports", Options{}, deployers.Facts{Unit: down(debian...), Holders: []deployers.Process{{PID: 9, Title: "apache2 -k start"}}}, "nginx -T -q", "not now: service-inactive", 0},
		{"a user's, that has root's name", Options{}, deployers.Facts{Unit: down(debian...), Outside: []deployers.Process{others(byHand(9, "", "/home/u/nginx -c /home/u/x.conf"))}}, "nginx -T -q", start, 0},
		{"root's, that is no nginx", Options{}, deployers.Facts{Unit: down(debian...), Outside: []deployers.Process{{PID: 9, Started: 7, Title: masterTitle + "/home/u/nginx", Program: "/usr/bin/sudo", Own: true}}}, "nginx -T -q", start, 0},
		{"a main process that is not root's", Options{}, deployers.Facts{Unit: up(debian...), Main: others(main(masterTitle + "/home/u/nginx -c /home/u/x.conf"))}, "nginx -T -q", reload, 0},
		{"its program was replaced", Options{}, deployers.Facts{Unit: down(debian...), Outside: []deployers.Process{{PID: 9, Started: 7, Title: masterTitle + "nginx", Program: "/usr/sbin/nginx (deleted)", Own: true}}}, "nginx -T -q", "not now: outside-unit", 0},
		{"relative to a directory", Options{}, deployers.Facts{Unit: down(debian...), Outside: []deployers.Process{byHand(9, "", "nginx -p .")}}, "nginx -T -q -p .", "not now: outside-unit", 0},
		{"without a master process", Options{}, deployers.Facts{Unit: down(debian...), Outside: []deployers.Process{{PID: 9, Started: 7, Title: "nginx -c /e.conf", Program: "/usr/sbin/nginx", Own: true}}}, "nginx -T -q -c /e.conf", "send HUP to process 9", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.options.PID == "" {
				test.options.PID = defaultPID
			}
			test.options.Binary, test.facts.Systemd = "nginx", true
			target := sample.Target(Deployer{}, func(t *deployers.Target) { t.Options = &test.options })
			wants := Deployer{}.Wants(target, test.facts)
			if diff := cmp.Diff([][]string{strings.Fields(test.dump)}, wants.Commands); diff != "" {
				t.Error(diff)
			}
			plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "web.example"}, test.facts)
			if err != nil {
				t.Fatal(err)
			}
			if got := plan.Activate.String(); got != test.does {
				t.Errorf("activation: %s, want %s", got, test.does)
			}
			if plan.Activate.PID != plan.Of.Main && !strings.Contains(plan.Activate.String(), "outside-unit") {
				t.Errorf("the listeners of process %d count as its own", plan.Of.Main)
			}
			if plan.Activate.PID != 0 && plan.Activate.Started != 7 {
				t.Error("any process with that PID would do")
			}
			if len(test.facts.Holders) > 0 && plan.Activate.PID == 0 && (!strings.Contains(plan.Activate.Why, `process 9 ("apache2 -k start")`) || !strings.Contains(plan.Activate.Remedy, "ps 9")) {
				t.Errorf("%s; %s", plan.Activate.Why, plan.Activate.Remedy)
			} else if len(test.facts.Holders) == 0 && strings.Contains(plan.Activate.Remedy, "systemctl start") && !strings.Contains(plan.Activate.Remedy, "kill -QUIT") {
				t.Errorf("remedy: %s", plan.Activate.Remedy)
			}
			if notes := plan.Notes(); len(notes) != test.notes+1 {
				t.Errorf("notes: %q", notes)
			}
		})
	}
}

// TestGoesOn wants only those processes to count that serve.
func TestGoesOn(t *testing.T) {
	for title, want := range map[string]bool{
		debianTitle: true, "nginx -c /e.conf": true, "nginx -g daemon off;": true, "/usr/sbin/nginx": true, "nginx -p /test -q": true,
		"nginx -T -q": false, "nginx -qt": false, "nginx -s reload": false, "nginx -sreload": false, "nginx -c /e.conf -tq": false, "": false,
		"nginx: worker process": false, "nginx: worker process is shutting down": false, "nginx: cache manager process": false,
	} {
		if got := goesOn(title); got != want {
			t.Errorf("%q: %v", title, got)
		}
	}
}

// TestOptionsDiffer wants it to be said where the target's block has something else than
// what runs, and nothing where that comes to the same.
func TestOptionsDiffer(t *testing.T) {
	const title = masterTitle + "/opt/nginx -c conf/e.conf -p /srv"
	for _, test := range []struct {
		options Options
		said    string
	}{
		{Options{Config: "/srv/conf/e.conf", Prefix: "/srv/", Binary: "/opt/nginx"}, ""},
		{Options{Binary: "nginx"}, ""},
		{Options{Binary: "nginx", Config: "/srv/conf/x.conf"}, "the target's config is /srv/conf/x.conf"},
		{Options{Binary: "nginx", Prefix: "/usr"}, "the target's prefix is /usr"},
		{Options{Binary: "/usr/sbin/nginx"}, "the target's binary is /usr/sbin/nginx"},
	} {
		target := sample.Target(Deployer{}, func(t *deployers.Target) { t.Options = &test.options })
		facts := deployers.Facts{Systemd: true, Unit: running, Main: main(title), Outputs: map[string]deployers.Output{
			"/opt/nginx\x00-T\x00-q\x00-c\x00conf/e.conf\x00-p\x00/srv": {Stdout: "# configuration file /srv/conf/e.conf:\nevents {}\n"},
		}}
		plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "web.example"}, facts)
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		for _, note := range plan.Notes() {
			if strings.Contains(note, "what runs is what is read and tested") {
				said += note
			}
		}
		if (said == "") != (test.said == "") || !strings.Contains(said, test.said) {
			t.Errorf("%+v: %q", test.options, said)
		}
	}
}

// TestAsksOnce wants the usual nginx to be asked at once, and another only when it is
// known which one that is.
func TestAsksOnce(t *testing.T) {
	for unit, want := range map[string]int{"nginx.service": 1, "nginx@edge.service": 0} {
		target := sample.Target(Deployer{}, func(t *deployers.Target) { t.Unit = unit })
		if got := (Deployer{}.Wants(target, deployers.Facts{Systemd: true})).Commands; len(got) != want {
			t.Errorf("%s: %q", unit, got)
		}
	}
}

// TestDiscoverInstances wants a unit of another name to be an instance only if it starts
// nginx, and no other instance's configuration to be taken for that of one.
func TestDiscoverInstances(t *testing.T) {
	const dump = "# configuration file /etc/nginx/nginx.conf:\nhttp { server { listen 443 ssl; ssl_certificate a; ssl_certificate_key a.key; } }\n"
	for _, test := range []struct {
		name          string
		start         []string
		installed     bool
		uses, unknown int
	}{
		{"another program", []string{"/usr/bin/nginx-prometheus-exporter"}, false, 0, 1},
		{"nothing to do with it", []string{"/usr/bin/exporter"}, false, 0, 1},
		{"variables", []string{"/usr/sbin/nginx", "-c", "$CONF"}, true, 0, 1},
		{"itself", []string{"/usr/sbin/nginx", "-c", "/e.conf"}, true, 1, 0},
	} {
		target := deployers.Target{Service: "nginx", Unit: "nginx-x.service", Options: Deployer{}.Options()}
		found := Deployer{}.Discover(target, deployers.Facts{
			Systemd: true, Unit: deployers.Unit{Name: "nginx-x.service", LoadState: "loaded", ActiveState: "inactive", ExecStart: test.start},
			Outputs: map[string]deployers.Output{"nginx\x00-T\x00-q": {Stdout: dump}, "nginx\x00-T\x00-q\x00-c\x00/e.conf": {Stdout: dump}},
		})
		if found.Installed != test.installed || len(found.Uses) != test.uses || len(found.Unknown) != test.unknown {
			t.Errorf("%s: %+v", test.name, found)
		}
	}
}
