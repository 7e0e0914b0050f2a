package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/need"
	"github.com/certlatch/certlatch/internal/pki"
)

func TestMain(m *testing.M) {
	need.KeptTemp()
	if code, is := command.TryReadMain(); is {
		os.Exit(code)
	}
	testscript.Main(m, map[string]func(){
		"certlatch":                 main,
		"50-certlatch-hook-certbot": main,
		"certlatch-hook-dehydrated": main,
		"certlatch-hook-acmetool":   main,
		"served":                    func() { os.Exit(serveTLS(os.Args[1:])) },
		"served-reload":             func() { os.Exit(servedReload(os.Args[1:])) },
	})
}

// TestScripts runs the scripts in testdata/script: certlatch as its users see
// it, each with a state directory, lineages and a TLS server of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			s := &scene{t: t, dir: env.WorkDir, ca: pki.NewCA(t, "Script Root"), key: "Script Intermediate"}
			env.Values["scene"] = s
			self, err := os.Executable()
			if err != nil {
				return err
			}
			env.Setenv("GOCOVERDIR", filepath.Dir(self))
			for _, name := range []string{"PORT", "PORT2", "PORT3", "PORT4"} {
				env.Setenv(name, strconv.Itoa(need.Port(t)))
			}
			now := time.Now()
			env.Setenv("NOW", deployers.Window{From: sinceMidnight(now.Add(-time.Hour)), To: sinceMidnight(now.Add(time.Hour))}.String())
			env.Setenv("LATER", deployers.Window{From: sinceMidnight(now.Add(2 * time.Hour)), To: sinceMidnight(now.Add(3 * time.Hour))}.String())
			env.Setenv("BIN", strings.Split(env.Getenv("PATH"), string(filepath.ListSeparator))[0])
			return os.WriteFile(filepath.Join(env.WorkDir, "root.pem"), s.ca.PEM(), 0o644)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"lineage":  writeLineage,
			"config":   writeConfig,
			"exits":    exits,
			"json":     checkJSON,
			"snapshot": snapshot,
			"await":    await,
		},
	})
}

// scene is what the commands of one script share.
type scene struct {
	t         *testing.T
	dir       string
	ca        *pki.CA
	key       string
	snapshots map[string]string
}

func sceneOf(ts *testscript.TestScript) *scene { return ts.Value("scene").(*scene) }

// await waits until files exist: await FILE...
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: await FILE...")
	}
	deadline := time.Now().Add(2 * time.Minute)
	for _, name := range args {
		for {
			_, err := os.Stat(ts.MkAbs(name))
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				ts.Fatalf("await: %v", err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// writeLineage makes a new certificate: lineage NAME [other-key|expired|expiring|other-name].
func writeLineage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: lineage NAME [KIND]")
	}
	s, name := sceneOf(ts), args[0]
	ca := s.ca.Intermediate(s.t, s.key)
	now := time.Now().Truncate(time.Second)
	valid := pki.Valid(now.Add(-time.Hour), now.Add(90*24*time.Hour))
	of := name
	if slices.Equal(args[1:], []string{"other-name"}) {
		of = "other.example" // a certificate cannot have every name that a lineage can
	}
	leaf := ca.Leaf(s.t, pki.Names(of), valid)
	switch kind := strings.Join(args[1:], ""); kind {
	case "", "other-name":
	case "other-key":
		leaf.Key = ca.Leaf(s.t, pki.Names(name), valid).Key
	case "expired":
		leaf = ca.Leaf(s.t, pki.Names(name), pki.Valid(now.Add(-48*time.Hour), now.Add(-time.Hour)))
	case "expiring":
		leaf = ca.Leaf(s.t, pki.Names(name), pki.Valid(now.AddDate(0, 0, -70), now.AddDate(0, 0, 20)))
	default:
		ts.Fatalf("lineage: unknown kind %q", kind)
	}
	pki.WriteCertbot(s.t, filepath.Join(s.dir, "live"), name, leaf)
}

// writeConfig copies a configuration and fills in the variables of the script:
// config FROM TO.
func writeConfig(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: config FROM TO")
	}
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

// exits runs certlatch and demands an exit code: exits N ARGS...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if neg || err != nil {
		ts.Fatalf("usage: exits N ARGUMENT...")
	}
	got := 0
	if err := ts.Exec("certlatch", args[1:]...); err != nil {
		exit, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("run certlatch: %v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("certlatch %s: exit %d instead of %d", strings.Join(args[1:], " "), got, want)
	}
}

// checkJSON demands a value in the JSON on standard output: json PATH VALUE.
func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: json PATH VALUE")
	}
	var value any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &value); err != nil {
		ts.Fatalf("standard output is not JSON: %v", err)
	}
	for part := range strings.SplitSeq(args[0], ".") {
		switch in := value.(type) {
		case map[string]any:
			found, ok := in[part]
			if !ok {
				ts.Fatalf("json: no %q of %s", part, args[0])
			}
			value = found
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(in) {
				ts.Fatalf("json: no element %q of %s in %d", part, args[0], len(in))
			}
			value = in[i]
		default:
			ts.Fatalf("json: nothing below %q of %s", part, args[0])
		}
	}
	if got := fmt.Sprint(value); got != args[1] {
		ts.Fatalf("json: %s is %s instead of %s", args[0], got, args[1])
	}
}

// snapshot saves what lies below a directory, or compares it with what was
// saved: snapshot save|same DIR. Inodes and times count.
func snapshot(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: snapshot save|same DIR")
	}
	s := sceneOf(ts)
	var now strings.Builder
	ts.Check(filepath.WalkDir(ts.MkAbs(args[1]), func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var stat syscall.Stat_t
		if err := syscall.Lstat(path, &stat); err != nil {
			return err
		}
		fmt.Fprintln(&now, path, stat.Ino, stat.Mode, stat.Mtim, stat.Size)
		return nil
	}))
	if args[0] == "save" {
		s.snapshots = map[string]string{args[1]: now.String()}
	} else if s.snapshots[args[1]] != now.String() {
		ts.Fatalf("%s changed:\nbefore\n%s\nafter\n%s", args[1], s.snapshots[args[1]], now.String())
	}
}

// serveTLS is the command served: a TLS server in the manner of the services that
// certlatch is for. It serves a pair, and takes it anew on a HUP, if it can be
// read. An interrupt ends it, also where interrupts were ignored when it was
// started.
//
//	served PORT CERTIFICATE KEY PIDFILE
func serveTLS(args []string) int {
	var mutex sync.Mutex
	var pair tls.Certificate
	load := func() error {
		loaded, err := tls.LoadX509KeyPair(args[1], args[2])
		if err == nil {
			mutex.Lock()
			pair = loaded
			mutex.Unlock()
		}
		return err
	}
	if err := load(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for range hup {
			if err := load(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}()
	listener, err := tls.Listen("tcp", "127.0.0.1:"+args[0], &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		mutex.Lock()
		defer mutex.Unlock()
		return &pair, nil
	}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	context.AfterFunc(interrupted, func() { listener.Close() })
	if err := writePID(args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for {
		conn, err := listener.Accept()
		if interrupted.Err() != nil {
			return 0
		}
		if err != nil {
			return 1
		}
		go func() {
			conn.(*tls.Conn).Handshake()
			conn.Close()
		}()
	}
}

// writePID writes a PID file that is there with its content or not at all: it is
// waited for.
func writePID(path string) error {
	if err := os.WriteFile(path+".new", []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// servedReload notes that it was called, and sends a HUP to the servers of PID
// files:
//
//	served-reload LOG PIDFILE...
func servedReload(args []string) int {
	log, err := os.OpenFile(args[0], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = log.WriteString("reload\n")
		err = errors.Join(err, log.Close())
	}
	for _, pidFile := range args[1:] {
		data, readErr := os.ReadFile(pidFile)
		pid, parseErr := strconv.Atoi(string(data))
		if err = errors.Join(err, readErr, parseErr); err == nil {
			err = syscall.Kill(pid, syscall.SIGHUP)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func sinceMidnight(t time.Time) time.Duration {
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
}

// TestHelp wants the help of every command to name its exit codes and an
// example.
func TestHelp(t *testing.T) {
	var check func(path []string, commands []*cli.Command)
	check = func(path []string, commands []*cli.Command) {
		for _, c := range commands {
			at := append(slices.Clone(path), c.Name)
			for _, word := range []string{"Exit codes:", "Example: "} {
				if !strings.Contains(c.Description, word) {
					t.Errorf("the help of %s has no %q", strings.Join(at, " "), word)
				}
			}
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), append(slices.Clone(at), "--help"), &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), c.Usage) || stderr.Len() > 0 {
				t.Errorf("%s --help: exit %d, %q, %q", strings.Join(at, " "), code, stdout.String(), stderr.String())
			}
			check(at, c.Subcommands)
		}
	}
	check([]string{"certlatch"}, (&program{}).app().Commands)
}

// TestNoCoreDump wants the kernel to write no core dump of any command, since
// keys pass through each, and to let nobody but root look into the process
// (prctl(2)).
func TestNoCoreDump(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	run(t.Context(), []string{"certlatch", "version"}, io.Discard, io.Discard)
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); dumpable != 0 || err != nil {
		t.Errorf("PR_GET_DUMPABLE is %d, %v", dumpable, err)
	}
}

// TestErrorsAreUTF8 wants errors to be UTF-8, whatever they quote: certbot takes a
// hook for failed that prints anything else.
func TestErrorsAreUTF8(t *testing.T) {
	var stdout, stderr bytes.Buffer
	t.Setenv("RENEWED_LINEAGE", "/etc/letsencrypt/live/web.example")
	run(t.Context(), []string{"certlatch", "--config", "/nosuch/caf\xe9.yaml", "hook", "certbot"}, &stdout, &stderr)
	if got, want := stderr.String(), "configuration /nosuch/caf\uFFFD.yaml does not exist"; !strings.Contains(got, want) || !utf8.ValidString(got) {
		t.Errorf("%q", got)
	}
}

func TestCommandLine(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"certlatch deploy x --dry-run", "certlatch deploy --dry-run x"},
		{"certlatch deploy x --target web y --json", "certlatch deploy --target web --json x y"},
		{"certlatch deploy --target=web x", "certlatch deploy --target=web x"},
		{"certlatch --config f deploy x", "certlatch --config f deploy x"},
		{"certlatch hook install certbot --dir d", "certlatch hook install --dir d certbot"},
		{"certlatch hook certbot --json", "certlatch hook --json certbot"},
		{"certlatch deploy -- --dry-run", "certlatch deploy -- --dry-run"},
		{"certlatch deploy deploy --json", "certlatch deploy --json deploy"},
		{"certlatch rollback web --to g hold", "certlatch rollback --to g web hold"},

		{"certlatch deploy x --config f --json", "certlatch --config f deploy --json x"},
		{"certlatch config --log-level debug check", "certlatch --log-level debug config check"},
		{"certlatch config check --config=f", "certlatch --config=f config check"},
		{"certlatch deploy --target --config x", "certlatch deploy --target --config x"},
		{"certlatch check -w 14 -c 7 -v", "certlatch -v check -w 14 -c 7"},
		{"certlatch hook lego -- --config f help", "certlatch hook lego -- --config f help"},
		{"certlatch status --nosuch --config", "certlatch --config"},

		{"certlatch", "certlatch"},
		{"certlatch help", "certlatch --help"},
		{"certlatch help help", "certlatch --help"},
		{"certlatch help deploy", "certlatch deploy --help"},
		{"certlatch deploy help", "certlatch deploy --help"},
		{"certlatch hook install help", "certlatch hook install --help"},
		{"certlatch help nosuch", "certlatch nosuch"},
		{"certlatch deploy x help", "certlatch deploy x help"},
		{"certlatch deploy -- help", "certlatch deploy -- help"},
		{"certlatch deploy --target help", "certlatch deploy --target help"},

		{"certlatch -v", "certlatch version"},
		{"certlatch -V", "certlatch version"},
		{"certlatch deploy x --version", "certlatch version"},
		{"certlatch deploy --target --version", "certlatch deploy --target --version"},
		{"certlatch deploy -- --version", "certlatch deploy -- --version"},
		{"certlatch -v help", "certlatch -v --help"},
		{"certlatch status -v", "certlatch -v status"},
	} {
		words := strings.Fields(test.in)
		got := strings.Join(append(words[:1:1], takeApart((&program{}).app(), words[1:]).arranged()...), " ")
		if got != test.want {
			t.Errorf("%s\n got %s\nwant %s", test.in, got, test.want)
		}
	}
}

// TestReaderGone wants a reader of the output that goes away early, as head does, to
// change nothing: neither what is done, nor the exit code, nor what is complained of.
func TestReaderGone(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf("state: %s/state\nlineages: [{certbot: %[1]s/live}]\ntargets:\n  - {name: web, service: generic, lineage: web.example, certificate: %[1]s/cert.pem, key: %[1]s/key.pem, probe: [], generic: {activate: [\"true\"]}}\n", dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args string
		want int
	}{
		{"status --json", 0}, {"status", 0}, {"check", 3}, {"doctor", 2}, {"--help", 0}, {"help deploy", 0}, {"version", 0}, {"config show", 0},
		{"completion bash", 0}, {"probe tls://127.0.0.1:1", 3}, {"deploy --json", 2}, {"deploy", 2}, {"history", 0},
	} {
		t.Run(test.args, func(t *testing.T) {
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			reader.Close()
			defer writer.Close()
			var stderr bytes.Buffer
			code := run(t.Context(), append([]string{"certlatch", "--config", config}, strings.Fields(test.args)...), writer, &stderr)
			if code != test.want || strings.Contains(stderr.String(), "pipe") {
				t.Errorf("exit %d instead of %d: %s", code, test.want, stderr.String())
			}
		})
	}
}

// TestOutputFull wants it to be said that output cannot be written for another reason,
// whatever the exit code.
func TestOutputFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"certlatch", "probe", "tls://127.0.0.1:1"}, full, &stderr); code != 3 || !strings.Contains(stderr.String(), "no space left") {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
}
