package bench

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		samples []float64
		want    float64
	}{
		{[]float64{4}, 4},
		{[]float64{9, 1, 2}, 2},
		{[]float64{100, 1, 3, 2}, 2.5},
	} {
		given := slices.Clone(c.samples)
		if got := median(c.samples); got != c.want {
			t.Errorf("the median of %v is %v, want %v", c.samples, got, c.want)
		}
		if !slices.Equal(c.samples, given) {
			t.Errorf("%v became %v", given, c.samples)
		}
	}
}

func TestBars(t *testing.T) {
	row := NewRow("x", "ms", []float64{60}).Against("y", []float64{100})
	for name, c := range map[string]struct {
		row  Row
		want bool
	}{
		"no bar":                     {row, true},
		"the ratio at its bar":       {row.AtMost(0.6), true},
		"the ratio above it":         {row.AtMost(0.59), false},
		"the median at its bar":      {row.Within(60), true},
		"the median above it":        {row.Within(59), false},
		"both held":                  {row.Within(60).AtMost(0.6), true},
		"only the second is held":    {row.Within(59).AtMost(0.6), false},
		"only the first is held":     {row.AtMost(0.6).Within(59), false},
		"the ratio alone, in a pair": {row.AtMost(0.59).Within(60), false},
	} {
		if c.row.OK != c.want {
			t.Errorf("%s: OK is %v", name, c.row.OK)
		}
		missed := New(time.Now(), "", Machine{}).With("g", c.row).Missed()
		if (len(missed) == 0) != c.want {
			t.Errorf("%s: missed are %v", name, missed)
		}
	}
	if row.Bar != nil || !row.OK {
		t.Errorf("a bar changed the row that it was put on: %+v", row)
	}
}

// table is one with every kind of row.
func table() Table {
	return New(time.Date(2026, 3, 1, 12, 0, 0, 5, time.FixedZone("", 3600)), "1.2.3", Machine{"Some CPU", 2, "6.12.1"}).
		With("growth",
			NewRow("pending, 500", "ms", []float64{2000, 3000, 1000}).Against("50", []float64{400}).AtMost(7).Within(1500),
			NewRow("dry run, 500", "s", []float64{12.34}).Against("50", []float64{4}).AtMost(7)).
		With("size", NewRow("program", "MB", []float64{13.25}).Within(15), NewRow("package x", "kB", []float64{1234.5}))
}

func TestJSON(t *testing.T) {
	text, err := table().JSON()
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	rows := got["rows"].([]any)
	got["rows"] = rows[:1]
	want := map[string]any{
		"schema": "certlatch.bench/1", "date": "2026-03-01T11:00:00Z", "version": "1.2.3",
		"machine": map[string]any{"cpu": "Some CPU", "cores": 2.0, "kernel": "6.12.1"},
		"rows": []any{map[string]any{
			"group": "growth", "name": "pending, 500", "median": 2000.0, "unit": "ms", "n": 3.0,
			"baseline": map[string]any{"name": "50", "median": 400.0, "n": 1.0}, "ratio": 5.0,
			"bar": map[string]any{"ratio": 7.0, "median": 1500.0}, "ok": false,
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(rows) != 4 {
		t.Errorf("%d rows (-want +got):\n%s", len(rows), diff)
	}
}

func TestText(t *testing.T) {
	want := `certlatch 1.2.3 on Some CPU, 2 cores, Linux 6.12.1, 2026-03-01
group   what          median   against     ratio  bar             
growth  pending, 500  2.00 s   50: 400 ms  5.00   ratio 7, 1.5 s  NOT HELD
        dry run, 500  12.3 s   50: 4.00 s  3.08   ratio 7         held
size    program       13.2 MB                     15 MB           held
        package x     1234 kB                                     
`
	if diff := cmp.Diff(want, table().Text()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMarkdown(t *testing.T) {
	want := `
certlatch 1.2.3 on Some CPU, 2 cores, Linux 6.12.1, 2026-03-01; medians.

| what | median | against | ratio | bar |  |
|---|---|---|---|---|---|
| pending, 500 | 2.00 s | 50: 400 ms | 5.00 | ratio 7, 1.5 s | NOT HELD |
| dry run, 500 | 12.3 s | 50: 4.00 s | 3.08 | ratio 7 | held |
| program | 13.2 MB |  |  | 15 MB | held |

`
	if diff := cmp.Diff(want, table().Markdown()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFigure(t *testing.T) {
	for x, want := range map[float64]string{0: "0.00", 0.00123: "0.0012", 0.0425: "0.043", 0.6: "0.60", 9.996: "10.00", 12.34: "12.3", 1234.4: "1234"} {
		if got := figure(x); got != want {
			t.Errorf("%v is written %s, want %s", x, got, want)
		}
	}
	row := NewRow("pending", "s", []float64{2}).Within(1)
	if got := row.String(); got != "pending, 2.00 s, 1 s, NOT HELD" || strings.Contains(got, ", ,") {
		t.Errorf("a row is %q", got)
	}
}
