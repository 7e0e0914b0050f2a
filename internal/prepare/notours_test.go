package prepare

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/certlatch/certlatch/deployers"
)

// mounted is Processes with a service that sees another file at a path.
type mounted struct {
	Processes
	at string
}

func (m mounted) SeesAnother(_ int, path string) (bool, error) { return path == m.at, nil }

// TestSameFiles is about which names lead to the file that a renewal puts in place: the
// files count, and not what they are called.
func TestSameFiles(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"tls/20261123T120000Z-1a2b3c4d", "plain", "live"} {
		if err := os.MkdirAll(at(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"tls/20261123T120000Z-1a2b3c4d/fullchain.pem", "plain/cert.pem", "plain/other.pem", "live/fullchain.pem"} {
		if err := os.WriteFile(at(name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{
		"tls/current": "20261123T120000Z-1a2b3c4d", "dir": "tls", "file.pem": "tls/current/fullchain.pem", "loop": "loop", "linked.pem": "live/fullchain.pem",
		"live/chain.pem": "../plain/cert.pem", "plain/linked.pem": "../live/fullchain.pem", "plain2": "plain", "new.pem": "plain/new.pem",
	} {
		if err := os.Symlink(to, at(name)); err != nil {
			t.Fatal(err)
		}
	}
	managed := deployers.Plan{Directory: at("tls"), Files: []deployers.File{{Path: at("tls/current/fullchain.pem")}}}
	inPlace := func(name string) deployers.Plan { return deployers.Plan{Files: []deployers.File{{Path: at(name)}}} }
	for _, test := range []struct {
		plan  deployers.Plan
		taken string
		same  bool
	}{
		{managed, "file.pem", true}, {managed, "dir/current/fullchain.pem", true}, {managed, "dir/current", true},
		{managed, "tls/20261123T120000Z-1a2b3c4d/fullchain.pem", false}, {managed, "live/fullchain.pem", false}, {managed, "loop", false}, {managed, "gone.pem", false},
		{inPlace("plain/cert.pem"), "plain2/cert.pem", true}, {inPlace("plain/cert.pem"), "live/chain.pem", true}, {inPlace("plain/cert.pem"), "plain2", true},
		{inPlace("plain2/cert.pem"), "plain/cert.pem", true}, {inPlace("plain/cert.pem"), "plain/other.pem", false}, {inPlace("plain/cert.pem"), "live/fullchain.pem", false},
		{inPlace("plain/new.pem"), "new.pem", true}, // there is nothing yet
		{inPlace("plain/linked.pem"), "live/fullchain.pem", true}, {inPlace("plain/linked.pem"), "linked.pem", true},
		{inPlace("gone/cert.pem"), "plain/cert.pem", false},
	} {
		test.plan.NotOurs = &deployers.NotOurs{Takes: []deployers.Taken{{File: at("live/fullchain.pem") + "x"}, {File: at(test.taken)}}}
		own := test.plan.Files[0].Path
		if got := slices.Contains(sameFiles(test.plan)[own], at(test.taken)); got != test.same {
			t.Errorf("%s and %s: %t", own, at(test.taken), got)
		}
	}
}

// TestNotOurs wants nothing to be said where the service may find another file than this
// host has by the name, and little where much is taken.
func TestNotOurs(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "cert.pem")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	takes := func(path string, times int) deployers.NotOurs {
		return deployers.NotOurs{Takes: slices.Repeat([]deployers.Taken{{File: path}}, times)}
	}
	for _, test := range []struct {
		name  string
		unit  deployers.Unit
		sees  string
		takes deployers.NotOurs
		want  int // what is told; -1: nothing
	}{
		{"a file", deployers.Unit{MainPID: 7}, "", takes(file, 1), 1},
		{"many", deployers.Unit{}, "", takes(file, 9), deployers.MostTaken},
		{"none", deployers.Unit{MainPID: 7}, "", takes(file, 0), 0},
		{"not there", deployers.Unit{MainPID: 7}, "", takes(file+"x", 1), -1},
		{"something is mounted over it", deployers.Unit{MainPID: 7}, file, takes(file, 1), -1},
		{"something will be", deployers.Unit{Hidden: []deployers.Hidden{{Path: dir, By: "PrivateTmp=yes"}}}, "", takes(file, 1), -1},
	} {
		p := &Preparer{processes: mounted{at: test.sees}}
		got := -1
		if n := p.notOurs(test.unit, test.takes); n != nil && n.Takes != nil {
			got = len(n.Takes)
		}
		if got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}
