// Hammer deploys two pairs of a lineage in turn, again and again, and makes
// handshakes as fast as it can from the moment of each proof on. It fails where one
// of those shows the pair from before: then the proof was made too early.
//
// It does not promise to hit a gap that is shorter than the time from one of its
// handshakes to the next, which it prints.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/deploy"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/rows"
	"github.com/certlatch/certlatch/internal/state"
	"github.com/certlatch/certlatch/internal/systemd"
)

func main() {
	if code, is := command.TryReadMain(); is {
		os.Exit(code)
	}
	log.SetFlags(0)
	var h hammer
	flag.BoolVar(&h.always, "load", false, "make handshakes all the time")
	count := flag.Int("count", 10, "how often to deploy")
	flag.Parse()
	if err := h.run(*count); err != nil {
		log.Fatal(err)
	}
}

// lineage is certbot's, of which the archive has two pairs, and address is where it
// is served.
const (
	lineage = "web.example"
	address = "127.0.0.1:443"
)

// window is how long handshakes are made after a proof: nginx's old workers go on
// for 160 ms after a reload at most (measured with 1.26.3, 8 workers), of which the
// proof takes the most.
const window = 150 * time.Millisecond

// hammers is how many goroutines make handshakes.
const hammers = 4

type hammer struct {
	always bool

	proven atomic.Pointer[leaf] // nil: nothing is, for the moment
	proofs []time.Duration      // how long each took

	looks, early, failed atomic.Int64
}

// leaf is the DER of a certificate.
type leaf []byte

func (h *hammer) run(count int) error {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for range hammers {
		all.Go(func() {
			for ctx.Err() == nil {
				h.look(ctx)
			}
		})
	}
	err := h.deployAgain(ctx, count)
	cancel()
	all.Wait()
	if err != nil {
		return err
	}
	slices.Sort(h.proofs)
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return err
	}
	fmt.Printf("%d proofs, %s median, %s at most; then %d handshakes, %d too early, %d failed; %s of user and %s of system time\n",
		count, h.proofs[count/2].Round(time.Millisecond/10), h.proofs[count-1].Round(time.Millisecond/10), h.looks.Load(), h.early.Load(), h.failed.Load(),
		time.Duration(usage.Utime.Nano()), time.Duration(usage.Stime.Nano()))
	if h.early.Load() > 0 || h.failed.Load() > 0 || h.looks.Load() < int64(count) {
		return errors.New("not every handshake after a proof showed what was proven")
	}
	return nil
}

// look makes a handshake, and counts it if what was proven when it began still is.
func (h *hammer) look(ctx context.Context) {
	proven := h.proven.Load()
	if proven == nil && !h.always {
		time.Sleep(time.Millisecond / 10)
		return
	}
	dialer := tls.Dialer{Config: &tls.Config{ServerName: lineage, InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err == nil {
		defer conn.Close()
	}
	switch {
	case proven == nil || h.proven.Load() != proven:
	case err != nil:
		h.failed.Add(1)
		log.Print(err)
	case !bytes.Equal(conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw, *proven):
		h.early.Add(1)
	default:
		h.looks.Add(1)
	}
}

func (h *hammer) deployAgain(ctx context.Context, count int) error {
	cfg, err := config.Load("/etc/certlatch/config.yaml")
	if err != nil {
		return err
	}
	store, err := state.Open(cfg.State)
	if err != nil {
		return err
	}
	for n := range count {
		next, err := renew(n%2 + 1)
		if err != nil {
			return err
		}
		e := deploy.Engine{Site: prepare.Site{
			Config: cfg, Store: store, Log: slog.New(onProof{func(took time.Duration) {
				h.proofs = append(h.proofs, took)
				h.proven.Store(&next)
			}}),
			World: prepare.RealWorld(func(ctx context.Context) (prepare.Units, error) { return systemd.Connect(ctx) }, rows.Databases{}),
		}}
		report, err := e.Deploy(ctx, deploy.Request{Lineages: []string{lineage}, Force: true, By: "hammer", Limits: deploy.HandLimits})
		if err != nil {
			return err
		}
		for _, o := range report.Outcomes {
			if o.Result != outcome.Deployed {
				return fmt.Errorf("deployment %d: %s (%s): %s", n, o.Result, o.Reason, o.Detail)
			}
		}
		if len(h.proofs) != n+1 {
			return fmt.Errorf("deployment %d has no proof", n)
		}
		<-time.After(window)
		h.proven.Store(nil)
	}
	return nil
}

// renew lets the lineage be one of the pairs in certbot's archive, and returns its
// leaf.
func renew(number int) (leaf, error) {
	live := filepath.Join("/etc/letsencrypt/live", lineage)
	for _, kind := range []string{"cert", "chain", "fullchain", "privkey"} {
		link := filepath.Join(live, kind+".pem")
		if err := errors.Join(
			os.Symlink(fmt.Sprintf("../../archive/%s/%s%d.pem", lineage, kind, number), link+".new"),
			os.Rename(link+".new", link),
		); err != nil {
			return nil, err
		}
	}
	text, err := os.ReadFile(filepath.Join(live, "cert.pem"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate", live)
	}
	return block.Bytes, nil
}

// onProof is told of every proof that the engine logs.
type onProof struct{ tell func(took time.Duration) }

func (onProof) Enabled(context.Context, slog.Level) bool { return true }
func (h onProof) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h onProof) WithGroup(string) slog.Handler          { return h }

func (h onProof) Handle(_ context.Context, r slog.Record) error {
	values := map[string]slog.Value{}
	r.Attrs(func(a slog.Attr) bool {
		values[a.Key] = a.Value
		return true
	})
	if r.Message == "step" && values["step"].String() == string(outcome.Prove) && values["ok"].Bool() {
		h.tell(values["took"].Duration())
	}
	return nil
}
