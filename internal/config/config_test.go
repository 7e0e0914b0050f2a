package config

import (
	"bytes"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/all"
	"github.com/certlatch/certlatch/deployers/generic"
	"github.com/certlatch/certlatch/deployers/nginx"
	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/need"
	"github.com/certlatch/certlatch/internal/policy"
)

func mustParse(t *testing.T, data string) *Config {
	t.Helper()
	cfg, err := Parse("config.yaml", []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func root(kind, dir string) lineage.Root {
	keeper, _ := hooks.KeeperFor(kind)
	return keeper.Root(dir)
}

// TestExample reads the documented example, with a service and a probe that
// there are.
func TestExample(t *testing.T) {
	data, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Path:  "config.yaml",
		State: "/var/lib/certlatch",
		Run:   "/run/certlatch",
		Roots: []lineage.Root{
			root("certbot", "/etc/letsencrypt/live"),
			root("acme.sh", "/root/.acme.sh"),
			root("lego", "/var/lib/lego/certificates"),
			root("dehydrated", "/var/lib/dehydrated/certs"),
			root("directory", "/srv/certs"),
		},
		Policy: Policy{Trust: "system"},
		Targets: []Target{{
			Target: deployers.Target{
				Name: "sip", Service: "generic", Lineage: "sip.example",
				Certificate: "/etc/kamailio/tls/fullchain.pem", Key: "/etc/kamailio/tls/privkey.pem",
				User: "root", Group: "kamailio", Mode: 0o640, Unit: "kamailio.service",
				Names:   []string{"sip.example"},
				Window:  &deployers.Window{From: 2 * time.Hour, To: 4*time.Hour + 30*time.Minute},
				Probes:  []endpoint.Endpoint{{Scheme: "tls", Host: "127.0.0.1", Port: 5061, Name: "sip.example"}},
				Contact: "voice team",
				Options: &generic.Options{Activate: []string{"kamcmd", "tls.reload"}},
			},
			Policy: Policy{Trust: "system"},
			Line:   12,
		}, {
			Target: deployers.Target{
				Name: "web", Service: "nginx", Lineage: "api.business.example",
				Directory: "/etc/nginx/tls/api.business.example",
				Mode:      0o640, Unit: "nginx.service",
				Options: &nginx.Options{Binary: "nginx", PID: "/run/nginx.pid"},
			},
			Policy: Policy{Trust: "system"},
			Line:   27,
		}},
	}
	if diff := cmp.Diff(want, mustParse(t, string(data))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

const head = "lineages: [certbot: /live, lego: /lego]\ntargets:\n- name: a\n  service: nginx\n  lineage: a.example\n  directory: /tls/a\n"

func TestKeys(t *testing.T) {
	tests := []struct {
		name, keys string
		got        func(Target) any
		want       any
	}{
		{"mode as a text", `mode: "0600"`, func(t Target) any { return t.Mode }, fs.FileMode(0o600)},
		{"mode as a number", `mode: 0600`, func(t Target) any { return t.Mode }, fs.FileMode(0o600)},
		{"mode left empty", `mode: ""`, func(t Target) any { return t.Mode }, fs.FileMode(0o640)},
		{"group as a number", `group: 33`, func(t Target) any { return t.Group }, "33"},
		{"contact that YAML takes for a date", `contact: 2001-01-01`, func(t Target) any { return t.Contact }, "2001-01-01"},
		{"one probe", `probe: https://[::1]`, func(t Target) any { return t.Probes }, []endpoint.Endpoint{{Scheme: "https", Host: "::1", Port: 443}}},
		{"no probe", `probe: []`, func(t Target) any { return t.ProveNothing }, true},
		{"probes to be found", `probe: ""`, func(t Target) any { return t.ProveNothing }, false},
		{"window over midnight", `window: 22:00-04:30`, func(t Target) any { return *t.Window }, deployers.Window{From: 22 * time.Hour, To: 4*time.Hour + 30*time.Minute}},
		{"names in one form", `names: [API.Example., "*.x.example", "::1"]`, func(t Target) any { return t.Names }, []string{"api.example", "*.x.example", "::1"}},
		{"anchor and alias", "names: &names [a.example]\n  policy: {accept: &codes [expired]}\n  nginx: {binary: &b nginx2, config: *b}", func(t Target) any { return t.Options }, &nginx.Options{Binary: "nginx2", Config: "nginx2", PID: "/run/nginx.pid"}},
		{"unit", `unit: nginx@2.service`, func(t Target) any { return t.Unit }, "nginx@2.service"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := mustParse(t, head+"  "+tt.keys+"\n")
			if diff := cmp.Diff(tt.want, tt.got(cfg.Targets[0])); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestLayoutByDefault wants no layout where a service has a place of its own
// for certificates.
func TestLayoutByDefault(t *testing.T) {
	got := mustParse(t, "lineages: [certbot: /live]\ntargets: [{name: a, service: prosody, lineage: '*'}]\n").Targets[0]
	want := [...]string{"", "/etc/prosody/certs/{lineage}.crt", "/etc/prosody/certs/{lineage}.key"}
	if layout := [...]string{got.Directory, got.Certificate, got.Key}; layout != want {
		t.Errorf("the layout is %q, want %q", layout, want)
	}
}

func TestPolicyIsLaidOver(t *testing.T) {
	const global = "policy: {trust: any, accept: [expired]}\n"
	tests := []struct {
		own  string
		want Policy
	}{
		{"{}", Policy{Trust: "any", Accept: []string{"expired"}}},
		{"{trust: /etc/roots.pem}", Policy{Trust: "/etc/roots.pem", Accept: []string{"expired"}}},
		{"{accept: [downgrade]}", Policy{Trust: "any", Accept: []string{"downgrade"}}},
		{"{accept: []}", Policy{Trust: "any"}},
	}
	for _, tt := range tests {
		cfg := mustParse(t, global+head+"  policy: "+tt.own+"\n")
		if diff := cmp.Diff(tt.want, cfg.Targets[0].Policy); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.own, diff)
		}
	}
}

func TestFatalCodes(t *testing.T) {
	for _, code := range fatalCodes() {
		if !slices.Contains(policy.Codes(), code) || policy.Acceptable(code) {
			t.Errorf("%s is no code that cannot be accepted", code)
		}
	}
}

// TestPathsApart wants no problem where two targets only seem to write one
// path.
func TestPathsApart(t *testing.T) {
	second := func(lineage, path string) string {
		return "- name: b\n  service: nginx\n  lineage: '" + lineage + "'\n  directory: " + path + "\n"
	}
	tests := []struct{ first, second string }{
		{"lineage: '*.sip.example'\n  directory: /tls/{lineage}", second("*.web.example", "/tls/{lineage}")},
		{"lineage: 'sip.*'\n  directory: /tls/{lineage}", second("web.*", "/tls/{lineage}")},
		{"lineage: 'sip.*'\n  directory: /tls/{lineage}", second("web.example", "/tls/{lineage}")},
		{"lineage: web.example\n  directory: /tls/{lineage}", second("sip.example", "/tls/{lineage}")},
		{"lineage: web.example\n  directory: /tls/web", second("sip.example", "/tls/web2")},
		{"lineage: '*'\n  directory: /tls/{lineage}", second("sip.example", "/tls/sip")},
	}
	for _, tt := range tests {
		mustParse(t, "lineages: [certbot: /live]\ntargets:\n- name: a\n  service: nginx\n  "+tt.first+"\n"+tt.second)
	}
}

func TestWants(t *testing.T) {
	tests := []struct {
		selector, client, name string
		want                   bool
	}{
		{"a.example", "certbot", "a.example", true},
		{"a.example", "certbot", "b.example", false},
		{"certbot:a.example", "certbot", "a.example", true},
		{"certbot:a.example", "lego", "a.example", false},
		{"*.example", "lego", "a.example", true},
		{"*.example", "lego", "a.b.example", true},
		{"*.example", "lego", "a.test", false},
		{"lego:*", "lego", "_.example.org", true},
		{"lego:*", "acme.sh", "_.example.org", false},
		{"[ab].example", "certbot", "b.example", true},
	}
	for _, tt := range tests {
		target := Target{Target: deployers.Target{Lineage: tt.selector}}
		if got := target.Wants(lineage.Lineage{Client: tt.client, Name: tt.name}); got != tt.want {
			t.Errorf("%s wants %s:%s: got %v", tt.selector, tt.client, tt.name, got)
		}
		other := Target{Target: deployers.Target{Lineage: "other.example"}}
		cfg := Config{Targets: []Target{other, target}}
		if got := cfg.Demand().Takes(lineage.Lineage{Client: tt.client, Name: tt.name}); got != tt.want {
			t.Errorf("%s takes %s:%s: got %v", tt.selector, tt.client, tt.name, got)
		}
		if got, want := target.IsGlob(), strings.ContainsAny(tt.selector, "*["); got != want {
			t.Errorf("%s is a glob: got %v", tt.selector, got)
		}
	}
}

func TestUsualPlaces(t *testing.T) {
	cfg, err := parse("config.yaml", []byte("policy: {}\n"), func(dir string) bool { return dir == "/root/.acme.sh" })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]lineage.Root{root("acme.sh", "/root/.acme.sh")}, cfg.Roots); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(filepath.Join(dir, "none.yaml"))
	if _, ok := errors.AsType[*MissingError](err); !ok || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want a *MissingError", err)
	}
	if _, err := Load(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory: got %v", err)
	}
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, []byte("# big\n"+strings.Repeat("#\n", maxSize)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || err.Error() != path+": the file is larger than 1 MiB; check that it is a configuration of certlatch" {
		t.Errorf("a large file: got %v", err)
	}
	if err := os.WriteFile(path, []byte(head), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Path != path || len(cfg.Targets) != 1 || len(cfg.Roots) != 2 {
		t.Errorf("got %+v", cfg)
	}
}

// TestLoadOnlyWhatRootWrites wants a configuration that others may write to be
// refused, since root runs what it says.
func TestLoadOnlyWhatRootWrites(t *testing.T) {
	need.Root(t)
	for _, test := range []struct {
		owner   int
		mode    fs.FileMode
		refused bool
	}{
		{0, 0o600, false},
		{0, 0o644, false},
		{0, 0o664, true},
		{0, 0o646, true},
		{1234, 0o600, true},
		{1234, 0o444, true},
	} {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := errors.Join(os.WriteFile(path, []byte(head), 0o600), os.Chmod(path, test.mode), os.Chown(path, test.owner, 0)); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		if refused := err != nil && strings.Contains(err.Error(), "others than root may write it"); refused != test.refused || err != nil && !refused {
			t.Errorf("one of uid %d, %v: %v", test.owner, test.mode, err)
		}
	}
}

func TestHostileFiles(t *testing.T) {
	const lines = 2000
	tests := []struct{ name, data, want string }{
		{"UTF-16", "\xff\xfea\x00", "config.yaml:1: the line holds bytes that are no text; save the file as plain text in UTF-8"},
		{"Latin-1", "state: /x\npolicy: {} # caf\xe9\n", "config.yaml:2: the line holds bytes that are no text; save the file as plain text in UTF-8"},
		{"long text", "state: /" + strings.Repeat("x", maxText), "config.yaml:1: state: the text is longer than 4096 bytes; shorten it"},
		{"list within itself", "targets: &all [*all]", "config.yaml:1: targets[0]: a block of keys is wanted here, not a list; write it as KEY: VALUE; the keys that this version of certlatch knows here are "},
		{
			"many aliases",
			"targets:\n- &t\n  names: &n [" + strings.Repeat("a,", lines) + "]\n" + strings.Repeat("- *t\n", lines),
			"config.yaml: the file holds 50000 keys and values or more, each use of an alias counted; use fewer aliases",
		},
		{
			"many aliases of unknown keys",
			"targets:\n- &t\n" + strings.Repeat("  a: b\n", lines) + strings.Repeat("- *t\n", lines),
			"config.yaml: the file holds 50000 keys and values or more, each use of an alias counted; use fewer aliases",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("config.yaml", []byte(tt.data))
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %.200v, want %s", err, tt.want)
			}
		})
	}
}

// TestForeignTexts wants the error of a service's own type about a wrong text
// to become a problem.
func TestForeignTexts(t *testing.T) {
	block := struct {
		Listen netip.Addr `yaml:"listen"`
	}{}
	var r report
	r.decode(r.read([]byte("listen: nowhere\n")), &block)
	want := []Problem{{Line: 1, Where: "listen", What: `ParseAddr("nowhere"): unable to parse IP`, Remedy: "correct the value"}}
	if diff := cmp.Diff(want, r.problems); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestShowEveryService wants every option of every service to have a type that
// can be read and shown.
func TestShowEveryService(t *testing.T) {
	for _, deployer := range all.Deployers() {
		checkShow(t, mustParse(t, strings.Replace(head, "nginx", deployer.Name(), 1)))
	}
}

func TestShow(t *testing.T) {
	example, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{
		string(example),
		"lineages: []\n",
		head + "  probe: []\n  names: [a.example]\n  window: 22:00-04:30\n  contact: '#1: \"x\"'\n",
		head + "  probe: ['https://[fe80::1%25eth0]:8443?name=a.example&key=rsa']\n  policy: {accept: [expired, downgrade], trust: /x}\n",
	} {
		checkShow(t, mustParse(t, data))
	}
}

func TestShowExample(t *testing.T) {
	example, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	if err := mustParse(t, string(example)).Show(&shown); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/shown.yaml", shown.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/shown.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), shown.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// checkShow wants what Show writes to be read back as the same configuration.
func checkShow(t *testing.T, cfg *Config) {
	t.Helper()
	var shown bytes.Buffer
	if err := cfg.Show(&shown); err != nil {
		t.Fatal(err)
	}
	again, err := Parse(cfg.Path, shown.Bytes())
	if err != nil {
		t.Fatalf("%v\n%s", err, &shown)
	}
	ignoreLine := cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "Targets.Line" }, cmp.Ignore())
	if diff := cmp.Diff(cfg, again, ignoreLine); diff != "" {
		t.Errorf("-parsed +shown and parsed again:\n%s\n%s", diff, &shown)
	}
}

// FuzzParse wants Parse to bear any bytes, and to read back what Show writes of
// a configuration that it accepted.
func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte(head))
	f.Add([]byte(head + "  names: &n [a.example]\n  policy: {accept: [expired]}\n  generic: *n\n"))
	f.Add([]byte(head + "  probe: ['https://[fe80::1%25eth0]:8443?name=a.example&key=rsa']\n  window: 22:00-04:30\n  mode: 0600\n"))
	f.Add([]byte("--- # nothing\n...\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse("config.yaml", data)
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("%v is no *Error", err)
			}
			return
		}
		checkShow(t, cfg)
	})
}

// TestStateOf finds the state directory of configurations that are wrong otherwise.
func TestStateOf(t *testing.T) {
	for text, want := range map[string]string{
		"state: /srv/state\nlinages: []\n":        "/srv/state",
		"state: \"/srv/a state\" # here\ntargets": "/srv/a state",
		"targets:\n  - state: /srv/state\n":       DefaultState,
		"state: srv\n":                            DefaultState,
		"state: /srv/../etc\n":                    DefaultState,
		"":                                        DefaultState,
	} {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := StateOf(path); got != want {
			t.Errorf("%q: %s instead of %s", text, got, want)
		}
		if err := os.Chmod(path, 0o666); err != nil {
			t.Fatal(err)
		}
		if got := StateOf(path); os.Geteuid() == 0 && got != DefaultState {
			t.Errorf("%q, which others may write: %s", text, got)
		}
	}
	if got := StateOf(filepath.Join(t.TempDir(), "nosuch")); got != DefaultState {
		t.Errorf("a file that is not there: %s", got)
	}
}
