package command

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if code, handled := TryReadMain(); handled {
		os.Exit(code)
	}
	// The program is not dumpable either, and CanRead has to work all the same.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestRun(t *testing.T) {
	output, err := Run(t.Context(), []string{"sh", "-c", "echo out; echo err >&2"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Output{"out\n", "err\n"}, output); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

func TestRunPassesArgumentsAsTheyAre(t *testing.T) {
	output, err := Run(t.Context(), []string{"/usr/bin/printf", "%s|", "a b", "$(id)", "*", ""})
	if want := "a b|$(id)|*||"; err != nil || output.Stdout != want {
		t.Errorf("printed %q (%v), want %q", output.Stdout, err, want)
	}
}

func TestRunInheritsNothing(t *testing.T) {
	t.Setenv("SECRET", "hunter2")
	output, err := Run(t.Context(), []string{"sh", "-c", "env | grep -v ^_= | sort; pwd; cat"})
	want := "LANG=C.UTF-8\nPATH=" + searchPath + "\nPWD=/\n/\n"
	if err != nil || output.Stdout != want {
		t.Errorf("the program sees\n%s(%v), want\n%s", output.Stdout, err, want)
	}
}

func TestRunExitStatus(t *testing.T) {
	_, err := Run(t.Context(), []string{"sh", "-c", "echo first; echo what is wrong >&2; exit 3"})
	want := &ExitError{"sh", 3, Output{"first\n", "what is wrong\n"}}
	got, _ := errors.AsType[*ExitError](err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("error (-want +got):\n%s", diff)
	}
	if text := "sh ended with status 3: what is wrong"; err.Error() != text {
		t.Errorf("error says %q, want %q", err, text)
	}
}

func TestRunSignal(t *testing.T) {
	_, err := Run(t.Context(), []string{"sh", "-c", "kill -SEGV $$"})
	if e, ok := errors.AsType[*KilledError](err); !ok || e.Signal != syscall.SIGSEGV {
		t.Errorf("got %v", err)
	}
}

// fifo makes a FIFO and opens it.
func fifo(t *testing.T, flag int) (path string, file *os.File) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, flag, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return path, file
}

// endedOnceBegun returns a context that ends for a reason as soon as something is
// written to a FIFO.
func endedOnceBegun(t *testing.T, why error) (ctx context.Context, path string) {
	ctx, cancel := context.WithCancelCause(t.Context())
	path, begun := fifo(t, os.O_RDWR)
	go func() {
		if _, err := begun.Read(make([]byte, 1)); err == nil {
			cancel(why)
		}
	}()
	return ctx, path
}

// All of the group is killed, as a FIFO shows whose other end none of them
// holds any more.
func TestRunEndsWithContext(t *testing.T) {
	path, other := fifo(t, os.O_RDONLY|syscall.O_NONBLOCK)
	ctx, begun := endedOnceBegun(t, context.DeadlineExceeded)
	output, err := Run(ctx, []string{"sh", "-c", `exec 3>"$1"; echo held >&3; echo begun; echo >"$2"; sleep 1000 & wait`, "sh", path, begun})
	e, ok := errors.AsType[*TimeoutError](err)
	if !ok || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "did not end in time") {
		t.Fatalf("got %v", err)
	}
	if output.Stdout != "begun\n" || output != e.Output {
		t.Errorf("the output up to then is lost: %+v", output)
	}
	if err := other.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if held, err := io.ReadAll(other); err != nil || string(held) != "held\n" {
		t.Errorf("somebody still lives: read %q, %v", held, err)
	}
}

func TestRunCancelled(t *testing.T) {
	why := errors.New("told to stop")
	ctx, begun := endedOnceBegun(t, why)
	_, err := Run(ctx, []string{"sh", "-c", `echo >"$1"; exec sleep 1000`, "sh", begun})
	if _, ok := errors.AsType[*TimeoutError](err); !ok || !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// TestRunLeavesDaemonsAlone wants no error from a program that ends well and
// leaves a daemon behind.
func TestRunLeavesDaemonsAlone(t *testing.T) {
	output, err := Run(t.Context(), []string{"sh", "-c", "sleep 1000 & echo $!"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), []string{"kill", strings.TrimSpace(output.Stdout)}); err != nil {
		t.Errorf("the daemon is gone: %v", err)
	}
}

func TestRunNotStarted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		argv []string
		is   error
		says string
	}{
		{argv: nil, says: "empty"},
		{argv: []string{"certlatch-no-such-program"}, is: fs.ErrNotExist, says: "/usr/sbin"},
		{argv: []string{"/no/such/program"}, is: fs.ErrNotExist, says: "/no/such/program"},
		{argv: []string{file}, is: fs.ErrPermission, says: file},
		{argv: []string{"bin/true"}, says: "neither a bare name nor an absolute path"},
	} {
		_, err := Run(t.Context(), c.argv)
		if _, ok := errors.AsType[*NotStartedError](err); !ok || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: got %v, want a *NotStartedError that says %q", c.argv, err, c.says)
		}
	}
}

func TestRunCapsOutput(t *testing.T) {
	output, err := Run(t.Context(), []string{"sh", "-c", "yes | head -c 100000; yes | head -c 100000 >&2; exit 1"})
	if len(output.Stdout) != outputLimit || len(output.Stderr) != outputLimit {
		t.Errorf("kept %d and %d bytes", len(output.Stdout), len(output.Stderr))
	}
	if len(err.Error()) > 500 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

func TestRunRedactsKeys(t *testing.T) {
	const begin, body, end = "-----BEGIN EC PRIVATE KEY-----\n", "c2VjcmV0\n", "-----END EC PRIVATE KEY-----\n"
	for _, c := range []struct{ name, printed, want string }{
		{"whole", "a\n" + begin + body + end + "b\n", "a\n[REDACTED]\nb\n"},
		{"two", begin + body + end + begin + body + end, "[REDACTED]\n[REDACTED]\n"},
		{"with prefixes", "log: " + begin + "log: " + body + "log: " + end + "b\n", "log: [REDACTED]\nb\n"},
		{"PKCS#8", "-----BEGIN PRIVATE KEY-----\n" + body + "-----END PRIVATE KEY-----\n", "[REDACTED]\n"},
		{"without end", "a\n" + begin + body + body, "a\n[REDACTED]"},
		{"cut off", strings.Repeat("a", outputLimit-50) + begin + body + strings.Repeat("c", 100) + end, strings.Repeat("a", outputLimit-50) + "[REDACTED]"},
		{"certificate", "-----BEGIN CERTIFICATE-----\n" + body, "-----BEGIN CERTIFICATE-----\n" + body},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "printed")
			if err := os.WriteFile(file, []byte(c.printed), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := Run(t.Context(), []string{"sh", "-c", `cat "$1" "$1" >&2; cat "$1"; exit 1`, "sh", file})
			e, ok := errors.AsType[*ExitError](err)
			if !ok {
				t.Fatal(err)
			}
			if e.Output.Stdout != c.want {
				t.Errorf("kept %q, want %q", e.Output.Stdout, c.want)
			}
			if strings.Contains(c.want, "REDACTED") && strings.Contains(e.Output.Stderr+err.Error(), "c2VjcmV0") {
				t.Errorf("the key is in the error: %+v", e)
			}
		})
	}
}
