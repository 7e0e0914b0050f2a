package prepare

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/rows"
)

// Besides judges what services have in memory beside targets and an activation
// makes them load anew. A table is read once; where it may have changed, a new
// Besides is needed. It may be used by several goroutines.
type Besides struct {
	databases pairs.Databases
	programs  Programs
	observe   func(context.Context, []endpoint.Endpoint) []probe.Observation

	mutex  sync.Mutex
	tables map[tableOf]*judged
	files  map[string]flaw // by their paths
}

type tableOf struct {
	database deployers.DatabaseURL
	name     string
}

// judged is what is wrong with the rows of a table, by domain and type.
type judged struct {
	once  sync.Once
	flaws map[rowOf]flaw
	err   error
}

type rowOf struct {
	domain string
	kind   int
}

// flaw is what is wrong with a row.
type flaw struct {
	err  error
	lost bool // the service cannot load it; else it would serve what nobody accepts
}

// Besides returns a Besides that has not looked at anything yet.
func (p *Preparer) Besides(world World) *Besides {
	observe := func(ctx context.Context, at []endpoint.Endpoint) []probe.Observation {
		return p.Observe(ctx, at, func() {})
	}
	return &Besides{databases: world.Databases, programs: world.Programs, observe: observe, tables: map[tableOf]*judged{}, files: map[string]flaw{}}
}

// Endangered returns something that a service has beside a target and could not load
// when it is activated, and the wait for that; nil: there is none. It fails with an
// *outcome.DatabaseError where that cannot be looked at.
func (b *Besides) Endangered(ctx context.Context, beside []deployers.Beside, a deployers.Activation) (other *deployers.Beside, wait *outcome.WaitError, err error) {
	for _, other := range beside {
		called := other.Called && a.Way == deployers.CallControl
		if other.Row == nil && a.Way != deployers.RestartUnit && !called {
			continue
		}
		found, err := b.flawOf(ctx, other)
		switch {
		case err != nil:
			return nil, nil, err
		case found.err == nil || !found.lost && !b.servesValid(ctx, other):
		case called:
			return &other, outcome.RefusedLoadError(other.Name, found.err, a), nil
		default:
			return &other, outcome.EndangersError(other.Name, found.err, a), nil
		}
	}
	return nil, nil, nil
}

// flawOf returns what is wrong with a pair.
func (b *Besides) flawOf(ctx context.Context, other deployers.Beside) (flaw, error) {
	if other.Row == nil {
		return b.flawOfFiles(ctx, other), nil
	}
	flaws, err := b.flawsOf(ctx, *other.Row)
	return flaws[rowOf{other.Row.Domain, other.Row.Type}], err
}

// flawOfFiles returns what is wrong with a pair in files, which several targets may have
// beside them.
func (b *Besides) flawOfFiles(ctx context.Context, other deployers.Beside) flaw {
	paths := slices.Clone(other.Reads)
	if other.Certificate != "" {
		paths = append(paths, other.Certificate, other.Key)
	}
	key := fmt.Sprintf("%q %v", paths, other.Reader)
	b.mutex.Lock()
	found, known := b.files[key]
	b.mutex.Unlock()
	if known {
		return found
	}
	if other.Certificate != "" {
		found = judgeFiles(other, time.Now())
	}
	if unread := b.unreadable(ctx, other.Reader, paths); unread != nil && !found.lost {
		found = flaw{unread, true}
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.files[key] = found
	return found
}

// unreadable returns why an account cannot read files; nil: it can, or that cannot be
// tried.
func (b *Besides) unreadable(ctx context.Context, reader *deployers.Account, paths []string) error {
	if reader == nil {
		return nil
	}
	tried := TryToRead(ctx, b.programs, []Trial{{As: *reader, Paths: paths}})
	unreadable, is := errors.AsType[*command.UnreadableError](tried[0].Err)
	if !is {
		return nil
	}
	return unreadable
}

// servesValid reports whether something shows a leaf that is valid by its dates.
func (b *Besides) servesValid(ctx context.Context, other deployers.Beside) bool {
	if len(other.Probes) == 0 {
		return false
	}
	return slices.ContainsFunc(b.observe(ctx, other.Probes), func(o probe.Observation) bool {
		return o.Leaf() != nil && outOfDate(o.Leaf(), time.Now()) == nil
	})
}

// flawsOf returns the flaws of a row's table.
func (b *Besides) flawsOf(ctx context.Context, row deployers.Row) (map[rowOf]flaw, error) {
	key := tableOf{row.Database, row.Table}
	b.mutex.Lock()
	table, ok := b.tables[key]
	if !ok {
		table = new(judged)
		b.tables[key] = table
	}
	b.mutex.Unlock()
	table.once.Do(func() {
		entries, err := b.databases.Table(ctx, row)
		if err != nil {
			table.err = &outcome.DatabaseError{Err: err}
			return
		}
		table.flaws = map[rowOf]flaw{}
		for _, e := range entries {
			if found := judgeRow(e, time.Now()); found.err != nil {
				table.flaws[rowOf{e.Domain, e.Type}] = found
			}
		}
	})
	return table.flaws, table.err
}

// judgeFiles returns what keeps a service from using a pair in files.
func judgeFiles(pair deployers.Beside, now time.Time) flaw {
	certificate, _, err := disk.ReadFile(pair.Certificate, pairLimit)
	if err != nil {
		return flaw{err, true}
	}
	key, _, err := disk.ReadFile(pair.Key, pairLimit)
	if err != nil {
		return flaw{err, true}
	}
	found := judgeRow(rows.Entry{Certificate: certificate, Key: key}, now)
	if len(certificate) == 0 || len(key) == 0 {
		found = flaw{errors.New("a file is empty"), true}
	}
	if found.err != nil {
		found.err = fmt.Errorf("%s with %s: %w", pair.Certificate, pair.Key, found.err)
	}
	return found
}

// pairLimit bounds a file of a pair, in bytes.
const pairLimit = 1 << 20

// judgeRow returns what keeps OpenSSL from using a row's pair, or clients from
// accepting it. Of what crypto/x509 does not know it says nothing. OpenSIPS takes
// the first certificate as the leaf, stops at an intermediate that is malformed
// without a word, and has files for what is not in the row (openssl_config.c of
// 3.6.8, load_certificate_db and load_private_key_db; tls_mgm.c, init_tls_dom).
func judgeRow(e rows.Entry, now time.Time) flaw {
	if len(e.Certificate) == 0 {
		return flaw{}
	}
	if len(e.Key) == 0 {
		return flaw{errors.New("there is a certificate and no key"), true}
	}
	first := firstBlock(e.Certificate, func(kind string) bool { return strings.HasSuffix(kind, "CERTIFICATE") })
	key := firstBlock(e.Key, func(kind string) bool { return strings.HasSuffix(kind, "PRIVATE KEY") })
	if first == nil || key == nil || !wellFormed(first) || !wellFormed(key) {
		return flaw{errors.New("it holds no certificate and key in PEM that can be read"), true}
	}
	leaf, err := x509.ParseCertificate(first.Bytes)
	if err != nil {
		return flaw{}
	}
	_, findings := lineage.Parse(lineage.Lineage{Fullchain: "certificate", Key: "private_key"}, pem.EncodeToMemory(first), nil, e.Key)
	for _, f := range findings {
		if f.Code == "key-mismatch" {
			return flaw{errors.New(f.Detail), true}
		}
	}
	return flaw{outOfDate(leaf, now), false}
}

// outOfDate returns an error about a leaf that has run out, or has not begun.
func outOfDate(leaf *x509.Certificate, now time.Time) error {
	switch label := lineage.Label(leaf); {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("certificate %s expired on %s", label, leaf.NotAfter.Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("certificate %s is not valid before %s", label, leaf.NotBefore.Format(time.DateOnly))
	}
	return nil
}

// firstBlock returns the first block of some kinds; nil: there is none.
func firstBlock(text []byte, some func(kind string) bool) *pem.Block {
	for {
		block, rest := pem.Decode(text)
		if block == nil || some(block.Type) {
			return block
		}
		text = rest
	}
}

// wellFormed reports whether a block holds one DER value, or is encrypted.
func wellFormed(block *pem.Block) bool {
	if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return true
	}
	rest, err := asn1.Unmarshal(block.Bytes, &asn1.RawValue{})
	return err == nil && len(rest) == 0
}
