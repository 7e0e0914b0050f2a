package system

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/pki"
)

// waitLimit is how long a scenario waits for what systemd or a server does in
// a moment, on a machine that has much else to do.
const waitLimit = 2 * time.Minute

// TestScripts plays every scenario on a host of its own.
func TestScripts(t *testing.T) {
	t.Parallel()
	newStage(t).play(t, "testdata/script")
}

// stage is what scenarios have in common.
type stage struct {
	image    string
	programs []string
	files    string
}

func newStage(t *testing.T) stage {
	needMachine(t)
	image := root(t, trixie)
	files, err := filepath.Abs("testdata/files")
	if err != nil {
		t.Fatal(err)
	}
	return stage{
		image: image, files: files,
		programs: []string{
			goBuild(t, "certlatch", "../..", "build", "-trimpath", "./cmd/certlatch"),
			goBuild(t, "fakeopensips", "../..", "build", "./internal/system/fakeopensips"),
			goBuild(t, "hammer", "../..", "build", "./internal/system/hammer"),
			goBuild(t, "hostile", "../..", "build", "./internal/system/hostile"),
			goBuild(t, "pebble", "../tools", "build", "github.com/letsencrypt/pebble/v2/cmd/pebble"),
		},
	}
}

// play plays every scenario of a directory on a host of its own, with some
// environment variables (NAME=VALUE) for the scripts.
func (st stage) play(t *testing.T, dir string, environment ...string) {
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			t := env.T().(testing.TB)
			env.Setenv("FILES", st.files)
			env.Setenv("UNITS", filepath.Join(st.files, "../../../../packaging/systemd"))
			env.Vars = append(env.Vars, environment...)
			s := &scenario{
				TB: t, host: boot(t, st.image, st.programs...), ca: newAuthority(t),
				saved: map[string]map[string]string{}, reloads: map[string]int{},
			}
			env.Values[scenarioKey{}] = s
			env.Defer(s.judgeLongest)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"host":      command("host [NAME=VALUE...] PROGRAM [ARGUMENT...]", (*scenario).runHost),
			"exits":     command("exits STATUS host|operator ...", (*scenario).exits),
			"together":  command("together N host ...", (*scenario).together),
			"rounds":    command("rounds COUNT host ...", (*scenario).rounds),
			"timed":     command("timed LIMIT host ...", (*scenario).timed),
			"sweep":     command("sweep CALL,... CHECK host ...", (*scenario).sweep),
			"hostile":   command("hostile USER ATTACK PATH...", (*scenario).hostile),
			"as":        command("as USER PROGRAM [ARGUMENT...]", (*scenario).as),
			"put":       command("put FILE PATH [MODE [OWNER]]", (*scenario).put),
			"example":   command("example PAGE HEADING FILE", (*scenario).example),
			"follow":    command("follow PAGE HEADING", (*scenario).follow),
			"lineage":   command("lineage NAME [FLAW]", (*scenario).lineage),
			"lineages":  command("lineages COUNT FORMAT [FLAW]", (*scenario).lineages),
			"pebble":    command("pebble", (*scenario).pebble),
			"certbot":   command("certbot VERB [ARGUMENT...]", (*scenario).certbot),
			"opensips":  command("opensips script|database [FLAG...]", (*scenario).opensips),
			"database":  command("database sqlite|mysql|postgres|stop|start", (*scenario).runDatabase),
			"sql":       command("sql STATEMENT", (*scenario).runSQL),
			"row":       command("row TYPE DIRECTORY", (*scenario).row),
			"json":      command("json PATH VALUE", (*scenario).json),
			"inodes":    command("inodes save|same PATH...", (*scenario).inodes),
			"reloads":   command("reloads save|N UNIT", (*scenario).countReloads),
			"quiet":     command("quiet host ...", (*scenario).quiet),
			"served":    command("served ADDRESS NAME FILE", (*scenario).served),
			"reload":    command("reload COUNT", (*scenario).reloadKamailio),
			"renewals":  command("renewals COUNT LINEAGE ADDRESS", (*scenario).renewals),
			"until":     command("until host|exits|served ...", (*scenario).again),
			"wait-unit": command("wait-unit UNIT STATE", (*scenario).waitUnit),

			"newcomer": command("newcomer", (*scenario).newcomer),
			"operator": command("operator PROGRAM [ARGUMENT...]", (*scenario).operator),
			"edit":     command("edit PATH sed SCRIPT|put FILE", (*scenario).edit),

			"wait-served": command("wait-served ADDRESS NAME FILE", (*scenario).waitServed),
			"wait-says":   command("wait-says TEXT PROGRAM [ARGUMENT...]", (*scenario).waitSays),
		},
	})
}

// TestSystemdPackage runs the systemd package's own tests where there is a
// systemd to talk to.
func TestSystemdPackage(t *testing.T) {
	t.Parallel()
	needMachine(t)
	h := boot(t, root(t, trixie), goBuild(t, "systemd.test", "../..", "test", "-c", "-tags=systemdtest", "./internal/systemd"))
	out, err := h.run("CI=true", "CERTLATCH_SYSTEMD_TEST=1", "systemd.test", "-test.v", "-test.timeout=2m")
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// goBuild builds a program without cgo and returns its path.
func goBuild(t testing.TB, name, dir string, args ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", slices.Insert(args, len(args)-1, "-o", program)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%s made nothing: %v", cmd, err)
	}
	return program
}

// scenario is what one script works on.
type scenario struct {
	testing.TB
	host    *host
	ca      authority
	saved   map[string]map[string]string // by path, as inodes save found them
	reloads map[string]int               // by unit, as reloads save found them

	database databaseKind // that was started

	longest    time.Duration // that certlatch ran
	longestRun []string
	attacks    int // that were begun
}

type scenarioKey struct{}

// errUsage says that a script uses a command in a wrong way.
var errUsage = errors.New("usage")

// mismatch says that a script's claim about the host is not true. Other errors
// say why that could not be found out.
type mismatch string

func (m mismatch) Error() string { return string(m) }

// mismatchf makes a mismatch.
func mismatchf(format string, args ...any) error { return mismatch(fmt.Sprintf(format, args...)) }

// command returns a script's command that calls a method. With a ! before it,
// it must end in a mismatch.
func command(usage string, do func(*scenario, *testscript.TestScript, []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		err := do(ts.Value(scenarioKey{}).(*scenario), ts, args)
		switch {
		case errors.Is(err, errUsage):
			ts.Fatalf("usage: %s", usage)
		case neg && errors.As(err, new(mismatch)):
			ts.Logf("[as expected: %v]", err)
		case err != nil:
			ts.Fatalf("%v", err)
		case neg:
			ts.Fatalf("unexpected success")
		}
	}
}

// runHost runs a program inside, without a shell; what it prints is for the
// script's stdout and stderr commands.
func (s *scenario) runHost(ts *testscript.TestScript, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	switch status, err := s.status(ts, args); {
	case err != nil:
		return err
	case status != 0:
		return mismatchf("exit status %d", status)
	}
	return nil
}

// status runs a program inside and returns its exit status.
func (s *scenario) status(ts *testscript.TestScript, args []string) (int, error) {
	defer s.clock(args)()
	args = s.host.command(args...)
	err := ts.Exec(args[0], args[1:]...)
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// exits runs a program inside and wants one exit status.
func (s *scenario) exits(ts *testscript.TestScript, args []string) error {
	if len(args) < 3 || args[1] != "host" && args[1] != "operator" {
		return errUsage
	}
	status, err := s.status(ts, args[2:])
	if err == nil && strconv.Itoa(status) != args[0] {
		err = mismatchf("exit status %d, want %s", status, args[0])
	}
	return err
}

// together starts a program N times at once; all have to succeed.
func (s *scenario) together(_ *testscript.TestScript, args []string) error {
	if len(args) < 3 || args[1] != "host" {
		return errUsage
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return errUsage
	}
	defer s.clock(args[2:])()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = s.host.run(args[2:]...) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// put copies a file of the script into the host, with mode 0644 and owner root
// by default.
func (s *scenario) put(ts *testscript.TestScript, args []string) error {
	if len(args) < 2 || len(args) > 4 {
		return errUsage
	}
	args = append(args, []string{"0644", "root:root"}[len(args)-2:]...)
	return s.host.write(args[1], []byte(ts.ReadFile(args[0])), args[2], args[3])
}

// example writes the configuration that a page of the manual, or README, has below a
// heading into a file of the script.
func (s *scenario) example(ts *testscript.TestScript, args []string) error {
	if len(args) != 3 {
		return errUsage
	}
	blocks, err := quoted(args[0], args[1], "yaml")
	if err != nil {
		return err
	}
	return os.WriteFile(ts.MkAbs(args[2]), []byte(blocks[0]), 0o644)
}

// follow runs the commands that a page of the manual, or README, has below a heading,
// one after the other. Each has to end with 0, or as the comment behind it says.
func (s *scenario) follow(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	blocks, err := quoted(args[0], args[1], "sh")
	if err != nil {
		return err
	}
	for line := range strings.Lines(strings.Join(blocks, "")) {
		want := 0
		if _, says, commented := strings.Cut(line, " # ends with "); commented {
			if want, err = strconv.Atoi(strings.Trim(says[:min(2, len(says))], ":\n ")); err != nil {
				return err
			}
		}
		ts.Logf("$ %s", line)
		status, err := s.status(ts, []string{"sh", "-c", line})
		if err != nil {
			return err
		}
		if status != want {
			return mismatchf("%s ends with %d, want %d", line, status, want)
		}
	}
	return nil
}

// quoted returns the blocks of a language that a page of the manual, or README, has
// below a heading, up to the next one.
func quoted(page, heading, language string) (blocks []string, err error) {
	path := filepath.Join("../../packaging/man", page+".md")
	if page == "README" {
		path = "../../README.md"
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	inside := false
	indent, fence, block := "", "", ""
	for line := range strings.Lines(string(text)) {
		if bare := strings.TrimLeft(line, " "); fence == "" && strings.HasPrefix(bare, "```") {
			indent = line[:len(line)-len(bare)] // that of an item of a list
		}
		line = strings.TrimPrefix(line, indent)
		marks := len(line) - len(strings.TrimLeft(line, "#"))
		switch {
		case fence != "" && line == "```\n":
			if inside && fence == "```"+language+"\n" {
				blocks = append(blocks, block)
			}
			indent, fence, block = "", "", ""
		case fence != "":
			block += line
		case strings.HasPrefix(line, "```"):
			fence = line
		case marks > 0:
			inside = line[marks:] == " "+heading+"\n"
		}
	}
	if blocks == nil {
		return nil, fmt.Errorf("%s has no block of %s below %q", page, language, heading)
	}
	return blocks, nil
}

// lineage renews a lineage as certbot would, below /etc/letsencrypt, with a
// certificate of the scenario's own CA, whose root is /root/ca.pem. A flaw,
// of the table in flaws, is what certbot would never produce.
func (s *scenario) lineage(_ *testscript.TestScript, args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return errUsage
	}
	if err := s.issue(args[0], args[1:]...); err != nil {
		return err
	}
	return s.host.write("/root/ca.pem", s.ca.root(), "0644", "root")
}

// issue writes what certbot would keep of a lineage.
func (s *scenario) issue(name string, flaw ...string) error {
	leaf := s.ca.leaf(s, name)
	if len(flaw) > 0 {
		flawed, ok := flaws[flaw[0]]
		if !ok {
			return fmt.Errorf("no flaw is called %s; %s are", flaw[0], strings.Join(slices.Sorted(maps.Keys(flaws)), ", "))
		}
		leaf = flawed(s, s.ca, name)
	}
	pki.WriteCertbot(s, s.host.path("/etc/letsencrypt/live"), name, leaf)
	return nil
}

// lineages makes a number of lineages, as lineage does, with the numbers from 1
// on in their names.
func (s *scenario) lineages(_ *testscript.TestScript, args []string) error {
	if len(args) < 2 || len(args) > 3 {
		return errUsage
	}
	count, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	for n := range count {
		if err := s.issue(fmt.Sprintf(args[1], n+1), args[2:]...); err != nil {
			return err
		}
	}
	return s.host.write("/root/ca.pem", s.ca.root(), "0644", "root")
}

// json wants a value in the JSON document that the last command printed, such
// as targets.0.result. Objects and arrays are compared in their JSON form.
func (s *scenario) json(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	var value any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &value); err != nil {
		return fmt.Errorf("read JSON of the last command: %w", err)
	}
	for step := range strings.SplitSeq(args[0], ".") {
		switch at := value.(type) {
		case map[string]any:
			next, ok := at[step]
			if !ok {
				return mismatchf("%s: no %s there; %s are", args[0], step, strings.Join(slices.Sorted(maps.Keys(at)), ", "))
			}
			value = next
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(at) {
				return mismatchf("%s: %s is not an index into the %d elements", args[0], step, len(at))
			}
			value = at[i]
		default:
			return mismatchf("%s: %s is below %v, which holds nothing", args[0], step, value)
		}
	}
	text, ok := value.(string)
	if !ok {
		encoded, err := json.Marshal(value)
		if err != nil {
			return err
		}
		text = string(encoded)
	}
	if text != args[1] {
		return mismatchf("%s is %s, want %s", args[0], text, args[1])
	}
	return nil
}

// inodes saves what is below some paths, and later wants no inode to have been
// touched: neither content nor owner, mode or times.
func (s *scenario) inodes(_ *testscript.TestScript, args []string) error {
	if len(args) < 2 {
		return errUsage
	}
	for _, path := range args[1:] {
		now, err := inodes(s.host.path(path))
		if err != nil {
			return err
		}
		switch args[0] {
		case "save":
			s.saved[path] = now
		case "same":
			before, ok := s.saved[path]
			if !ok {
				return fmt.Errorf("%s was not saved", path)
			}
			if diff := cmp.Diff(before, now); diff != "" {
				return mismatchf("%s was touched (-before +now):\n%s", path, diff)
			}
		default:
			return errUsage
		}
	}
	return nil
}

// inodes describes what is at a path and below, by path, and follows no links.
// That nothing is there is described too.
func inodes(top string) (map[string]string, error) {
	found := map[string]string{}
	err := filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == top {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		content := ""
		switch {
		case info.Mode().IsRegular():
			bytes, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(bytes)
			content = hex.EncodeToString(sum[:8])
		case info.Mode().Type() == fs.ModeSymlink:
			if content, err = os.Readlink(path); err != nil {
				return err
			}
		}
		found["."+strings.TrimPrefix(path, top)] = fmt.Sprintf("inode %d %v %d:%d mtime %d.%09d ctime %d.%09d %s",
			st.Ino, info.Mode(), st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec, content)
		return nil
	})
	return found, err
}

// countReloads wants a number of reload jobs of a unit to have ended, however
// they did, since they were last saved.
func (s *scenario) countReloads(_ *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	if _, err := s.host.run("journalctl", "--sync"); err != nil {
		return err
	}
	// SD_MESSAGE_UNIT_RELOADED of systemd's sd-messages.h.
	out, err := s.host.run("journalctl", "--boot", "--output=json",
		"UNIT="+args[1], "JOB_TYPE=reload", "MESSAGE_ID=7b05ebc668384222baa8881179cfda54")
	if err != nil {
		return err
	}
	n := strings.Count(out, "\n")
	if args[0] == "save" {
		s.reloads[args[1]] = n
		return nil
	}
	if n -= s.reloads[args[1]]; strconv.Itoa(n) != args[0] {
		return mismatchf("%s had %d reloads, want %s", args[1], n, args[0])
	}
	return nil
}

// served wants a server in the host, which may be about to start, to serve the
// leaf that a file of the host begins with.
func (s *scenario) served(_ *testscript.TestScript, args []string) error {
	if len(args) != 3 {
		return errUsage
	}
	var got *x509.Certificate
	if err := s.until(func() (err error) {
		got, err = s.host.served(s.Context(), args[0], args[1])
		return err
	}); err != nil {
		return err
	}
	text, err := s.host.run("cat", args[2])
	if err != nil {
		return err
	}
	want, _ := pem.Decode([]byte(text))
	if want == nil {
		return fmt.Errorf("%s holds no certificate", args[2])
	}
	if string(want.Bytes) != string(got.Raw) {
		return mismatchf("%s serves %s (serial %x), not what is in %s", args[0], lineage.Fingerprint(got)[:8], got.SerialNumber, args[2])
	}
	return nil
}

// again waits until what another command of the script wants is so.
func (s *scenario) again(ts *testscript.TestScript, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	do := map[string]func(*testscript.TestScript, []string) error{"host": s.runHost, "exits": s.exits, "served": s.served}[args[0]]
	if do == nil {
		return errUsage
	}
	return s.until(func() error { return do(ts, args[1:]) })
}

// waitServed waits until served is so.
func (s *scenario) waitServed(ts *testscript.TestScript, args []string) error {
	return s.until(func() error { return s.served(ts, args) })
}

// waitSays waits until what a program prints holds a text.
func (s *scenario) waitSays(_ *testscript.TestScript, args []string) error {
	if len(args) < 2 {
		return errUsage
	}
	return s.until(func() error {
		out, err := s.host.run(args[1:]...)
		if err == nil && !strings.Contains(out, args[0]) {
			err = mismatchf("%q does not hold %q", out, args[0])
		}
		return err
	})
}

// waitUnit waits until a unit is in a state: active, inactive, failed.
func (s *scenario) waitUnit(_ *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	return s.until(func() error {
		state, err := s.host.run("systemctl", "show", "--property=ActiveState", "--value", args[0])
		if state = strings.TrimSpace(state); err == nil && state != args[1] {
			err = fmt.Errorf("%s is %s, not %s", args[0], state, args[1])
		}
		return err
	})
}

// until calls try until it returns nil, or returns its last error when time is over.
func (s *scenario) until(try func() error) error { return until(s.Context(), try) }

// until tries until it works, or returns the last error when time is over.
func until(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
