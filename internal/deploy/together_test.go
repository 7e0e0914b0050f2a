package deploy

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/rows"
	"github.com/certlatch/certlatch/internal/state"
)

// shop is a service with many certificates in small. When it is activated it
// takes what is installed, but for what is in a file of that name:
//   - "poison": it fails while one of these is newly installed, and so does its
//     own test, where it has one, naming the file;
//   - "stuck": it goes on with what it has.
type shop struct {
	*Engine
	dir   string
	ca    *pki.CA
	names []string
}

// activation and ownTest are run with the directory and the new leaves' names.
const (
	activation = `#!/bin/sh
cd "$1" || exit 1
echo >> activations
for name in $(cat poison); do cmp -s "live/$name/fullchain.pem" "installed/$name.crt" && exit 1; done
for file in installed/*; do
	grep -qs "^$(basename "${file%.*}")\$" stuck || cp "$file" served/
done
`
	ownTest = `#!/bin/sh
cd "$1" || exit 1
echo >> tests
for name in $(cat poison); do
	cmp -s "live/$name/fullchain.pem" "installed/$name.crt" && echo "cannot use $1/installed/$name.crt" >&2 && exit 1
done
exit 0
`
)

// newShop makes a shop that serves the first leaves of its lineages, and then
// renews them all.
func newShop(t *testing.T, options string) *shop {
	t.Helper()
	s := &shop{dir: t.TempDir(), ca: pki.NewCA(t, "Root")}
	for _, dir := range []string{"installed", "served"} {
		if err := os.Mkdir(filepath.Join(s.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.write(t, "root.pem", string(s.ca.PEM()), 0o644)
	s.write(t, "activate", activation, 0o755)
	s.write(t, "test", ownTest, 0o755)
	s.write(t, "poison", "", 0o644)
	for _, letter := range "abcde" {
		s.names = append(s.names, string(letter)+".example")
	}
	text := fmt.Sprintf(`
state: %[1]s/state
lineages: [certbot: %[1]s/live]
policy: {trust: %[1]s/root.pem}
targets:
  - name: shop
    service: generic
    lineage: "*.example"
    certificate: %[1]s/installed/{lineage}.crt
    key: %[1]s/installed/{lineage}.key
    probe: ["tls://%[2]s"]
    generic: {activate: [%[1]s/activate, %[1]s]%[3]s}
`, s.dir, s.listen(t), strings.ReplaceAll(options, "DIR", s.dir))
	cfg, err := config.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	s.Engine = &Engine{Site: prepare.Site{Config: cfg, Store: store, Log: slog.New(slog.DiscardHandler), World: prepare.RealWorld(nil, rows.Databases{})}}
	s.renew(t, s.names...)
	s.expect(t, s.deploy(t, Request{}), "deployed deployed deployed deployed deployed")
	s.renew(t, s.names...)
	s.write(t, "activations", "", 0o644)
	return s
}

func (s *shop) write(t *testing.T, name, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func (s *shop) renew(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		pki.WriteCertbot(t, filepath.Join(s.dir, "live"), name, s.ca.Leaf(t, pki.Names(name)))
	}
}

// listen serves by SNI what the shop has taken.
func (s *shop) listen(t *testing.T) string {
	return pki.Serve(t, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		file := filepath.Join(s.dir, "served", hello.ServerName)
		pair, err := tls.LoadX509KeyPair(file+".crt", file+".key")
		return &pair, err
	}})
}

func (s *shop) deploy(t *testing.T, req Request) []outcome.Outcome {
	t.Helper()
	req.By = "test"
	req.Limits = Limits{Lock: time.Minute, Work: time.Minute, Total: 2 * time.Minute, Activation: 20 * time.Second, Proof: 2 * time.Second}
	report, err := s.Deploy(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return report.Outcomes
}

// expect compares the outcomes' results, in the order of the lineages.
func (s *shop) expect(t *testing.T, outcomes []outcome.Outcome, want string) {
	t.Helper()
	var got []string
	for _, o := range outcomes {
		got = append(got, string(o.Result))
	}
	if got := strings.Join(got, " "); got != want {
		t.Errorf("got %s, and not %s", got, want)
		for _, o := range outcomes {
			t.Logf("%s: %s (%s) at %s: %s", o.Lineage, o.Result, o.Reason, o.At, o.Detail)
		}
	}
}

// activated wants a number of activations since the last renewal.
func (s *shop) activated(t *testing.T, want int) {
	t.Helper()
	lines, err := os.ReadFile(filepath.Join(s.dir, "activations"))
	if err != nil || len(lines) != want {
		t.Errorf("%d activations instead of %d (%v)", len(lines), want, err)
	}
}

func (s *shop) records(t *testing.T) []state.Record {
	t.Helper()
	st, err := s.Site.Store.Load()
	if err != nil {
		t.Fatal(err)
	}
	return st.Records
}

// overdue lets the time of every next attempt have come.
func (s *shop) overdue(t *testing.T) {
	t.Helper()
	st, err := s.Site.Store.Load()
	if err != nil {
		t.Fatal(err)
	}
	for i := range st.Records {
		if p := st.Records[i].Pending; p != nil {
			past := time.Now().Add(-time.Second)
			p.Next = &past
		}
	}
	if err := s.Site.Store.Save(st); err != nil {
		t.Fatal(err)
	}
}

func TestManyLineagesOneActivation(t *testing.T) {
	s := newShop(t, "")
	s.expect(t, s.deploy(t, Request{}), "deployed deployed deployed deployed deployed")
	s.activated(t, 1)
}

// The service's own test is run once before and once after, whatever it serves.
func TestManyLineagesOneTest(t *testing.T) {
	s := newShop(t, ", test: [DIR/test, DIR]")
	s.write(t, "tests", "", 0o644)
	s.expect(t, s.deploy(t, Request{}), "deployed deployed deployed deployed deployed")
	if lines, err := os.ReadFile(filepath.Join(s.dir, "tests")); err != nil || len(lines) != 2 {
		t.Errorf("%d tests (%v)", len(lines), err)
	}
}

func TestOwnTestNamesTheCulprit(t *testing.T) {
	s := newShop(t, ", test: [DIR/test, DIR]")
	s.write(t, "poison", "a.example\nb.example\nd.example\ne.example\n", 0o644)
	outcomes := s.deploy(t, Request{})
	s.expect(t, outcomes, "rolled-back rolled-back deployed rolled-back rolled-back")
	s.activated(t, 1)
	if o := outcomes[1]; o.Reason != "test-failed" || !strings.Contains(o.Detail, "b.example.crt") {
		t.Errorf("%s: %s", o.Reason, o.Detail)
	}
}

func TestProbeNamesTheCulprit(t *testing.T) {
	s := newShop(t, "")
	s.write(t, "stuck", "c.example\n", 0o644)
	outcomes := s.deploy(t, Request{})
	s.expect(t, outcomes, "deployed deployed rolled-back deployed deployed")
	if o := outcomes[2]; o.Reason != "not-proven" {
		t.Errorf("%s: %s", o.Reason, o.Detail)
	}
	s.activated(t, 3) // all, back, and the others
}

// Nothing tells which lineage the activation fails for: all go back, and are
// tried one by one, with pauses between.
func TestNobodyNamesTheCulprit(t *testing.T) {
	s := newShop(t, "")
	s.write(t, "poison", "c.example\n", 0o644)
	s.expect(t, s.deploy(t, Request{}), "rolled-back rolled-back rolled-back rolled-back rolled-back")
	s.activated(t, 2) // there and back
	records := s.records(t)
	for i, record := range records {
		p := record.Pending
		if p == nil || !p.Alone || p.Reason != "command-failed" {
			t.Fatalf("%s is not to be tried alone: %+v", record.Lineage, p)
		}
		if i > 0 && p.Next.Sub(*records[0].Pending.Next) < time.Duration(i-1)*state.FirstRetry {
			t.Errorf("%s is tried together with others: %s and %s", record.Lineage, p.Next, records[0].Pending.Next)
		}
	}
	s.expect(t, s.deploy(t, Request{Pending: true}), "")
	s.activated(t, 2)

	// Their time has come: the first that fails ends it for this run.
	s.overdue(t)
	s.expect(t, s.deploy(t, Request{Pending: true}), "deployed deployed rolled-back")
	s.activated(t, 6)
	for _, record := range s.records(t)[3:] {
		if record.Pending == nil || record.Pending.Due(time.Now(), record.Pending.Fingerprint) {
			t.Errorf("%s was not put off: %+v", record.Lineage, record.Pending)
		}
	}

	// Somebody asks for all of it at once.
	s.expect(t, s.deploy(t, Request{Pending: true, All: true}), "rolled-back deployed deployed")
	s.activated(t, 10)

	// A newer leaf begins anew.
	s.renew(t, "c.example")
	s.write(t, "poison", "", 0o644)
	s.expect(t, s.deploy(t, Request{Pending: true}), "deployed")
}

// A lineage that cannot be installed does not keep the others from it.
func TestOneCannotBeInstalled(t *testing.T) {
	s := newShop(t, "")
	path := filepath.Join(s.dir, "installed", "a.example.key")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nowhere", path); err != nil {
		t.Fatal(err)
	}
	outcomes := s.deploy(t, Request{})
	s.expect(t, outcomes, "failed deployed deployed deployed deployed")
	if o := outcomes[0]; o.Reason != "path-refused" {
		t.Errorf("%s: %s", o.Reason, o.Detail)
	}
	s.activated(t, 1)
}

// Hooks that wait for the same lock are served by one run, whichever gets it
// first, and each is told about its own lineage.
func TestHooksShare(t *testing.T) {
	for _, test := range []struct {
		poison, want string
		activations  int
	}{
		{"", "deployed unchanged unchanged unchanged unchanged", 1},
		{"c.example\n", "rolled-back rolled-back rolled-back rolled-back rolled-back", 2},
	} {
		s := newShop(t, "")
		s.write(t, "poison", test.poison, 0o644)
		release, err := s.Site.Store.Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		results := make(chan []outcome.Outcome)
		for _, name := range s.names {
			go func() { results <- s.deploy(t, Request{Lineages: []string{name}, Coalesce: true}) }()
		}
		for {
			if marks, err := s.Site.Store.Marks(); err == nil && len(marks) == len(s.names) {
				break
			}
			time.Sleep(time.Millisecond)
		}
		release()
		told := map[string]bool{}
		var outcomes []outcome.Outcome
		for range s.names {
			own := <-results
			if len(own) != 1 || told[own[0].Lineage] {
				t.Fatalf("a hook was told %v", own)
			}
			told[own[0].Lineage] = true
			if own[0].Result == outcome.Deployed {
				outcomes = append(own, outcomes...)
			} else {
				outcomes = append(outcomes, own...)
			}
		}
		s.expect(t, outcomes, test.want)
		s.activated(t, test.activations)
		if marks, err := s.Site.Store.Marks(); err != nil || len(marks) != 0 {
			t.Errorf("marks are left: %v, %v", marks, err)
		}
	}
}

// A run for one target leaves what others were marked for.
func TestMarksOfOtherTargets(t *testing.T) {
	s := newShop(t, "")
	if err := s.Site.Store.Mark("certbot", "a.example"); err != nil {
		t.Fatal(err)
	}
	s.deploy(t, Request{Targets: []string{"shop"}})
	if marks, err := s.Site.Store.Marks(); err != nil || len(marks) != 1 {
		t.Errorf("the mark is gone: %v, %v", marks, err)
	}
	s.expect(t, s.deploy(t, Request{Pending: true}), "unchanged")
	if marks, err := s.Site.Store.Marks(); err != nil || len(marks) != 0 {
		t.Errorf("the mark is left: %v, %v", marks, err)
	}
}

// A hook that is called without need does not even take the lock.
func TestSettledWithoutRun(t *testing.T) {
	s := newShop(t, "")
	s.deploy(t, Request{})
	release, err := s.Site.Store.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { release() }()
	ask := Request{Lineages: []string{"a.example"}, Coalesce: true}
	s.expect(t, s.deploy(t, ask), "unchanged")
	if marks, err := s.Site.Store.Marks(); err != nil || len(marks) != 0 {
		t.Errorf("it was marked: %v, %v", marks, err)
	}

	// What would make a difference does.
	key := filepath.Join(s.dir, "installed", "a.example.key")
	for _, change := range []struct {
		name string
		make func() error
	}{
		{"another mode", func() error { return os.Chmod(key, 0o600) }},
		{"another target", func() error { s.Site.Config.Targets[0].Mode = 0o600; return nil }},
		{"another leaf", func() error { s.renew(t, "a.example"); return nil }},
		{"no key", func() error { return os.Remove(key) }},
	} {
		if err := change.make(); err != nil {
			t.Fatal(err)
		}
		if _, settled, err := s.skipOrMark(ask); err != nil || settled {
			t.Errorf("%s makes no difference (%v)", change.name, err)
		}
		release()
		s.expect(t, s.deploy(t, Request{Force: true}), "deployed deployed deployed deployed deployed")
		if release, err = s.Site.Store.Lock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, settled, err := s.skipOrMark(ask); err != nil || !settled {
			t.Fatalf("it is not settled: %v", err)
		}
	}
}

func TestNames(t *testing.T) {
	for _, test := range []struct {
		text string
		want bool
	}{
		{"cannot use /etc/a.crt: no such file", true},
		{"/etc/a.crt", true},
		{`"/etc/a.crt"`, true},
		{"/etc/a.crt.bak", false},
		{"/etc/a.crt-old", false},
		{"/etc/a.crt_old", false},
		{"/etc/a.crt/b", false},
		{"/etc/a.crt2", false},
		{"/etc/a.crtZ", false},
		{"/etc/a.crt.bak and /etc/a.crt", true},
		{"nothing", false},
	} {
		if got := names(test.text, "/etc/a.crt"); got != test.want {
			t.Errorf("%q: %v", test.text, got)
		}
	}
}

// Only the leaf that failed with others is tried alone.
func TestIsAlone(t *testing.T) {
	failed := func(alone bool) state.Record {
		return state.Record{Pending: &state.Pending{Failure: state.Failure{Fingerprint: "aa", Alone: alone}}}
	}
	for _, test := range []struct {
		record      state.Record
		fingerprint string
		want        bool
	}{{failed(true), "aa", true}, {failed(true), "bb", false}, {failed(false), "aa", false}, {state.Record{}, "", false}} {
		if got := isAlone(test.record, test.fingerprint); got != test.want {
			t.Errorf("%+v with %s: %v", test.record.Pending, test.fingerprint, got)
		}
	}
}

// What failed for a lineage that is gone is forgotten, and what was proven is not.
func TestForgetGone(t *testing.T) {
	s := newShop(t, "")
	s.expect(t, s.deploy(t, Request{}), "deployed deployed deployed deployed deployed")
	junk := filepath.Join(s.dir, "live", "junk.example")
	if err := os.Mkdir(junk, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"fullchain.pem", "privkey.pem"} {
		s.write(t, "live/junk.example/"+file, "junk", 0o600)
	}
	s.expect(t, s.deploy(t, Request{}), "unchanged unchanged unchanged unchanged unchanged refused")
	for _, name := range []string{"a.example", "junk.example"} {
		if err := os.RemoveAll(filepath.Join(s.dir, "live", name)); err != nil {
			t.Fatal(err)
		}
	}
	s.renew(t, "b.example") // what is forgotten is written with what else changes
	s.deploy(t, Request{})
	st, err := s.Site.Store.Load()
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, record := range st.Records {
		left = append(left, record.Lineage)
	}
	if got := strings.Join(left, " "); got != "a.example b.example c.example d.example e.example" {
		t.Errorf("there are records of %s", got)
	}
}
