package report

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/condition"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/inspect"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/proposal"
	"github.com/certlatch/certlatch/internal/served"
	"github.com/certlatch/certlatch/internal/srv"
	"github.com/certlatch/certlatch/internal/state"
)

var update = flag.Bool("update", false, "write testdata anew; whoever reads it relies on what changes then")

// golden wants a file of testdata to hold a text.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s (-has +shown):\n%s", path, diff)
	}
}

// shown returns views by the names of their files in testdata.
func shown(t *testing.T) map[string]View {
	views := map[string]View{
		"deploy-failure": Deployment{Failure: errors.New("read configuration: permission denied"), Exit: ExitUsage},
		"deploy-nothing": Deployment{},
		"deploy-brief":   Brief{Outcomes: outcomes(), Exit: ExitUndoFailed},
		"deploy":         Deployment{Outcomes: outcomes(), Exit: ExitUndoFailed},
		"deploy-dry-run": Deployment{Outcomes: planned(t)},

		"validate": Validation{"api.example", []inspect.Verdict{{Target: "web", Leaf: oldLeaf()}, {
			Target: "sip", Leaf: oldLeaf(), Findings: findings(),
		}}},
		"validations": Validations{Of: []Validation{
			{"certbot:api.example", []inspect.Verdict{{Target: "web", Leaf: oldLeaf()}, {Target: "sip", Leaf: oldLeaf(), Findings: findings()}}},
			{"certbot:good.example", []inspect.Verdict{{Leaf: newLeaf()}}},
			{"lego:web.example", []inspect.Verdict{{Leaf: newLeaf(), Findings: findings()[1:]}}},
			{"lego:unread.example", []inspect.Verdict{{Findings: findings()[:1]}}},
		}},
		"validations-all": Validations{Every: true, Of: []Validation{
			{"certbot:good.example", []inspect.Verdict{{Leaf: newLeaf()}}},
			{"lego:web.example", []inspect.Verdict{{Leaf: newLeaf(), Findings: findings()[1:]}}},
		}},
		"validations-none": Validations{Every: true},
		"validate-good":    Validation{"api.example", []inspect.Verdict{{Leaf: newLeaf()}}},
		"validate-unread":  Validation{"fullchain.pem", []inspect.Verdict{{Findings: findings()[:1]}}},

		"doctor":         Examined{Of: examinations()},
		"doctor-colours": Examined{Of: examinations(), Screen: Screen{Width: 60, Coloured: true}},
		"doctor-nothing": Examined{},

		"history": History{Entries: []state.Entry{
			{Time: noon, Target: "web", Lineage: "api.example", Generation: text("20261123T120000Z-1a2b3c4d"), Result: "rolled-back", Reason: text("not-proven"), Leaf: oldLeaf(), By: "hook certbot"},
			{Time: noon.Add(time.Hour), Target: "sip", Lineage: "sip.example", Result: "held", By: "deploy"},
			{Time: noon.Add(2 * time.Hour), Target: "web", Lineage: "api.example", Result: "deployed", Leaf: newLeaf(), By: "watch"},
		}},
		"history-nothing": History{},
		"history-damaged": History{Damaged: true},

		"probe":       Probe(probed()),
		"probe-good":  Probe{Seen: probe.Observation{Endpoint: endpointAt(t, "https://127.0.0.1?name=api.example"), Chain: nameless(), Version: tls.VersionTLS12, Cipher: tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}},
		"probe-error": Probe{Seen: probe.Observation{Endpoint: endpointAt(t, "smtp://127.0.0.1?name=mx.example"), Err: errors.New("smtp://127.0.0.1:25: the server said 554 \x1b]0;owned\a")}},
		"probe-dns": Domain{
			Kind: srv.SIP, Name: "example.org",
			Answers: []srv.Answer{
				{Name: "_sips._tcp.example.org", Service: "sips", Targets: []srv.Target{record()}},
				{Name: "_sip._tls.example.org", Service: "sips", Err: errors.New("the server does not answer")},
				{Name: "_sip._tcp.example.org", Service: "sip", Refused: true},
				{Name: "_sip._udp.example.org", Service: "sip"},
			},
			Probes: []served.Probe{probed(), {Seen: probe.Observation{Endpoint: endpointAt(t, "sips://192.0.2.2:5061?name=example.org"), Chain: nameless()}}},
		},
		"probe-dns-nothing": Domain{Kind: srv.XMPP, Name: "example.org", Answers: []srv.Answer{{Name: "_xmpp-client._tcp.example.org"}, {Name: "_xmpp-server._tcp.example.org"}}},
		"probe-dns-unasked": Domain{Kind: srv.XMPP, Name: "example.org", Probes: []served.Probe{{Seen: probe.Observation{Endpoint: endpointAt(t, "https://127.0.0.1"), Err: errors.New("no answer")}}}},
	}
	for width, screen := range map[string]Screen{"": {Width: 80}, "-wide": {Width: 120}, "-colours": {Width: 80, Coloured: true}} {
		views["status"+width] = Status{Inventory: Inventory{Seen: sightings(), Snapshot: "/run/certlatch/status.json"}, Now: noon.Add(time.Minute), Screen: screen}
	}
	at := "tls://127.0.0.1:443?name=shop.example"
	unclaimed := []state.Unclaimed{
		{Lineage: "a.example", Client: "certbot"}, {Lineage: "b.example", Client: "certbot"}, {Lineage: "b.example", Client: "acme.sh"},
		{Lineage: "c.example", Client: "certbot"}, {Lineage: "d.example", Client: "certbot"}, {Lineage: "shop.example", Client: "certbot", Served: &at},
	}
	views["status-unclaimed"] = Status{Inventory: Inventory{Seen: sightings()[:1], Unclaimed: unclaimed}, Now: noon, Screen: Screen{Width: 80}}
	views["status-changed"] = Status{Inventory: Inventory{Seen: changes()}, Now: noon, Screen: Screen{Width: 80}}
	views["status-nothing"] = Status{Now: noon, Screen: Screen{Width: 80}}
	return views
}

// TestViews compares what scripts and people read with golden files.
func TestViews(t *testing.T) {
	for name, view := range shown(t) {
		var asJSON, asText bytes.Buffer
		if err := errors.Join(Write(&asJSON, view, true), Write(&asText, view, false)); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", asJSON.String())
		golden(t, name+".txt", asText.String())
		if strings.ContainsAny(asText.String(), "\x1b\a\r\x00") && !strings.HasSuffix(name, "-colours") {
			t.Errorf("%s: a terminal may take this for a command: %q", name, asText.String())
		}
	}
}

// TestSchemas wants testdata to have each field of each schema with a value
// and, where it may have none, without, and the manual to name it.
func TestSchemas(t *testing.T) {
	manual, err := os.ReadFile("../../packaging/man/certlatch.8.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(manual), "\n# JSON\n")
	section, _, _ = strings.Cut(section, "\n# ")

	seen := map[string]map[string]bool{} // by schema and field: with a value, without
	for _, view := range shown(t) {
		var decoded map[string]any
		data, err := json.Marshal(view.JSON())
		if err == nil {
			err = json.Unmarshal(data, &decoded)
		}
		if err != nil {
			t.Fatal(err)
		}
		schema := fmt.Sprint(decoded["schema"])
		if seen[schema] == nil {
			seen[schema] = map[string]bool{}
		}
		note(seen[schema], "", reflect.ValueOf(view.JSON()))
	}
	if len(seen) != 7 {
		t.Errorf("these are not all schemas: %q", slices.Collect(maps.Keys(seen)))
	}
	for schema, fields := range seen {
		_, paragraph, ok := strings.Cut(section, "**"+schema+"**")
		if !ok {
			t.Errorf("the manual has no paragraph about %s", schema)
		}
		paragraph, _, _ = strings.Cut(paragraph, "\n**")
		general, _, _ := strings.Cut(section, "\n**")
		for field, shown := range fields {
			targetOfProbe := schema == probeSchema && strings.HasSuffix(field, "findings.target") // no target's policy is asked
			if !shown && !targetOfProbe {
				t.Errorf("%s: nothing in testdata shows this: %s", schema, field)
			}
			word := "*" + field[strings.LastIndex(field, ".")+1:] + "*"
			if !strings.HasSuffix(field, without) && !strings.Contains(general+paragraph, word) {
				t.Errorf("the manual does not say that %s has %s", schema, word)
			}
		}
	}
}

// without marks a field that has no value.
const without = " without a value"

// note sets which fields a value has and how they occur: found[".field"] where
// there is a value, and found[".field without a value"] where a field that may
// be null or empty is so. Where a type can show something that no value has
// shown yet, it sets false.
func note(found map[string]bool, path string, v reflect.Value) {
	show(found, path, v.Type())
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			note(found, path, v.Elem())
		}
	case reflect.Slice:
		for _, element := range v.Seq2() {
			note(found, path, element)
		}
	case reflect.Struct:
		for field, value := range fieldsOf(v) {
			at := path + "." + field
			empty := value.Kind() == reflect.Pointer && value.IsNil() || value.Kind() == reflect.Slice && value.Len() == 0
			if empty {
				at += without
			}
			found[at] = true
			note(found, path+"."+field, value)
		}
	}
}

// show adds the fields that a type can show, as not found yet.
func show(found map[string]bool, path string, of reflect.Type) {
	switch {
	case of.Kind() == reflect.Pointer, of.Kind() == reflect.Slice:
		show(found, path, of.Elem())
	case of.Kind() == reflect.Struct && of != reflect.TypeFor[time.Time]():
		for field, value := range fieldsOf(reflect.Zero(of)) {
			at, kind := path+"."+field, value.Kind()
			await(found, at)
			if kind == reflect.Pointer || kind == reflect.Slice {
				await(found, at+without)
			}
			show(found, at, value.Type())
		}
	}
}

// await adds something that is still to be found.
func await(found map[string]bool, what string) {
	if !found[what] {
		found[what] = false
	}
}

// fieldsOf returns the fields of a struct by their names in JSON.
func fieldsOf(v reflect.Value) map[string]reflect.Value {
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ","); name != "" {
			fields[name] = v.Field(i)
		}
	}
	return fields
}

// TestPluginLine compares the line of check with golden files.
func TestPluginLine(t *testing.T) {
	inventory := Inventory{Seen: sightings(), Snapshot: "/run/certlatch/status.json"}
	line, severity := Check{Inventory: inventory, Now: noon.Add(2 * time.Hour), MaxAge: UsualAge}.Line()
	golden(t, "check.txt", line+"\n")
	if severity != SeverityCritical {
		t.Error(severity)
	}
	line, severity = Check{Inventory: Inventory{Seen: sightings()[:1]}, Now: noon, MaxAge: UsualAge}.Line()
	golden(t, "check-good.txt", line+"\n")
	if severity != SeverityOK {
		t.Error(severity)
	}
	line, severity = Check{Inventory: Inventory{Seen: changes()}, Now: noon, MaxAge: UsualAge}.Line()
	golden(t, "check-changed.txt", line+"\n")
	if severity != SeverityCritical { // by what was refused
		t.Error(severity)
	}
	golden(t, "check-failure.txt", PluginFailure(errors.New("read x|y: permission\ndenied"), "run it with sudo")+"\n"+PluginFailure(errors.New("unexpected"), "")+"\n")
}

// TestNotices compares what status prints to standard error with golden files.
func TestNotices(t *testing.T) {
	ahead := sightings()
	ahead[0].Looked = noon.AddDate(1, 0, 0)
	var all []string
	for _, s := range []Status{
		{Inventory: Inventory{Seen: sightings(), Snapshot: "/run/certlatch/status.json"}, Now: noon.Add(UsualAge)},
		{Inventory: Inventory{Seen: sightings(), Snapshot: "/run/certlatch/status.json"}, Now: noon.Add(UsualAge + time.Second)},
		{Inventory: Inventory{Seen: ahead, Snapshot: "/run/certlatch/status.json"}, Now: noon},
		{Inventory: Inventory{Unread: errors.New("read state: it is empty"), Remedy: "certlatch deploy makes it anew"}, Now: noon},
	} {
		all = append(all, s.Notices()...)
	}
	golden(t, "status-notices.txt", strings.Join(all, "\n")+"\n")
}

// TestNextSteps compares what init prints last with golden files.
func TestNextSteps(t *testing.T) {
	found := proposal.Proposal{Unknown: []string{"prosody: cannot be asked"}, Targets: []proposal.Target{
		{Name: "sip", Lineage: "sip.example", Service: "kamailio", Idle: true, Steps: []proposal.Step{{Says: "name it", Lines: []string{"certificate = x"}}}},
		{Name: "web", Lineage: "api.example", Service: "nginx"},
	}}
	golden(t, "init.txt", NextSteps(found, []string{"certbot"}))
	golden(t, "init-nothing.txt", NextSteps(proposal.Proposal{}, nil))
	for range few {
		found.Targets = append(found.Targets, found.Targets[1], found.Targets[0])
		found.Targets[len(found.Targets)-1].Idle = false
	}
	found.Targets = append(found.Targets, found.Targets[0])
	golden(t, "init-many.txt", NextSteps(found, nil))
}

// TestEntries compares log entries about outcomes with a golden file.
func TestEntries(t *testing.T) {
	var all strings.Builder
	for _, o := range append(outcomes(), outcome.Outcome{Result: outcome.Unchanged}, outcome.Outcome{Result: outcome.Held}, outcome.Outcome{Result: outcome.Deferred}) {
		level, message, attrs := Entry(o)
		fmt.Fprintln(&all, level, message, attrs)
	}
	golden(t, "journal.txt", all.String())
}

func TestExitOf(t *testing.T) {
	for _, test := range []struct {
		outcome outcome.Outcome
		want    int
	}{
		{outcome.Outcome{Result: outcome.Deployed}, ExitOK},
		{outcome.Outcome{Result: outcome.Unchanged}, ExitOK},
		{outcome.Outcome{Result: outcome.Held}, ExitOK},
		{outcome.Outcome{Result: outcome.Planned}, ExitOK},
		{outcome.Outcome{Result: outcome.Refused, At: outcome.Validate}, ExitRefused},
		{outcome.Outcome{Result: outcome.Deferred, At: outcome.Activate}, ExitWaiting},
		{outcome.Outcome{Result: outcome.WaitingRestart, At: outcome.Activate}, ExitWaiting},
		{outcome.Outcome{Result: outcome.RollbackFailed, At: outcome.Prove}, ExitUndoFailed},
		{outcome.Outcome{Result: outcome.Failed, Reason: "service-crashed", At: outcome.Prove}, ExitUndoFailed},
		{outcome.Outcome{Result: outcome.Failed, Reason: "outage", At: outcome.Validate}, ExitNotProven},
		{outcome.Outcome{Result: outcome.Failed, Reason: "unexpected", At: outcome.Stage}, ExitUnexpected},
		{outcome.Outcome{Result: outcome.Failed, Reason: "systemd-unreachable", At: outcome.Activate}, ExitUnexpected},
		{outcome.Outcome{Result: outcome.Failed, Reason: "database-unreachable", At: outcome.Validate}, ExitUnexpected},
		{outcome.Outcome{Result: outcome.Failed, Reason: "out-of-time", At: outcome.Baseline}, ExitUnexpected},
		{outcome.Outcome{Result: outcome.RolledBack, Reason: "out-of-time", At: outcome.Prove}, ExitNotProven},
		{outcome.Outcome{Result: outcome.Failed, At: outcome.Stage}, ExitInstall},
		{outcome.Outcome{Result: outcome.RolledBack, At: outcome.Commit}, ExitInstall},
		{outcome.Outcome{Result: outcome.RolledBack, At: outcome.Test}, ExitActivation},
		{outcome.Outcome{Result: outcome.RolledBack, At: outcome.Activate}, ExitActivation},
		{outcome.Outcome{Result: outcome.RolledBack, At: outcome.Prove}, ExitNotProven},
		{outcome.Outcome{Result: outcome.Failed, At: outcome.Validate}, ExitUsage},
	} {
		if got := ExitOf([]outcome.Outcome{{Result: outcome.Deployed}, test.outcome, {Result: outcome.Unchanged}}); got != test.want {
			t.Errorf("%+v: %d instead of %d", test.outcome, got, test.want)
		}
	}
	// Of two targets the graver outcome counts, in either order.
	codes := []outcome.Outcome{
		{Result: outcome.RollbackFailed}, {Result: outcome.RolledBack, At: outcome.Prove}, {Result: outcome.RolledBack, At: outcome.Activate},
		{Result: outcome.Failed, At: outcome.Stage}, {Result: outcome.Failed, Reason: "unexpected"}, {Result: outcome.Failed},
		{Result: outcome.Refused}, {Result: outcome.Deferred}, {Result: outcome.Deployed},
	}
	for i, graver := range codes {
		for _, other := range codes[i:] {
			for _, both := range [][]outcome.Outcome{{graver, other}, {other, graver}} {
				if got := ExitOf(both); got != exitOfOutcome(graver) {
					t.Errorf("%+v: %d", both, got)
				}
			}
		}
	}
	if ExitOf(nil) != ExitOK {
		t.Error("nothing to do is no success")
	}
}

func TestExits(t *testing.T) {
	checked := func(levels ...deployers.Level) Examined {
		var x inspect.Examination
		for _, l := range levels {
			x.Checks = append(x.Checks, deployers.Check{Level: l})
		}
		return Examined{Of: []inspect.Examination{x}}
	}
	good, bad := served.Probe{Seen: probe.Observation{Chain: chain()}}, served.Probe{Seen: probe.Observation{Chain: chain()}, Findings: findings()}
	for name, test := range map[string]struct{ got, want int }{
		"doctor, all is well":      {checked(deployers.Fine).Exit(), ExitOK},
		"doctor, warnings":         {checked(deployers.Warned, deployers.Fine).Exit(), ExitDoctorWarnings},
		"doctor, errors":           {checked(deployers.Warned, deployers.Wrong, deployers.Fine).Exit(), ExitDoctorErrors},
		"validate, warned":         {Validation{Verdicts: []inspect.Verdict{{Findings: findings()[1:]}}}.Exit(), ExitOK},
		"validations, warned":      {Validations{Of: []Validation{{Verdicts: []inspect.Verdict{{Findings: findings()[1:]}}}}}.Exit(), ExitOK},
		"validations, refused":     {Validations{Of: []Validation{{Verdicts: []inspect.Verdict{{}}}, {Verdicts: []inspect.Verdict{{Findings: findings()}}}}}.Exit(), ExitRefused},
		"validate, refused":        {Validation{Verdicts: []inspect.Verdict{{}, {Findings: findings()}}}.Exit(), ExitRefused},
		"check, unknown":           {SeverityUnknown.Exit(), 3},
		"check, warning":           {SeverityWarning.Exit(), 1},
		"check, critical":          {SeverityCritical.Exit(), 2},
		"check, ok":                {SeverityOK.Exit(), 0},
		"probe, good":              {Probe(good).Exit(), ExitOK},
		"probe, findings":          {Probe(bad).Exit(), ExitProbeFindings},
		"probe, no handshake":      {Probe{}.Exit(), ExitNoHandshake},
		"domain, good":             {Domain{Probes: []served.Probe{good, good}}.Exit(), ExitOK},
		"domain, findings":         {Domain{Probes: []served.Probe{good, bad}}.Exit(), ExitProbeFindings},
		"domain, one is silent":    {Domain{Probes: []served.Probe{good, {}}}.Exit(), ExitProbeFindings},
		"domain, all are silent":   {Domain{Probes: []served.Probe{{}, {}}}.Exit(), ExitNoHandshake},
		"domain, nothing to probe": {Domain{}.Exit(), ExitNoHandshake},
		"domain, half an answer":   {Domain{Probes: []served.Probe{good}, Answers: []srv.Answer{{Err: errors.New("no")}}}.Exit(), ExitProbeFindings},
	} {
		if test.got != test.want {
			t.Errorf("%s: %d instead of %d", name, test.got, test.want)
		}
	}
}

func text(s string) *string { return &s }

func oldLeaf() *lineage.Leaf {
	return &lineage.Leaf{
		Fingerprint: strings.Repeat("ab", 32), Serial: "0a1b", Names: []string{"api.example", "b.example", "c.example", "d.example", "e.example"}, Issuer: "CN=R11,O=Let's Encrypt,C=US",
		NotBefore: noon.AddDate(0, 0, -60), NotAfter: noon.AddDate(0, 0, 30), Key: "rsa-2048",
	}
}

func newLeaf() *lineage.Leaf {
	return &lineage.Leaf{
		Fingerprint: strings.Repeat("cd", 32), Serial: "0c", Names: []string{}, Issuer: "CN=\x1b[2Jclear",
		NotBefore: noon, NotAfter: noon.AddDate(0, 0, 90), Key: "ecdsa-p256",
	}
}

func findings() []lineage.Finding {
	return []lineage.Finding{
		{Code: "name-missing", Severity: lineage.Refused, Detail: "the leaf lacks sip.example", Remedy: "have the client put it in"},
		{Code: "expires-soon", Severity: lineage.Warned, Detail: "two\nlines and \x1b[2J", Remedy: "renew it"},
	}
}

// outcomes returns outcomes that a run may end in.
func outcomes() []outcome.Outcome {
	return []outcome.Outcome{
		{
			Target: "web", Lineage: "api.example", Service: "nginx", Result: outcome.Deployed, Previous: oldLeaf(), New: newLeaf(), Generation: "20261123T120000Z-1a2b3c4d",
			Findings: findings()[1:], Notes: []string{"a note"},
			Steps: []outcome.StepTaken{{Step: outcome.Validate, OK: true, Took: 1500 * time.Microsecond}, {Step: outcome.Prove, OK: true, Took: 2 * time.Second}},
		},
		{
			Target: "sip", Lineage: "sip.example", Service: "kamailio", Result: outcome.RollbackFailed, Reason: "not-proven", At: outcome.Prove,
			Detail: "tls://127.0.0.1:5061 serves \x1b[31manother\nleaf", Remedy: "look at once", Previous: newLeaf(), New: oldLeaf(),
			Steps: []outcome.StepTaken{{Step: outcome.Prove, Took: 40 * time.Second}},
		},
		{
			Target: "xmpp", Lineage: "im.example", Service: "prosody", Result: outcome.Refused, Reason: "name-missing", At: outcome.Validate,
			Detail: "the leaf lacks sip.example", Remedy: "have the client put it in", New: newLeaf(), Findings: findings(),
		},
		{
			Target: "copy", Lineage: "copy.example", Service: "nginx", Result: outcome.Deployed, Reason: outcome.NotOurs, Detail: elsewhere().Says, Remedy: elsewhere().Remedy,
			New: newLeaf(), Notes: []string{"a note"}, NotOurs: elsewhere(), Steps: []outcome.StepTaken{{Step: outcome.Prove, OK: true, Took: 40 * time.Millisecond}},
		},
		{
			Target: "edge", Lineage: "copy.example", Service: "generic", Result: outcome.RolledBack, Reason: outcome.NotProven, At: outcome.Prove, Detail: "it is not served", Remedy: "see why",
			NotOurs: &deployers.NotOurs{File: "/etc/haproxy/tls/web.pem", Takes: []deployers.Taken{}, Says: "HAProxy's configuration names none of the target's files", Remedy: "name them"},
		},
		{Target: "mail", Lineage: "mx.example", Service: "generic", Result: outcome.Unchanged, Previous: newLeaf(), New: newLeaf(), Steps: []outcome.StepTaken{{Step: outcome.Validate, OK: true}}},
		{
			Target: "ftp", Lineage: "gone.example", Service: "generic", Result: outcome.Failed, Reason: "lineage-not-found", At: outcome.Validate,
			Detail: "there is no lineage gone.example", Remedy: "certlatch doctor looks for it",
		},
	}
}

// elsewhere is what a service takes in place of a target's files.
func elsewhere() *deployers.NotOurs {
	return &deployers.NotOurs{
		File: "/etc/nginx/tls/copy.example/current/fullchain.pem",
		Takes: []deployers.Taken{{
			Where: "/etc/nginx/conf.d/copy.conf:1",
			File:  "/etc/letsencrypt/live/copy.example/fullchain.pem", Key: "/etc/letsencrypt/live/copy.example/privkey.pem",
		}},
		Says:   "no server of nginx's configuration names /etc/nginx/tls/copy.example/current/fullchain.pem and its key: /etc/nginx/conf.d/copy.conf:1 takes /etc/letsencrypt/live/copy.example/fullchain.pem",
		Remedy: "let the server that should have it name both",
	}
}

// planned returns outcomes of a dry run.
func planned(t *testing.T) []outcome.Outcome {
	files := &deployers.Plan{
		Files: []deployers.File{
			{Path: "/etc/web/fullchain.pem", Content: deployers.Fullchain, Mode: 0o644},
			{Path: "/etc/web/privkey.pem", Content: deployers.Key, User: "www-data", Group: "ssl-cert", Mode: 0o640},
			{Path: "/etc/web/chain.pem", Content: deployers.Chain, User: "www-data", Group: "www-data:", Mode: 0o640},
		},
		Test:     deployers.Test{Command: []string{"/usr/sbin/nginx", "-t"}},
		Activate: deployers.Activation{Way: deployers.ReloadUnit, Unit: "nginx.service"},
		Probes:   []endpoint.Endpoint{endpointAt(t, "https://127.0.0.1?name=api.example")},
	}
	row := &deployers.Plan{
		Row:      &deployers.Row{Database: "mysql://opensips:secret@127.0.0.1/opensips", Table: "tls_mgm", Domain: "default", Type: 2},
		Activate: deployers.Activation{Way: deployers.RestartUnit, Unit: "opensips.service"},
	}
	return []outcome.Outcome{
		{Target: "web", Lineage: "api.example", Service: "nginx", Result: outcome.Planned, New: newLeaf(), Plan: files, Steps: []outcome.StepTaken{{Step: outcome.Validate, OK: true}}},
		{Target: "sip", Lineage: "api.example", Service: "opensips", Result: outcome.Planned, New: newLeaf(), Plan: row},
	}
}

// sightings returns certificates in many states.
func sightings() []state.Sighting {
	late := noon.Add(time.Hour)
	stale := differing(sighting("sip", 62), condition.Stale, 2*time.Hour)
	stale.Contact, stale.Served = text("voice team"), append(stale.Served, state.Served{Probe: stale.Served[0].Probe, Error: text("tls://127.0.0.1:5061: connection refused")})
	pending := pendingFor(differing(sighting("xmpp", 1), condition.Waiting, time.Minute), "not-proven")
	pending.Pending.Next = &late
	held := differing(sighting("mail", 1), condition.HeldBack, time.Hour)
	held.Hold = text("by-hand")
	few, left := sighting("kamailio", 1), 3
	soon := noon.Add(36 * time.Hour)
	few.ChainEnds = &soon
	few.ReloadsLeft, few.Issued, few.Installed, few.Served = &left, newLeaf(), newLeaf(), []state.Served{{Probe: few.Served[0].Probe, Leaf: newLeaf()}}
	out := pendingFor(sighting("out", 1), "outage")
	out.State, out.Outage = string(condition.Waiting), &state.Outage{Since: noon.Add(-time.Minute), Remedy: "start it"}
	out.Served = []state.Served{{Error: text("outage")}}
	copied, unread := sighting("copy", 20), sighting("other", 20)
	copied.State, copied.NotOurs = string(condition.NotOurs), elsewhere()
	unread.State = string(condition.NotOurs) // as the snapshot has it
	nothing := sighting("edge", 20)
	nothing.State, nothing.NotOurs = string(condition.NotOurs), &deployers.NotOurs{Takes: []deployers.Taken{}, Says: "nothing names them", Remedy: "name them"}
	return []state.Sighting{
		sighting("web", 20), stale, sighting("ftp", 72), sighting("old", 93), pending, held, few, out, copied, unread, nothing,
		{Looked: noon, Certificate: state.Certificate{Target: "new", Lineage: "new", Service: "nginx", State: string(condition.Unknown), Served: []state.Served{}}},
	}
}

// changes returns what is seen where others have put a pair: one that was refused, by whom
// is known, and one of nobody knows whom; and a refused one that is served from elsewhere.
func changes() []state.Sighting {
	known := pendingFor(differing(sighting("web", 1), condition.Changed, time.Minute), "staging-issuer")
	known.Changed = &state.Changed{Proven: *oldLeaf(), Generation: "20261123T110000Z-abababab", Time: noon.Add(-time.Hour), By: []string{"/etc/letsencrypt/renewal-hooks/deploy/deploy.sh:2", "/etc/cron.d/a:1", "/etc/cron.d/b:1", "/etc/cron.d/c:1"}}
	unknown := differing(sighting("sip", 1), condition.Changed, time.Minute)
	unknown.Changed = &state.Changed{Proven: *newLeaf(), Generation: "20261123T110000Z-cdcdcdcd", Time: noon.Add(-time.Hour)}
	elsewhere := pendingFor(sighting("mail", 1), "staging-issuer")
	elsewhere.State, elsewhere.Installed = string(condition.Broken), oldLeaf()
	return []state.Sighting{known, unknown, elsewhere}
}

func endpointAt(t *testing.T, url string) endpoint.Endpoint {
	t.Helper()
	e, err := endpoint.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// chain returns a chain as it is served: a leaf, whose names a hostile server
// may choose, and its issuer.
func chain() []*x509.Certificate {
	root := pkix.Name{CommonName: "Root \x1b[31m"}
	issuer := pkix.Name{CommonName: "R11"}
	return []*x509.Certificate{
		{
			Raw: []byte("leaf"), SerialNumber: big.NewInt(1), DNSNames: []string{"api.example", "\x1b[2J.example"}, Issuer: issuer,
			NotBefore: noon, NotAfter: noon.AddDate(0, 0, 90), PublicKey: &ecdsa.PublicKey{Curve: elliptic.P256()},
		},
		{
			Raw: []byte("issuer"), SerialNumber: big.NewInt(2), Subject: issuer, Issuer: root,
			NotBefore: noon, NotAfter: noon.AddDate(3, 0, 0), PublicKey: &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047)},
		},
	}
}

// nameless returns a chain of one certificate without names.
func nameless() []*x509.Certificate {
	leaf := *chain()[0]
	leaf.DNSNames = nil
	return []*x509.Certificate{&leaf}
}

func record() srv.Target {
	return srv.Target{Host: "edge.example.net", Port: 5061, Priority: 10, Weight: 20}
}

func probed() served.Probe {
	target := record()
	return served.Probe{
		Seen: probe.Observation{
			Endpoint: endpoint.Endpoint{Scheme: "sips", Host: "192.0.2.1", Port: 5061, Name: "example.org"}, Chain: chain(),
			Version: tls.VersionTLS13, Cipher: tls.TLS_AES_128_GCM_SHA256, ALPN: "sip/2", ClientAuth: true,
		},
		Findings: findings(), Record: "_sips._tcp.example.org", Target: &target,
	}
}

func examinations() []inspect.Examination {
	return []inspect.Examination{
		{Checks: []deployers.Check{
			{About: deployers.Hook, Level: deployers.Warned, Says: "certbot does not call certlatch", Remedy: "certlatch hook install certbot"},
			{About: deployers.Clock, Level: deployers.Fine, Says: "the clock is set"},
		}},
		{Target: "web", Lineage: "api.example", Service: "nginx", Checks: []deployers.Check{
			{About: deployers.OwnTest, Level: deployers.Wrong, Says: "nginx fails: \x1b[2J\nline two", Remedy: "correct the service's configuration"},
			{About: deployers.Serving, Level: deployers.Fine, Says: "https://127.0.0.1:443?name=api.example serves what was issued"},
		}},
	}
}
