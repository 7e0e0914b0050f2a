package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// packageVersion returns the version of packages for what git describe prints,
// so that packages of later commits are newer: 1.2.3, 1.2.3~rc1 before it,
// 1.2.3+5.gabc1234 five commits after it. Without a tag it is older than all of
// these, and the date of the commit decides.
func packageVersion(described string, date time.Time) string {
	described, dirty := strings.CutSuffix(described, "-dirty")
	form := regexp.MustCompile(`^v?(\d+(?:\.\d+)*)(?:-([a-z]+[\d.]*))?(?:-(\d+)-(g[0-9a-f]+))?$`)
	version := "0~" + date.Format("20060102150405") + "." + regexp.MustCompile(`[^0-9A-Za-z]`).ReplaceAllString(described, "")
	if found := form.FindStringSubmatch(described); found != nil && (strings.Contains(found[1], ".") || found[2] != "") {
		version = found[1]
		if found[2] != "" {
			version += "~" + found[2]
		}
		if found[3] != "" {
			version += "+" + found[3] + "." + found[4]
		}
	}
	if dirty {
		version += "+dirty"
	}
	return version
}

// changes are the changes of one version, each a sentence or a few.
type changes struct {
	version string
	date    time.Time
	items   []string
	undated bool // of a version that has no section of its own yet
}

// changelog returns the changes in CHANGELOG.md: sections with the heading "##
// VERSION, DATE", newest first, of lists whose items begin with a dash.
// Unreleased changes are those of the version that is packaged, which has an entry
// without any, too.
func (b build) changelog() ([]changes, error) {
	text, err := os.ReadFile(filepath.Join(b.source, "CHANGELOG.md"))
	if err != nil {
		return nil, err
	}
	var all []changes
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		heading, isHeading := strings.CutPrefix(line, "## ")
		switch {
		case heading == "Unreleased":
			all = append(all, changes{version: b.version, date: b.date, undated: true})
		case isHeading:
			version, on, _ := strings.Cut(heading, ", ")
			date, err := time.Parse(time.DateOnly, on)
			if err != nil {
				return nil, fmt.Errorf("CHANGELOG.md has the heading %q; write ## VERSION, YYYY-MM-DD", line)
			}
			all = append(all, changes{version: packageVersion(version, date), date: date})
		case len(all) == 0 || line == "":
		default:
			items := &all[len(all)-1].items
			if item, begins := strings.CutPrefix(line, "- "); begins {
				*items = append(*items, item)
			} else if n := len(*items); n > 0 {
				(*items)[n-1] += " " + strings.TrimSpace(line)
			}
		}
	}
	if len(all) > 0 && all[0].undated && len(all[0].items) == 0 {
		all = all[1:]
	}
	if len(all) == 0 || all[0].version != b.version {
		none := changes{version: b.version, date: b.date, items: []string{"No change that its users would notice."}, undated: true}
		all = append([]changes{none}, all...)
	}
	return all, nil
}

// debianChangelog returns the changes in the form of deb-changelog(5).
func (b build) debianChangelog() ([]byte, error) {
	all, err := b.changelog()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, c := range all {
		fmt.Fprintf(&out, "certlatch (%s-1) unstable; urgency=medium\n\n", c.version)
		for _, item := range c.items {
			fmt.Fprintf(&out, "  * %s\n", wrapped(item, 76, "\n    "))
		}
		fmt.Fprintf(&out, "\n -- %s  %s\n\n", maintainer, c.date.Format(time.RFC1123Z))
	}
	return out.Bytes(), nil
}

// wrapped returns a text in lines of at most width bytes, with between in place
// of the line breaks.
func wrapped(text string, width int, between string) string {
	var out strings.Builder
	length := 0
	for _, word := range strings.Fields(text) {
		switch {
		case length > 0 && length+1+len(word) > width:
			out.WriteString(between)
			length = 0
		case length > 0:
			out.WriteString(" ")
			length++
		}
		out.WriteString(word)
		length += len(word)
	}
	return out.String()
}

// rpmChangelog writes a file with the changes as nfpm wants them for the header
// of an rpm, and returns its path; "" for other formats.
func (b build) rpmChangelog(dir, format string) (string, error) {
	if format != "rpm" {
		return "", nil
	}
	type note struct {
		Note string `json:"note"`
	}
	type entry struct {
		Semver   string    `json:"semver"`
		Date     time.Time `json:"date"`
		Packager string    `json:"packager"`
		Changes  []note    `json:"changes"`
	}
	all, err := b.changelog()
	if err != nil {
		return "", err
	}
	var entries []entry
	for _, c := range all {
		e := entry{Semver: c.version + "-1", Date: c.date, Packager: maintainer}
		for _, item := range c.items {
			e.Changes = append(e.Changes, note{item})
		}
		entries = append(entries, e)
	}
	data, err := json.Marshal(entries) // JSON is YAML too
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "changelog.yaml")
	return path, os.WriteFile(path, data, 0o644)
}
