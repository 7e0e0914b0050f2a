// Command demo shows what certlatch does to somebody who has never seen it: a
// real ACME server issues certificates, a real TLS server serves them, and
// certlatch stands between the two as it would between certbot and nginx. It
// needs neither root nor network, and leaves nothing behind.
//
// It is not a test of certlatch, although it fails where a step does not end
// as told. Called as "demo serve" and "demo reload" it is the TLS server of
// machines without nginx.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// limit is far beyond what the whole demo takes. Most of that certlatch waits
// for a proof that never comes.
const limit = 3 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 4 && args[0] == "serve":
		return serve(ctx, args[1], args[2], args[3])
	case len(args) == 2 && args[0] == "reload":
		return reload(args[1])
	}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	certlatch := flags.String("certlatch", ".build/bin/certlatch", "the certlatch `program`")
	pebble := flags.String("pebble", ".build/bin/pebble", "the Pebble `program`")
	server := flags.String("server", "", "nginx or embedded; by default nginx where there is one")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dir, err := os.MkdirTemp("", "certlatch-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var children children
	defer children.end()

	d, err := prepare(ctx, dir, *certlatch, *pebble, *server, &children)
	if err != nil {
		return err
	}
	return d.show(ctx)
}

// demo is a CA, a service, and certlatch between them.
type demo struct {
	dir       string
	certlatch string
	config    string
	ca        *ca
	service   service
	pair      pair // where the service expects its files
	step      int
}

// name is the name that the certificates are for.
const name = "web.example"

const welcome = `
certlatch takes a certificate that an ACME client has just renewed and latches
it into a running service. Here is a rehearsal on this machine alone:

  the CA        Pebble, a small ACME server made for tests, on %s
  the service   %s, on %s
  the files     below %s (… from here on), gone when this ends
`

func prepare(ctx context.Context, dir, certlatch, pebble, server string, children *children) (*demo, error) {
	d := &demo{dir: dir, config: filepath.Join(dir, "certlatch.yaml"), pair: pair{filepath.Join(dir, "tls/fullchain.pem"), filepath.Join(dir, "tls/privkey.pem")}}
	var err error
	if d.certlatch, err = filepath.Abs(certlatch); err != nil {
		return nil, err
	}
	if d.ca, err = startCA(ctx, dir, pebble, children); err != nil {
		return nil, err
	}
	if err := selfSigned(d.pair, name); err != nil {
		return nil, err
	}
	if d.service, err = newService(server, dir); err != nil {
		return nil, err
	}
	if err := d.service.start(ctx, d.pair, children); err != nil {
		return nil, err
	}
	fmt.Printf(welcome, d.ca.address, d.service.title(), d.service.address(), dir)

	config := fmt.Sprintf(`state: %[1]s/state
lineages:
  - certbot: %[1]s/live
policy:
  trust: %[1]s/root.pem
targets:
  - name: web
    lineage: %[2]s
    certificate: %[3]s
    key: %[4]s
    probe: ["https://%[5]s?name=%[2]s"]
%[6]s`, dir, name, d.pair.certificate, d.pair.key, d.service.address(), d.service.config())
	fmt.Printf("\nThis is certlatch's whole configuration:\n\n%s", d.quote(config))
	return d, os.WriteFile(d.config, []byte(config), 0o600)
}

// show shows the demo, step by step.
func (d *demo) show(ctx context.Context) error {
	d.title("The first certificate",
		"The service has started with the self-signed certificate of its installation.",
		"Now the ACME client gets a real one, and calls certlatch as its deploy hook.")
	first, err := d.ca.issue(ctx)
	if err != nil {
		return err
	}
	if err := d.hook(ctx, 0, first, "certlatch has shaken hands with the service and seen the new\ncertificate: it is deployed."); err != nil {
		return err
	}

	d.title("A renewal",
		"Weeks later the client renews. The same hook, and nobody has to look.")
	second, err := d.ca.issue(ctx)
	if err != nil {
		return err
	}
	if err := d.hook(ctx, 0, second, "Proven by handshakes once more, without a restart."); err != nil {
		return err
	}

	d.title("A renewal that would break the service",
		"This time the key on disk is not the one of the certificate, as after two",
		"clients that ran at once. A service would fail at its next start.")
	if _, err := d.ca.issue(ctx); err != nil {
		return err
	}
	if err := d.ca.swapKey(); err != nil {
		return err
	}
	if err := d.hook(ctx, 3, second, "Refused before anything was touched. The service goes on as before."); err != nil {
		return err
	}

	d.title("A renewal that does not arrive",
		"Somebody has pointed the service at copies of its files. Its reload will go",
		"well, and clients would get the old certificate until it expires. certlatch",
		"looks for the new one, in vain; that takes a quarter of a minute.")
	copies := pair{filepath.Join(d.dir, "copies/fullchain.pem"), filepath.Join(d.dir, "copies/privkey.pem")}
	if err := copyPair(copies, d.pair); err != nil {
		return err
	}
	if err := d.service.point(ctx, copies); err != nil {
		return err
	}
	if _, err := d.ca.issue(ctx); err != nil {
		return err
	}
	if err := d.hook(ctx, 6, second, "Not proven, so the previous pair is back in place, and that is\nproven too. The renewal stays pending, and the exit code tells the ACME client."); err != nil {
		return err
	}
	if same, err := sameFiles(copies, d.pair); err != nil || !same {
		return errors.Join(err, errors.New("the previous pair is not back in place"))
	}

	fmt.Print("\nThat is all. Everything has gone as told, and nothing is left behind.\n")
	return nil
}

func (d *demo) title(title string, text ...string) {
	d.step++
	fmt.Printf("\n%d. %s\n\n%s\n\n", d.step, title, strings.Join(text, "\n"))
}

// hook calls certlatch as certbot would and shows what it prints. It fails
// where the exit code is not want, or the service does not serve the leaf with
// the fingerprint served.
func (d *demo) hook(ctx context.Context, want int, served string, meaning string) error {
	lineage := d.ca.live()
	cmd := exec.CommandContext(ctx, d.certlatch, "--config", d.config, "hook", "certbot")
	cmd.Env = append(os.Environ(), "RENEWED_LINEAGE="+lineage, "RENEWED_DOMAINS="+name)
	fmt.Print(d.quote("$ RENEWED_LINEAGE=" + lineage + " certlatch --config " + d.config + " hook certbot\n"))
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		return err
	}
	fmt.Println(d.quote(string(out)))
	if code := cmd.ProcessState.ExitCode(); code != want {
		return fmt.Errorf("certlatch ended with exit code %d, and not with %d", code, want)
	}
	got, err := d.ca.seen(ctx, d.service.address())
	if err != nil {
		return err
	}
	if got != served {
		return fmt.Errorf("the service serves the certificate %.8s, and not %.8s", got, served)
	}
	fmt.Printf("Exit code %d. %s\nA client that connects now gets the certificate %.8s.\n", want, meaning, got)
	return nil
}

// quote returns output in a form that sets it off from the demo's own text.
func (d *demo) quote(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.ReplaceAll(text, d.dir, "…")) {
		b.WriteString("  | " + line)
	}
	return b.String()
}
