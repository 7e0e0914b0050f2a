package hookstest

import (
	"slices"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/lineage"
)

// spoiled is a client with something wrong about it.
type spoiled struct {
	hooks.Client
	name   string
	events func(hooks.Call) ([]hooks.Event, error)
	layout *lineage.Layout
	places []string
	setup  func(*hooks.Setup)
}

func (s spoiled) Name() string {
	if s.name != "" {
		return s.name
	}
	return s.Client.Name()
}

func (s spoiled) Events(call hooks.Call) ([]hooks.Event, error) {
	if s.events != nil {
		return s.events(call)
	}
	return s.Client.Events(call)
}

func (s spoiled) Layout() lineage.Layout {
	if s.layout != nil {
		return *s.layout
	}
	return s.Client.Layout()
}

func (s spoiled) Places() []string {
	if s.places != nil {
		return s.places
	}
	return s.Client.Places()
}

func (s spoiled) Setup(self string) hooks.Setup {
	setup := s.Client.Setup(self)
	if s.setup != nil {
		s.setup(&setup)
	}
	return setup
}

// trusting returns an event at whatever certbot's variable holds, unchecked.
func trusting(call hooks.Call) ([]hooks.Event, error) {
	dir := call.Env("RENEWED_LINEAGE")
	if dir == "" {
		return nil, &hooks.NotCalledError{Client: "certbot", Missing: "RENEWED_LINEAGE is not set"}
	}
	return []hooks.Event{{Client: "certbot", Path: dir}}, nil
}

// TestFlaws wants the flaw of a client that lacks something to say what to do
// next.
func TestFlaws(t *testing.T) {
	client := func(name string) hooks.Client { c, _ := hooks.For(name); return c }
	certbot, acmesh := client("certbot"), client("acme.sh")
	sound := flaws(t, certbot, "..")
	if sound != nil {
		t.Fatalf("certbot: %q", sound)
	}
	part := func(change func(*hooks.Part)) func(*hooks.Setup) {
		return func(setup *hooks.Setup) { change(&setup.Parts[0]) }
	}
	for _, test := range []struct {
		c    spoiled
		want string
	}{
		{spoiled{Client: certbot, name: "certcat"}, "add it to All in hooks.go"},
		{spoiled{Client: certbot, name: "cert_bot"}, "Name may have small letters and dots"},
		{spoiled{Client: certbot, name: "certcat"}, "write them to testdata/NAME.env"},
		{spoiled{Client: certbot, name: "certcat"}, "write a section on it under ACME CLIENTS"},
		{spoiled{Client: certbot, name: "certcat"}, "write a paragraph on it under LINEAGES"},
		{spoiled{Client: certbot, name: "certcat"}, "packaging/deb/prerm has no"},
		{spoiled{Client: certbot, name: "certcat"}, "packaging/rpm/preun has no"},
		{spoiled{Client: certbot}, "put all of it into spoiled.go"},
		{spoiled{Client: certbot, layout: &lineage.Layout{}}, "return from Layout where"},
		{spoiled{Client: certbot, layout: &lineage.Layout{Fullchain: "{dir}/a.pem", Key: "key.pem"}}, "let Layout's patterns hold {dir}"},
		{spoiled{Client: certbot, layout: &lineage.Layout{Fullchain: "live/{dir}/a.pem", Key: "live/{dir}/key.pem"}}, "correct Layout"},
		{spoiled{Client: certbot, layout: &lineage.Layout{Fullchain: "{dir}.pem", Key: "{dir}.key"}}, "let Events and Layout agree"},
		{spoiled{Client: certbot, places: []string{"etc/letsencrypt/live"}}, "correct Places"},
		{spoiled{Client: certbot, places: []string{"/var/lib/certbot"}}, "record a call there"},
		{spoiled{Client: certbot, events: trusting}, "let Events take each path through cleanPath"},
		{spoiled{Client: certbot, events: trusting}, "nothing that it is given is ever refused"},
		{spoiled{Client: certbot, events: func(call hooks.Call) ([]hooks.Event, error) {
			events, _ := certbot.Events(call)
			return events, nil
		}}, "means nothing, and nobody is told"},
		{spoiled{Client: certbot, events: func(hooks.Call) ([]hooks.Event, error) { panic("index -1") }}, "a panic in Events: index -1"},
		{spoiled{Client: certbot, events: func(hooks.Call) ([]hooks.Event, error) { return nil, nil }}, "return a *NotCalledError"},
		{spoiled{Client: certbot, setup: func(s *hooks.Setup) { s.Advice = "" }}, "Setup's Advice does not say"},
		{spoiled{Client: certbot, setup: func(s *hooks.Setup) { s.Dirs = nil }}, "set Setup's Dirs"},
		{spoiled{Client: certbot, setup: func(s *hooks.Setup) { s.Dirs = []string{"hooks"} }}, "correct Setup's Dirs"},
		{spoiled{Client: certbot, setup: func(s *hooks.Setup) { s.Memory.Alone = nil }}, "set Calls and Alone"},
		{spoiled{Client: certbot, setup: part(func(p *hooks.Part) { p.Name = "50-certlatch" })}, "under the name certlatch-hook-certbot"},
		{spoiled{Client: certbot, setup: part(func(p *hooks.Part) { p.Name = "../certlatch" })}, "correct its Name"},
		{spoiled{Client: certbot, setup: part(func(p *hooks.Part) { p.Link = "/usr/bin/certbot" })}, "lead it to self"},
		{spoiled{Client: certbot, setup: part(func(p *hooks.Part) { p.Link = "/usr/bin/certbot" })}, "its hooks cannot be installed"},
		{spoiled{Client: acmesh, setup: part(func(p *hooks.Part) { p.Text = "certlatch hook acme.sh" })}, "let its Text hold mark"},
		{spoiled{Client: acmesh, name: "certcat"}, "is taken for one of acme.sh"},
	} {
		found := flaws(t, test.c, "..")
		if !slices.ContainsFunc(found, func(flaw string) bool { return strings.Contains(flaw, test.want) }) {
			t.Errorf("nobody says %q, but\n%s", test.want, strings.Join(found, "\n"))
		}
	}
}
