// Package templates holds hardened TLS settings for services, as snippets of
// their configuration: the intermediate profile of Mozilla's Server Side TLS
// guidelines, version 6.0 of 2026-04-06, in the words of each service's
// version. Every line has its source beside it.
//
// It only fills in text. It does not read a service's configuration, and does
// not promise that clients older than that profile can connect.
package templates

import (
	"embed"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

//go:embed *.tmpl
var files embed.FS

// Service is a service that there is a snippet for.
type Service struct {
	Name   string
	Ask    []string // command that prints its version
	Newest Version  // the newest that the snippet was written for
	says   string   // a regular expression; its group is the version
}

// Services returns the services that there are snippets for.
func Services() []Service {
	return []Service{
		// src/core/nginx.c of nginx 1.30, ngx_show_version_info.
		{"nginx", []string{"nginx", "-V"}, Version{1, 30, 6}, `nginx version: \S+?/(\d[\d.]*)`},
		// main.c of Kamailio 6.1 and of OpenSIPS 4.0.
		{"kamailio", []string{"kamailio", "-v"}, Version{6, 1, 5}, `version: kamailio (\d[\d.]*)`},
		{"opensips", []string{"opensips", "-V"}, Version{4, 0, 1}, `version: opensips (\d[\d.]*)`},
		// util/prosodyctl of Prosody 13.0; packages may put advice before it.
		{"prosody", []string{"prosodyctl", "about"}, Version{13, 0, 7}, `(?m)^Prosody (\d[\d.]*)`},
	}
}

// Has reports whether there is a snippet for a service.
func Has(name string) bool {
	return slices.ContainsFunc(Services(), func(s Service) bool { return s.Name == name })
}

// Installed returns the version of a service, and that of its OpenSSL, from
// what its Ask has printed. What is not in there is zero.
func (s Service) Installed(printed string) (service, openssl Version) {
	// nginx: "built with OpenSSL 3.5.6 7 Apr 2026 (running with OpenSSL 3.5.7
	// ...)".
	return findVersion(s.says, printed), findVersion(`(?s).*(?:built|running) with OpenSSL (\d[\d.]*)`, printed)
}

func findVersion(expression, text string) Version {
	if match := regexp.MustCompile(expression).FindStringSubmatch(text); match != nil {
		return ParseVersion(match[1])
	}
	return Version{}
}

// Version is a version of a program: major, minor, patch.
type Version [3]int

// ParseVersion returns the version in a text, of which it reads as many of the
// three numbers as there are.
func ParseVersion(text string) Version {
	var v Version
	for i, part := range strings.Split(text, ".") {
		n, err := strconv.Atoi(part)
		if err != nil || i == len(v) {
			break
		}
		v[i] = n
	}
	return v
}

// AtLeast reports whether a version is the given one or a later one.
func (v Version) AtLeast(text string) bool {
	for i, n := range ParseVersion(text) {
		if v[i] != n {
			return v[i] > n
		}
	}
	return true
}

// Known reports whether a version is known: it is not zero.
func (v Version) Known() bool { return v != Version{} }

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

// Settings are the values that are filled in.
type Settings struct {
	Fullchain, Chain, Key string // paths; Chain may be empty
	Name                  string // the name by which clients connect
	Staple                bool   // the installed leaf names an OCSP responder

	Row *Row // of a database, which holds the pair in place of files; nil: it is in files

	Version Version // of the service; unknown: the newest is assumed
	OpenSSL Version // that the service uses; unknown: none that needs a new one
}

// Row is a row of the table from which a service takes a domain.
type Row struct {
	Table, Domain string
	Type          int
}

// Client reports whether it is a client's domain.
func (r Row) Client() bool { return r.Type == 1 }

// quoted returns a string literal of SQL.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// Write writes the snippet for a service with the settings filled in.
func Write(w io.Writer, s Service, settings Settings) error {
	values := struct {
		Settings
		Assumed bool
		Ciphers string
	}{Settings: settings, Assumed: !settings.Version.Known(), Ciphers: strings.Join(ciphers(), ":")}
	if values.Assumed {
		values.Version, values.OpenSSL = s.Newest, ParseVersion("3.5")
	}
	file := s.Name + ".tmpl"
	if settings.Row != nil {
		file = s.Name + "-row.tmpl"
	}
	parsed, err := template.New(file).Funcs(template.FuncMap{"quoted": quoted}).Option("missingkey=error").ParseFS(files, file)
	if err != nil {
		return fmt.Errorf("read the template of %s: %w", s.Name, err)
	}
	if err := parsed.Execute(w, values); err != nil {
		return fmt.Errorf("write the template of %s: %w", s.Name, err)
	}
	return nil
}

// ciphers returns the profile's ciphers for TLS 1.2, by their names in OpenSSL.
func ciphers() []string {
	return []string{
		"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
		"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
		"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
	}
}
