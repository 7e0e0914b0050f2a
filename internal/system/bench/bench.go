// Package bench is the table of what was measured of certlatch: medians, what
// they are held against, and the bars that they have to keep.
//
// It measures nothing itself, and does not say how far samples lie apart.
package bench

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// schema is the version of the table's JSON form, whose fields are only ever
// added to.
const schema = "certlatch.bench/1"

// Table is what was measured in one session.
type Table struct {
	Schema  string    `json:"schema"`
	Date    time.Time `json:"date"`
	Version string    `json:"version"` // of certlatch
	Machine Machine   `json:"machine"`
	Rows    []Row     `json:"rows"`
}

// Machine is where it was measured.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, Linux %s", m.CPU, m.Cores, m.Kernel)
}

// New returns a table without rows.
func New(date time.Time, version string, machine Machine) Table {
	return Table{Schema: schema, Date: date.UTC().Truncate(time.Second), Version: version, Machine: machine, Rows: []Row{}}
}

// With returns the table with further rows, which belong together.
func (t Table) With(group string, rows ...Row) Table {
	t.Rows = slices.Clone(t.Rows)
	for _, row := range rows {
		row.Group = group
		t.Rows = append(t.Rows, row)
	}
	return t
}

// Row is one figure: the median of n samples, and where it has them, that of a
// baseline that was measured in turns with it, and a bar.
type Row struct {
	Group    string    `json:"group"`
	Name     string    `json:"name"`
	Median   float64   `json:"median"`
	Unit     string    `json:"unit"`
	N        int       `json:"n"`
	Baseline *Baseline `json:"baseline,omitempty"`
	Ratio    float64   `json:"ratio,omitempty"` // of the median to the baseline's
	Bar      *Bar      `json:"bar,omitempty"`
	OK       bool      `json:"ok"` // the bar is held, or there is none
}

// Baseline is what a figure is held against.
type Baseline struct {
	Name   string  `json:"name"`
	Median float64 `json:"median"`
	N      int     `json:"n"`
}

// Bar is the most that a figure may be; 0 is no bar.
type Bar struct {
	Ratio  float64 `json:"ratio,omitempty"`
	Median float64 `json:"median,omitempty"`
}

// NewRow returns a row without a baseline and without a bar. There must be
// samples.
func NewRow(name, unit string, samples []float64) Row {
	return Row{Name: name, Unit: unit, N: len(samples), Median: median(samples), OK: true}
}

// Against returns the row with a baseline, whose samples must not have a median
// of 0.
func (r Row) Against(name string, samples []float64) Row {
	r.Baseline = &Baseline{Name: name, Median: median(samples), N: len(samples)}
	r.Ratio = r.Median / r.Baseline.Median
	return r
}

// AtMost returns the row with a bar for its ratio.
func (r Row) AtMost(ratio float64) Row { return r.with(Bar{Ratio: ratio}) }

// Within returns the row with a bar for its median.
func (r Row) Within(limit float64) Row { return r.with(Bar{Median: limit}) }

func (r Row) with(bar Bar) Row {
	if r.Bar != nil {
		bar.Ratio, bar.Median = max(bar.Ratio, r.Bar.Ratio), max(bar.Median, r.Bar.Median)
	}
	r.Bar = &bar
	r.OK = (bar.Ratio == 0 || r.Ratio <= bar.Ratio) && (bar.Median == 0 || r.Median <= bar.Median)
	return r
}

// median returns the one in the middle, or the mean of the two that are.
func median(samples []float64) float64 {
	sorted := slices.Sorted(slices.Values(samples))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

// Missed returns the rows whose bar is not held.
func (t Table) Missed() []Row {
	return slices.DeleteFunc(slices.Clone(t.Rows), func(r Row) bool { return r.OK })
}

// String returns the row for people.
func (r Row) String() string { return strings.Join(slices.DeleteFunc(r.cells(), empty), ", ") }

func empty(s string) bool { return s == "" }

// columns are the headings of cells.
var columns = []string{"what", "median", "against", "ratio", "bar", ""}

func (r Row) cells() []string {
	cells := []string{r.Name, quantity(figure, r.Median, r.Unit), "", "", "", ""}
	if r.Baseline != nil {
		cells[2] = r.Baseline.Name + ": " + quantity(figure, r.Baseline.Median, r.Unit)
		cells[3] = figure(r.Ratio)
	}
	if r.Bar == nil {
		return cells
	}
	var bars []string
	if r.Bar.Ratio != 0 {
		bars = append(bars, "ratio "+number(r.Bar.Ratio))
	}
	if r.Bar.Median != 0 {
		bars = append(bars, quantity(number, r.Bar.Median, r.Unit))
	}
	cells[4], cells[5] = strings.Join(bars, ", "), "held"
	if !r.OK {
		cells[5] = "NOT HELD"
	}
	return cells
}

// quantity returns a number with its unit, in seconds where milliseconds would be
// many.
func quantity(write func(float64) string, x float64, unit string) string {
	if unit == "ms" && x >= 1000 {
		x, unit = x/1000, "s"
	}
	return write(x) + " " + unit
}

// figure returns a measured number with the three digits that a median is good
// for.
func figure(x float64) string {
	switch {
	case x >= 100:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case x >= 10:
		return strconv.FormatFloat(x, 'f', 1, 64)
	case x >= 0.1 || x == 0:
		return strconv.FormatFloat(x, 'f', 2, 64)
	}
	return strconv.FormatFloat(x, 'g', 2, 64)
}

func number(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

// title says what was measured, where and when.
func (t Table) title() string {
	return fmt.Sprintf("certlatch %s on %s, %s", t.Version, t.Machine, t.Date.Format(time.DateOnly))
}

// Text returns the whole table for a terminal.
func (t Table) Text() string {
	var text strings.Builder
	fmt.Fprintln(&text, t.title())
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(append([]string{"group"}, columns...), "\t"))
	group := ""
	for _, row := range t.Rows {
		named := row.Group
		if named == group {
			named = ""
		}
		group = row.Group
		fmt.Fprintln(w, strings.Join(append([]string{named}, row.cells()...), "\t"))
	}
	_ = w.Flush() // into memory
	return text.String()
}

// Markdown returns the rows that are held against something, for README.md, between
// blank lines.
func (t Table) Markdown() string {
	var text strings.Builder
	fmt.Fprintf(&text, "\n%s; medians.\n\n| %s |\n|%s\n", t.title(), strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, row := range t.Rows {
		if row.Baseline != nil || row.Bar != nil {
			fmt.Fprintf(&text, "| %s |\n", strings.Join(row.cells(), " | "))
		}
	}
	return text.String() + "\n"
}

// JSON returns the table as it is kept.
func (t Table) JSON() ([]byte, error) {
	text, err := json.MarshalIndent(t, "", "  ")
	return append(text, '\n'), err
}
