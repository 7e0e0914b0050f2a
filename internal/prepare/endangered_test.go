package prepare

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/rows"
)

func TestJudgeRow(t *testing.T) {
	ca := pki.NewCA(t, "Root")
	now := time.Now()
	good, other := ca.Leaf(t, pki.Names("a.example")), ca.Leaf(t, pki.Names("b.example"))
	old := ca.Leaf(t, pki.Valid(now.Add(-48*time.Hour), now.Add(-24*time.Hour)))
	young := ca.Leaf(t, pki.Valid(now.Add(24*time.Hour), now.Add(48*time.Hour)))
	reversed := slices.Concat(ca.PEM(), good.Fullchain)
	for _, test := range []struct {
		name string
		row  rows.Entry
		says string // empty: nothing
		lost bool
	}{
		{"good", rows.Entry{Certificate: good.Fullchain, Key: good.Key}, "", false},
		{"good, with a root behind it", rows.Entry{Certificate: slices.Concat(good.Fullchain, ca.PEM()), Key: good.Key}, "", false},
		{"good, and rubbish behind it", rows.Entry{Certificate: append(slices.Clone(good.Fullchain), "rubbish"...), Key: good.Key}, "", false},
		{"with the files that OpenSIPS has for it", rows.Entry{}, "", false},
		{"without a key", rows.Entry{Certificate: good.Fullchain}, "no key", true},
		{"with an empty key", rows.Entry{Certificate: good.Fullchain, Key: lineage.Secret{}}, "no key", true},
		{"with another's key", rows.Entry{Certificate: good.Fullchain, Key: other.Key}, "not that of certificate", true},
		{"in the wrong order", rows.Entry{Certificate: reversed, Key: good.Key}, "not that of certificate", true},
		{"no PEM", rows.Entry{Certificate: []byte("none"), Key: good.Key}, "no certificate and key in PEM", true},
		{"no PEM in the key", rows.Entry{Certificate: good.Fullchain, Key: []byte("none")}, "no certificate and key in PEM", true},
		{"cut off", rows.Entry{Certificate: []byte("-----BEGIN CERTIFICATE-----\nMAAB\n-----END CERTIFICATE-----\n"), Key: good.Key}, "no certificate and key in PEM", true},
		{"of a kind that is not known here", rows.Entry{Certificate: []byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"), Key: good.Key}, "", false},
		{"expired", rows.Entry{Certificate: old.Fullchain, Key: old.Key}, "expired on", false},
		{"not valid yet", rows.Entry{Certificate: young.Fullchain, Key: young.Key}, "is not valid before", false},
	} {
		got := judgeRow(test.row, now)
		if (got.err != nil) != (test.says != "") || got.err != nil && (!strings.Contains(got.err.Error(), test.says) || got.lost != test.lost) {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
}

// TestBesideInFiles is about pairs in files, which are read again at a restart.
func TestBesideInFiles(t *testing.T) {
	ca := pki.NewCA(t, "Root")
	good, other := ca.Leaf(t), ca.Leaf(t)
	dir := t.TempDir()
	write(t, dir+"/good.pem", string(good.Fullchain))
	write(t, dir+"/good.key", string(good.Key))
	write(t, dir+"/other.key", string(other.Key))
	write(t, dir+"/empty", "")
	for _, test := range []struct {
		certificate, key string
		says             string // empty: nothing
	}{
		{"/good.pem", "/good.key", ""},
		{"/good.pem", "/other.key", "not that of certificate"},
		{"/good.pem", "/missing", "no such file"},
		{"/missing", "/good.key", "no such file"},
		{"/empty", "/good.key", "empty"},
		{"/good.pem", "/good.pem", "no certificate and key in PEM"},
	} {
		beside := []deployers.Beside{{Name: "other", Certificate: dir + test.certificate, Key: dir + test.key}}
		b := NewPreparer(World{}).Besides(World{})
		found, wait, err := b.Endangered(t.Context(), beside, restart)
		if err != nil || (found != nil) != (test.says != "") || wait != nil && !strings.Contains(wait.Error(), test.says) {
			t.Errorf("%s with %s: %v, %v, %v", test.certificate, test.key, found, wait, err)
		}
		if found, _, err := b.Endangered(t.Context(), beside, call); err != nil || found != nil {
			t.Errorf("%s with %s: a reload endangers %v, %v", test.certificate, test.key, found, err)
		}
		beside[0].Called = true
		if _, wait, err := b.Endangered(t.Context(), beside, call); err != nil || (wait != nil) != (test.says != "") || wait != nil && !strings.Contains(wait.Error(), "would fail for that") {
			t.Errorf("%s with %s: a call that loads it: %v, %v", test.certificate, test.key, wait, err)
		}
	}
}

var (
	restart = deployers.Activation{Way: deployers.RestartUnit, Unit: "x.service"}
	call    = deployers.Activation{Way: deployers.CallControl, Calls: []deployers.Query{{Method: "tls.reload"}}}
)

// TestBesideUnreadable is about files that the service's account cannot read, and that
// are tried once.
func TestBesideUnreadable(t *testing.T) {
	good := pki.NewCA(t, "Root").Leaf(t)
	dir := t.TempDir()
	write(t, dir+"/good.pem", string(good.Fullchain))
	write(t, dir+"/good.key", string(good.Key))
	root := &deployers.Account{User: "root"}
	for _, test := range []struct {
		beside deployers.Beside
		denied string
		want   bool
	}{
		{deployers.Beside{Certificate: dir + "/good.pem", Key: dir + "/good.key", Reader: root}, "", false},
		{deployers.Beside{Certificate: dir + "/good.pem", Key: dir + "/good.key", Reader: root}, dir + "/good.key", true},
		{deployers.Beside{Certificate: dir + "/good.pem", Key: dir + "/good.key"}, dir + "/good.key", false},
		{deployers.Beside{Reads: []string{"/ca.pem"}, Reader: root}, "/ca.pem", true},
		{deployers.Beside{Reads: []string{"/ca.pem"}, Reader: root}, "/crl.pem", false},
	} {
		programs := &trier{closed: []string{test.denied}}
		b := NewPreparer(World{}).Besides(World{Programs: programs})
		test.beside.Called = true
		for _, way := range []deployers.Activation{call, restart} {
			if _, wait, err := b.Endangered(t.Context(), []deployers.Beside{test.beside}, way); err != nil || (wait != nil) != test.want {
				t.Errorf("%+v without %s: %v, %v", test.beside, test.denied, wait, err)
			}
		}
		if len(programs.trials) > 1 {
			t.Errorf("%+v was tried %d times", test.beside, len(programs.trials))
		}
	}
}

// tables is a database with one table, of which is noted how often it was read.
type tables struct {
	pairs.Databases
	rows  []rows.Entry
	fails error
	read  int
}

func (d *tables) Table(context.Context, deployers.Row) ([]rows.Entry, error) {
	d.read++
	return d.rows, d.fails
}

func TestEndangered(t *testing.T) {
	ca := pki.NewCA(t, "Root")
	now := time.Now()
	good := ca.Leaf(t, pki.Names("a.example"))
	old := ca.Leaf(t, pki.Valid(now.Add(-48*time.Hour), now.Add(-24*time.Hour)))
	row := func(domain string, kind int) *deployers.Row {
		return &deployers.Row{Database: "sqlite:///db", Table: "tls_mgm", Domain: domain, Type: kind}
	}
	probes := []endpoint.Endpoint{at(t, "sips://127.0.0.1:5061?name=a.example")}
	shown := map[string]*x509.Certificate{"good": good.Cert, "old": old.Cert}
	for _, test := range []struct {
		name   string
		row    rows.Entry
		beside deployers.Beside
		shows  string
		want   bool
	}{
		{"good", rows.Entry{Domain: "b", Type: 2, Certificate: good.Fullchain, Key: good.Key}, deployers.Beside{Row: row("b", 2)}, "good", false},
		{"broken", rows.Entry{Domain: "b", Type: 2, Certificate: good.Fullchain, Key: old.Key}, deployers.Beside{Row: row("b", 2)}, "", true},
		{"broken, of another type", rows.Entry{Domain: "b", Type: 1, Certificate: good.Fullchain, Key: old.Key}, deployers.Beside{Row: row("b", 2)}, "", false},
		{"taken out on purpose", rows.Entry{Domain: "c", Type: 2}, deployers.Beside{Row: row("b", 2)}, "good", false},
		{"expired, and a good one is served", rows.Entry{Domain: "b", Type: 2, Certificate: old.Fullchain, Key: old.Key}, deployers.Beside{Row: row("b", 2), Probes: probes}, "good", true},
		{"expired, and served", rows.Entry{Domain: "b", Type: 2, Certificate: old.Fullchain, Key: old.Key}, deployers.Beside{Row: row("b", 2), Probes: probes}, "old", false},
		{"expired, and nothing is served", rows.Entry{Domain: "b", Type: 2, Certificate: old.Fullchain, Key: old.Key}, deployers.Beside{Row: row("b", 2), Probes: probes}, "", false},
		{"expired, of a client's", rows.Entry{Domain: "b", Type: 1, Certificate: old.Fullchain, Key: old.Key}, deployers.Beside{Row: row("b", 1)}, "good", false},
	} {
		db := &tables{rows: []rows.Entry{test.row}}
		b := NewPreparer(World{}).Besides(World{Databases: db})
		b.observe = func(_ context.Context, all []endpoint.Endpoint) (seen []probe.Observation) {
			for _, e := range all {
				o := probe.Observation{Endpoint: e}
				if leaf := shown[test.shows]; leaf != nil {
					o.Chain = []*x509.Certificate{leaf}
				}
				seen = append(seen, o)
			}
			return seen
		}
		beside := []deployers.Beside{test.beside}
		for range 2 {
			other, wait, err := b.Endangered(t.Context(), beside, call)
			if err != nil || (other != nil) != test.want || (wait != nil) != test.want {
				t.Errorf("%s: %v, %v, %v", test.name, other, wait, err)
			}
		}
		if db.read != 1 {
			t.Errorf("%s: the table was read %d times", test.name, db.read)
		}
	}
	db := &tables{fails: errors.New("gone")}
	_, _, err := NewPreparer(World{}).Besides(World{Databases: db}).Endangered(t.Context(), []deployers.Beside{{Row: row("b", 2)}}, call)
	if down, is := errors.AsType[*outcome.DatabaseError](err); !is || down.Error() != "gone" {
		t.Errorf("got %v", err)
	}
	if _, _, err := NewPreparer(World{}).Besides(World{Databases: db}).Endangered(t.Context(), nil, call); err != nil || db.read != 1 {
		t.Errorf("a plan without others reads the table: %v", err)
	}
}
