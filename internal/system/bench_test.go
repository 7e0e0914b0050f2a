package system

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/system/bench"
)

// built is where make build leaves the program, and where the table goes.
const built = "../../.build"

// BenchmarkTable measures certlatch on hosts with real daemons, and keeps the
// table in .build; make bench runs it. It fails where a bar is not held. What is
// measured against each other is measured in turns, so that a busy machine is
// as busy for the one as for the other.
func BenchmarkTable(b *testing.B) {
	program, err := filepath.Abs(filepath.Join(built, "bin/certlatch"))
	if err != nil {
		b.Fatal(err)
	}
	version, err := output(program, "version")
	if err != nil {
		b.Fatal(err)
	}
	table := bench.New(time.Now(), strings.TrimPrefix(strings.Fields(version)[1], "v"), machine(b))
	for _, group := range []struct {
		name    string
		measure func(*bencher) []bench.Row
	}{
		{"renewal", (*bencher).renewal},
		{"growth", (*bencher).growth},
		{"dead", (*bencher).dead},
		{"daemon", (*bencher).daemon},
		{"hook", (*bencher).hook},
		{"weight", (*bencher).weight},
	} {
		b.Run(group.name, func(b *testing.B) {
			table = table.With(group.name, group.measure(&bencher{B: b, program: program})...)
			keep(b, table) // also where a later group fails
		})
	}
	fmt.Print(table.Text())
	for _, row := range table.Missed() {
		b.Errorf("%s: %s", row.Group, row)
	}
}

// keep writes the table where make bench, and make readme after it, look for it.
func keep(b *testing.B, table bench.Table) {
	b.Helper()
	text, err := table.JSON()
	if err != nil {
		b.Fatal(err)
	}
	for name, content := range map[string][]byte{"bench.json": text, "bench.md": []byte(table.Markdown())} {
		if err := os.WriteFile(filepath.Join(built, name), content, 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

// machine describes this one.
func machine(b *testing.B) bench.Machine {
	b.Helper()
	m := bench.Machine{CPU: runtime.GOARCH, Cores: runtime.NumCPU()}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		b.Fatal(err)
	}
	m.Kernel = unix.ByteSliceToString(name.Release[:])
	cpuinfo, err := os.Open("/proc/cpuinfo")
	if err != nil {
		b.Fatal(err)
	}
	defer cpuinfo.Close()
	for lines := bufio.NewScanner(cpuinfo); lines.Scan(); {
		if key, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(key) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	return m
}

// bencher measures one group of rows.
type bencher struct {
	*testing.B
	program  string // certlatch, as releases have it
	measurer string // what runs it, once that was built
	image    string // of hosts, once one was booted
}

// boot starts a host that has certlatch and what measures it.
func (b *bencher) boot() *host {
	b.Helper()
	if b.image == "" {
		needMachine(b)
		b.image = root(b, trixie)
		b.measurer = goBuild(b, "measure", "../..", "build", "./internal/system/measure")
	}
	return boot(b, b.image, b.program, b.measurer)
}

// do runs programs inside, each a line, which must succeed.
func (b *bencher) do(h *host, lines ...string) {
	b.Helper()
	for _, line := range lines {
		if out, err := h.run("sh", "-c", line); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
}

// put writes files of testdata/bench into a host.
func (b *bencher) put(h *host, files map[string]string) {
	b.Helper()
	for name, path := range files {
		content, err := os.ReadFile(filepath.Join("testdata/bench", name))
		if err != nil {
			b.Fatal(err)
		}
		mode := "0644"
		if filepath.Ext(name) == ".sh" {
			mode = "0755"
		}
		if err := h.write(path, content, mode, "root"); err != nil {
			b.Fatal(err)
		}
	}
}

// renew renews lineages as certbot would, each for a name or several.
func (b *bencher) renew(h *host, ca authority, lineages map[string][]string) {
	b.Helper()
	for name, names := range lineages {
		pki.WriteCertbot(b, h.path("/etc/letsencrypt/live"), name, ca.intermediate.Leaf(b, pki.Names(names...)))
	}
}

// trust writes the root of an authority to /root/ca.pem.
func (b *bencher) trust(h *host, ca authority) {
	b.Helper()
	if err := h.write("/root/ca.pem", ca.root(), "0644", "root"); err != nil {
		b.Fatal(err)
	}
}

// sample is what one run of a program took.
type sample struct {
	Wall   time.Duration `json:"wall"`
	CPU    time.Duration `json:"cpu"` // with its children
	Memory int           `json:"memory"`
	Exit   int           `json:"exit"`
	Output string        `json:"output"`
}

// time runs a program inside a host, with NAME=VALUE before it as its environment,
// or without a host on this machine, and wants one of some exit statuses.
func (b *bencher) time(h *host, exits []int, args ...string) sample {
	b.Helper()
	at := 0
	for strings.Contains(args[at], "=") {
		at++
	}
	argv := append([]string{b.measurer}, args...)
	if h != nil {
		argv = h.command(append(append(args[:at:at], "measure"), args[at:]...)...)
	}
	text, err := output(argv[0], argv[1:]...)
	if err != nil {
		b.Fatal(err)
	}
	var s sample
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		b.Fatal(err)
	}
	if !slices.Contains(exits, s.Exit) {
		b.Errorf("%s ended with exit status %d, want %v: %.2000s", args, s.Exit, exits, s.Output)
	}
	return s
}

// rounds is how many samples there are of what takes long.
const rounds = 7

// inTurns calls each n times in turns, and once more before that, which does not
// count. It returns their samples.
func inTurns(n int, each ...func() sample) [][]sample {
	samples := make([][]sample, len(each))
	for turn := range n + 1 {
		for i, f := range each {
			s := f()
			if turn > 0 {
				samples[i] = append(samples[i], s)
			}
		}
	}
	return samples
}

// The figures of samples.
func wall(s []sample) []float64 { return figures(s, func(s sample) float64 { return ms(s.Wall) }) }
func cpu(s []sample) []float64  { return figures(s, func(s sample) float64 { return ms(s.CPU) }) }
func memory(s []sample) []float64 {
	return figures(s, func(s sample) float64 { return float64(s.Memory) / 1e3 })
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

func figures(samples []sample, of func(sample) float64) (all []float64) {
	for _, s := range samples {
		all = append(all, of(s))
	}
	return all
}
