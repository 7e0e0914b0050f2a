package facts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/lineage"
)

// world is units, programs and channels that note what they were asked.
type world struct {
	mutex    sync.Mutex
	units    map[string]deployers.Unit
	programs map[string]command.Output
	channels map[deployers.Query]deployers.Answer // those that are not here do not answer
	asked    []string
}

var errNothing = errors.New("there is nothing")

func (w *world) note(format string, args ...any) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.asked = append(w.asked, fmt.Sprintf(format, args...))
}

// drain returns what was asked since the last call, in alphabetical order.
func (w *world) drain() string {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	slices.Sort(w.asked)
	asked := strings.Join(w.asked, ", ")
	w.asked = nil
	return asked
}

func (w *world) Unit(_ context.Context, name string) (deployers.Unit, error) {
	w.note("unit %s", name)
	unit, ok := w.units[name]
	if !ok {
		return unit, errNothing
	}
	return unit, nil
}

func (w *world) Ask(_ context.Context, argv []string) (command.Output, error) {
	w.note("run %s", strings.Join(argv, " "))
	runtime.Gosched() // to whoever asks at the same time
	output, ok := w.programs[strings.Join(argv, " ")]
	if !ok {
		return command.Output{Stdout: "out", Stderr: "err"}, errNothing
	}
	return output, nil
}

func (w *world) Call(ctx context.Context, query deployers.Query) deployers.Answer {
	w.note("call %s at %s", query.Method, query.Channel.Address)
	if answer, ok := w.channels[query]; ok {
		return answer
	}
	<-ctx.Done()
	return deployers.Answer{Err: "no answer to " + query.Method, Sent: true}
}

func (w *world) finder() *Finder { return NewFinder(w, w, w) }

func queryAt(address, method string) deployers.Query {
	return deployers.Query{Channel: deployers.Channel{Protocol: deployers.JSONRPC, Address: address}, Method: method}
}

// curious is a deployer that wants something in every round.
type curious func(round int, known deployers.Facts) deployers.Wants

func (curious) Name() string               { return "curious" }
func (curious) Options() any               { return nil }
func (curious) Defaults(*deployers.Target) {}
func (c curious) Wants(_ deployers.Target, known deployers.Facts) deployers.Wants {
	return c(len(known.Outputs), known)
}
func (curious) Plan(deployers.Target, lineage.Lineage, deployers.Facts) (deployers.Plan, error) {
	return deployers.Plan{}, nil
}

// wanting wants the same in every round.
func wanting(wants deployers.Wants) curious {
	return func(int, deployers.Facts) deployers.Wants { return wants }
}

// TestOf finds out all kinds of things, each once.
func TestOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.conf")
	write(t, path, "text")
	query := queryAt("/run/ctl", "core.version")
	w := &world{
		units:    map[string]deployers.Unit{"x.service": {Name: "x.service", ActiveState: "inactive", MainPID: 7}},
		programs: map[string]command.Output{"x -V": {Stdout: "x 1.0", Stderr: "hm"}},
		channels: map[deployers.Query]deployers.Answer{query: {Reply: "1.0"}},
	}
	wants := deployers.Wants{
		Unit: "x.service", Commands: [][]string{{"x", "-V"}, {"x", "-V"}, {"x", "-T"}}, Texts: []string{path, path}, Queries: []deployers.Query{query, query},
	}
	activated := time.Now().Add(-time.Hour)
	got, err := w.finder().Of(t.Context(), wanting(wants), deployers.Target{}, activated)
	if err != nil {
		t.Fatal(err)
	}
	if got.Made == nil {
		t.Error("nothing is kept of what deployers make of texts")
	}
	got.Made = nil
	want := deployers.Facts{
		Systemd: true, Activated: activated, Unit: w.units["x.service"],
		Outputs: map[string]deployers.Output{"x\x00-V": {Stdout: "x 1.0", Stderr: "hm"}, "x\x00-T": {Stdout: "out", Stderr: "err", Failed: "there is nothing"}},
		Texts:   map[string][]deployers.Text{path: {{Path: path, Content: "text"}}},
		Answers: map[deployers.Query]deployers.Answer{query: {Reply: "1.0"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := w.drain(); got != "call core.version at /run/ctl, run x -T, run x -V, unit x.service" {
		t.Errorf("asked was %s", got)
	}
}

// Without systemd, no unit is looked at.
func TestOfWithoutSystemd(t *testing.T) {
	w := &world{}
	f := NewFinder(nil, w, w)
	got, err := f.Of(t.Context(), wanting(deployers.Wants{Unit: "x.service"}), deployers.Target{}, time.Time{})
	if err != nil || got.Systemd || !got.Activated.IsZero() || w.drain() != "" || f.Systemd() {
		t.Errorf("got %+v, %v", got, err)
	}
	if !w.finder().Systemd() {
		t.Error("there is no systemd")
	}
}

// What comes out of one round may raise the questions of the next, but not for
// ever.
func TestRounds(t *testing.T) {
	upTo := func(last int) curious {
		return func(round int, known deployers.Facts) deployers.Wants {
			var wants deployers.Wants
			for i := range min(round+1, last) {
				wants.Commands = append(wants.Commands, []string{strconv.Itoa(i)})
			}
			return wants
		}
	}
	w := &world{}
	got, err := w.finder().Of(t.Context(), upTo(mostRounds-1), deployers.Target{}, time.Time{})
	if err != nil || len(got.Outputs) != mostRounds-1 {
		t.Errorf("%d answers, %v", len(got.Outputs), err)
	}
	_, err = w.finder().Of(t.Context(), upTo(mostRounds), deployers.Target{}, time.Time{})
	if want := "deployer curious goes on asking after 10 rounds"; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// Whatever is found out may raise the next question, and is not found out again
// for that.
func TestEveryAnswerCounts(t *testing.T) {
	path, pid := filepath.Join(t.TempDir(), "x.conf"), filepath.Join(t.TempDir(), "pid")
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	query := queryAt("/run/ctl", "core.version")
	for name, test := range map[string]struct {
		wants deployers.Wants
		known func(deployers.Facts) bool
	}{
		"a unit":    {deployers.Wants{Unit: "x.service"}, func(f deployers.Facts) bool { return f.Unit.MainPID == 7 }},
		"a process": {deployers.Wants{PIDFile: pid, Program: strings.TrimSpace(string(comm))}, func(f deployers.Facts) bool { return f.Master == os.Getpid() }},
		"ports":     {deployers.Wants{Ports: []uint16{1}}, func(f deployers.Facts) bool { return f.Listeners == nil }},
		"titles":    {deployers.Wants{Titles: true}, func(f deployers.Facts) bool { return f.Titles == nil }},
		"a command": {deployers.Wants{Commands: [][]string{{"x"}}}, func(f deployers.Facts) bool { return f.Output([]string{"x"}).Stdout == "1.0" }},
		"a text":    {deployers.Wants{Texts: []string{path}}, func(f deployers.Facts) bool { return len(f.Texts[path]) == 1 }},
		"a query":   {deployers.Wants{Queries: []deployers.Query{query}}, func(f deployers.Facts) bool { return f.Answers[query].Reply == "2.0" }},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{
				units:    map[string]deployers.Unit{"x.service": {MainPID: 7}},
				programs: map[string]command.Output{"x": {Stdout: "1.0"}},
				channels: map[deployers.Query]deployers.Answer{query: {Reply: "2.0"}},
			}
			write(t, path, "text")
			write(t, pid, strconv.Itoa(os.Getpid()))
			rounds := 0
			facts, err := w.finder().Of(t.Context(), curious(func(_ int, known deployers.Facts) deployers.Wants {
				wants := test.wants
				if rounds++; rounds > 1 {
					if !test.known(known) {
						t.Errorf("round %d knows %+v", rounds, known)
					}
					wants.Commands = append(slices.Clone(wants.Commands), []string{"late"})
					for _, file := range []string{path, pid} {
						_ = os.Remove(file) // what is looked at again is not there
					}
				}
				return wants
			}), deployers.Target{}, time.Time{})
			if err != nil || !test.known(facts) || facts.Output([]string{"late"}).Stdout != "out" || rounds != 3 {
				t.Errorf("after %d rounds, known is %+v, %v", rounds, facts, err)
			}
		})
	}
}

// TestOfFails is about what ends the search, and what does not.
func TestOfFails(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "pid")
	write(t, broken, "no number")
	group := t.TempDir()
	if err := os.Mkdir(filepath.Join(group, "cgroup.procs"), 0o700); err != nil {
		t.Fatal(err)
	}
	w := &world{units: map[string]deployers.Unit{"broken.service": {ActiveState: "active", ControlGroup: outside(group)}}}
	for name, wants := range map[string]deployers.Wants{
		"a unit": {Unit: "none.service"}, "a PID file": {PIDFile: broken, Program: "x"},
		"listeners": {Unit: "broken.service", Ports: []uint16{443}}, "titles": {Unit: "broken.service", Titles: true},
	} {
		wants.Queries = []deployers.Query{queryAt("/run/ctl", "late")}
		if got, err := w.finder().Of(t.Context(), wanting(wants), deployers.Target{}, time.Time{}); err == nil || len(got.Answers) > 0 {
			t.Errorf("%s: %v", name, got.Answers)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.finder().Of(ctx, wanting(deployers.Wants{}), deployers.Target{}, time.Time{}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

// outside names a directory as a control group, where process looks for those.
func outside(dir string) string { return "../../.." + dir }

// TestProcesses is about whose listeners and titles count: those of the unit
// that runs, or else of the process that the PID file names.
func TestProcesses(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	at := listener.Addr().(*net.TCPAddr).AddrPort()
	dir := t.TempDir()
	pid := filepath.Join(dir, "pid")
	write(t, pid, strconv.Itoa(os.Getpid()))
	write(t, filepath.Join(dir, "cgroup.procs"), strconv.Itoa(os.Getpid()))
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{units: map[string]deployers.Unit{
		"own.service":     {ActiveState: "active", ControlGroup: outside(dir)},
		"stopped.service": {ActiveState: "inactive", ControlGroup: outside(dir)},
		"other.service":   {ActiveState: "active", ControlGroup: "/no-such-group"},
	}}
	ports := []uint16{at.Port()}
	own := deployers.Wants{PIDFile: pid, Program: strings.TrimSpace(string(comm))}
	for _, test := range []struct {
		name  string
		wants deployers.Wants
		found bool
	}{
		{"a unit", deployers.Wants{Unit: "own.service"}, true},
		{"a unit that does not run", deployers.Wants{Unit: "stopped.service"}, false},
		{"a process", own, true},
		{"a unit before the process", deployers.Wants{Unit: "other.service", PIDFile: own.PIDFile, Program: own.Program}, false},
		{"neither", deployers.Wants{PIDFile: pid, Program: "another"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.wants.Ports, test.wants.Titles = ports, true
			got, err := w.finder().Of(t.Context(), wanting(test.wants), deployers.Target{}, time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			if listens := slices.Equal(got.Listeners, []netip.AddrPort{at}); listens != test.found || !listens && got.Listeners != nil {
				t.Errorf("listeners are %v", got.Listeners)
			}
			if titled := len(got.Titles) > 0 && strings.HasPrefix(got.Titles[0], os.Args[0]); titled != test.found {
				t.Errorf("titles are %q", got.Titles)
			}
		})
	}
	unasked, err := w.finder().Of(t.Context(), wanting(own), deployers.Target{}, time.Time{})
	if err != nil || unasked.Listeners != nil || unasked.Titles != nil || unasked.Master != os.Getpid() {
		t.Errorf("unasked, there are %+v, %v", unasked, err)
	}
}

// TestTexts reads what a path or glob names, as far as it can be read.
func TestTexts(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"b.conf": "two", "a.conf": "one", "c.other": "three",
		"d.conf": strings.Repeat("x", textLimit+1), "e.conf": strings.Repeat("x", textLimit),
	} {
		write(t, filepath.Join(dir, name), content)
	}
	if err := os.Mkdir(filepath.Join(dir, "f.conf"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"sub/x": "one", "sub-2/x": "two"} { // the second sorts before the first
		if err := os.Mkdir(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), content)
	}
	names := func(path string) string {
		var all []string
		for _, text := range Texts(path) {
			all = append(all, filepath.Base(text.Path)+" "+text.Content[:3])
		}
		return strings.Join(all, ", ")
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "a.conf"): "a.conf one", filepath.Join(dir, "*.conf"): "a.conf one, b.conf two, e.conf xxx",
		filepath.Join(dir, "*", "x"): "x two, x one", filepath.Join(dir, "nothing"): "", filepath.Join(dir, "["): "",
	} {
		if got := names(path); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}

	many := t.TempDir()
	for i := range mostTexts + 1 { // one file by many names, which is made faster
		if err := os.Link(filepath.Join(dir, "a.conf"), filepath.Join(many, fmt.Sprintf("%03d", i))); err != nil {
			t.Fatal(err)
		}
	}
	large := t.TempDir()
	for i := range globLimit/textLimit + 1 {
		if err := os.Link(filepath.Join(dir, "e.conf"), filepath.Join(large, fmt.Sprintf("%03d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if found := Texts(filepath.Join(large, "*")); len(found) != globLimit/textLimit {
		t.Errorf("of files that are too large together, %d are read", len(found))
	}

	found := Texts(filepath.Join(many, "*"))
	if len(found) != mostTexts || filepath.Base(found[mostTexts-1].Path) != "499" {
		t.Errorf("%d texts are read", len(found))
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestOutside wants the processes of a program to be looked for where its unit does not
// run, or the PID file names another than the unit's.
func TestOutside(t *testing.T) {
	program, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimSpace(string(program))
	pidFile := filepath.Join(t.TempDir(), "pid")
	write(t, pidFile, strconv.Itoa(os.Getpid()))
	for _, test := range []struct {
		name   string
		unit   deployers.Unit
		file   string
		looked bool
	}{
		{"it runs", deployers.Unit{ActiveState: "active", MainPID: os.Getpid()}, pidFile, false},
		{"it does not", deployers.Unit{ActiveState: "inactive"}, "", true},
		{"another is named", deployers.Unit{ActiveState: "active", MainPID: 1}, pidFile, true},
		{"it has no main process", deployers.Unit{ActiveState: "activating"}, "", true},
	} {
		w := &world{units: map[string]deployers.Unit{"x.service": test.unit}}
		facts, err := w.finder().Of(t.Context(), wanting(deployers.Wants{Unit: "x.service", PIDFile: test.file, Program: name}), deployers.Target{}, time.Time{})
		found := slices.ContainsFunc(facts.Outside, func(p deployers.Process) bool { return p.PID == os.Getpid() })
		if err != nil || found != test.looked {
			t.Errorf("%s: %+v, %v", test.name, facts.Outside, err)
		}
	}
}

// TestStarts is about what a unit's file, or its name, says that it starts.
func TestStarts(t *testing.T) {
	for _, unit := range []string{"nginx@edge.service", "nginx-edge.service"} {
		if !starts(unit, "", "/usr/sbin/nginx") {
			t.Errorf("%s is not found", unit)
		}
	}
	for text, want := range map[string]string{
		"ExecStart=/usr/sbin/nginx -c /e.conf":        "/usr/sbin/nginx",
		"[Service]\n ExecStart = -@/usr/sbin/nginx x": "/usr/sbin/nginx",
		"ExecStart=\"/usr/sbin/nginx\" -q":            "/usr/sbin/nginx",
		"ExecStart=\nExecStartPre=/bin/nginx":         "",
		"#ExecStart=/usr/sbin/nginx":                  "",
	} {
		if got := starts("x.service", text, "nginx"); got != (want == "/usr/sbin/nginx") {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// A text says where its path leads.
func TestTextsBehindLinks(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "real")
	if err := os.Mkdir(real, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(real, "a.crt"), []byte("a"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, filepath.Join(dir, "linked")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "linked", "a.crt")
	want := []deployers.Text{{Path: path, Content: "a", Real: filepath.Join(real, "a.crt")}}
	if diff := cmp.Diff(want, Texts(path)); diff != "" || want[0].At() != want[0].Real {
		t.Error(diff)
	}
	if got := Texts(want[0].Real); len(got) != 1 || got[0].Real != "" || got[0].At() != want[0].Real {
		t.Errorf("without a link: %+v", got)
	}
}
