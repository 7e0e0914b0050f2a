package system

import (
	"cmp"
	"maps"
	"math"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/internal/system/bench"
)

// top is how many packages are named of all that a program has.
const top = 10

// weight measures the program's size and its start, and which packages they are
// made of.
func (b *bencher) weight() []bench.Row {
	info, err := os.Stat(b.program)
	if err != nil {
		b.Fatal(err)
	}
	rows := []bench.Row{bench.NewRow("size of the program", "MB", []float64{float64(info.Size()) / 1e6}).Within(16)}

	b.measurer = goBuild(b, "measure", "../..", "build", "./internal/system/measure")
	empty := goBuild(b, "empty", "../..", "build", "./internal/system/testdata/bench/empty")
	s := inTurns(101,
		func() sample { return b.time(nil, []int{0}, b.program, "version") },
		func() sample { return b.time(nil, []int{0}, "openssl", "version") },
		func() sample { return b.time(nil, []int{0}, empty) })
	rows = append(rows,
		bench.NewRow("start-up", "ms", wall(s[0])).Against("openssl version", wall(s[1])).AtMost(2),
		bench.NewRow("start-up", "ms", wall(s[0])).Against("an empty program in Go", wall(s[2])))
	return append(append(rows, b.initialised()...), b.linked()...)
}

// initialiser is a line of the runtime's trace (package runtime, GODEBUG
// inittrace).
var initialiser = regexp.MustCompile(`(?m)^init (\S+) @\S+ ms, (\S+) ms clock, `)

// initialised measures the initialisers of packages.
func (b *bencher) initialised() []bench.Row {
	took, all := map[string][]float64{}, []float64(nil)
	for range 21 {
		cmd := exec.Command(b.program, "version")
		cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
		text, err := cmd.CombinedOutput()
		if err != nil {
			b.Fatal(err)
		}
		sum := 0.0
		for _, match := range initialiser.FindAllStringSubmatch(string(text), -1) {
			clock, err := strconv.ParseFloat(match[2], 64)
			if err != nil {
				b.Fatal(err)
			}
			took[match[1]] = append(took[match[1]], clock)
			sum += clock
		}
		all = append(all, sum)
	}
	rows := []bench.Row{}
	for name, samples := range took {
		rows = append(rows, bench.NewRow("initialisers of "+strings.ReplaceAll(name, "%2e", "."), "ms", samples))
	}
	return append([]bench.Row{bench.NewRow("initialisers of all packages", "ms", all)}, greatest(rows)...)
}

// linked returns how much of the program is of which package.
func (b *bencher) linked() []bench.Row {
	program := goBuild(b, "certlatch", "../..", "build", "-tags=urfave_cli_no_docs,nethttpomithttp2", "./cmd/certlatch") // with its symbols
	symbols, err := output("go", "tool", "nm", "-size", program)
	if err != nil {
		b.Fatal(err)
	}
	var rows []bench.Row
	sizes := packageSizes(symbols)
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		rows = append(rows, bench.NewRow("linked of "+name, "kB", []float64{float64(sizes[name]) / 1e3}))
	}
	return greatest(rows)
}

// packageSizes sums up the sizes of symbols by package, as go tool nm -size
// prints them: address, size, type, name. What is not in the file, since it is 0 at
// first, and what is of no package is left out.
func packageSizes(symbols string) map[string]int {
	sizes := map[string]int{}
	zeros := uint64(math.MaxUint64) // the linker has them last
	if match := regexp.MustCompile(`(?m)^ *([0-9a-f]+) .* runtime\.bss$`).FindStringSubmatch(symbols); match != nil {
		zeros, _ = strconv.ParseUint(match[1], 16, 64) // of digits
	}
	for line := range strings.Lines(symbols) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			continue
		}
		address, err := strconv.ParseUint(fields[0], 16, 64)
		if err != nil || address >= zeros {
			continue
		}
		name, _, _ := strings.Cut(fields[3], "[") // type arguments may be of other packages
		dir, base := "", name
		if slash := strings.LastIndex(name, "/"); slash >= 0 {
			dir, base = name[:slash+1], name[slash+1:]
		}
		base, _, found := strings.Cut(base, ".")
		size, err := strconv.Atoi(fields[1])
		if !found || err != nil || strings.Contains(dir+base, ":") {
			continue
		}
		sizes[dir+strings.ReplaceAll(base, "%2e", ".")] += size
	}
	return sizes
}

func TestPackageSizes(t *testing.T) {
	got := packageSizes(`  401000        100 T runtime.main
  402000         20 T gopkg.in/yaml%2ev3.(*parser).parse
  403000          7 T slices.SortFunc[go.shape.struct { example.org/a.Name string }]
  404000          5 r go:string.*
  405000          3 D gopkg.in/yaml%2ev3.words
  406000          0 D runtime.bss
  406000   33554432 D crypto/internal/fips140/drbg.memory
                    U outside
`)
	want := map[string]int{"runtime": 100, "gopkg.in/yaml.v3": 23, "slices": 7}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// greatest returns the rows with the greatest medians, from the first down.
func greatest(rows []bench.Row) []bench.Row {
	slices.SortFunc(rows, func(a, b bench.Row) int { return cmp.Or(cmp.Compare(b.Median, a.Median), cmp.Compare(a.Name, b.Name)) })
	return rows[:min(top, len(rows))]
}
