package revocation_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/revocation"
)

func TestCheck(t *testing.T) {
	ca := pki.NewCA(t, "Root").Intermediate(t, "Intermediate")
	impostor := pki.NewCA(t, "Root").Intermediate(t, "Intermediate")
	nextWeek := time.Now().AddDate(0, 0, 7)

	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	at := func(paths ...string) pki.Leaf {
		var urls []string
		for _, path := range paths {
			if strings.HasPrefix(path, "/") {
				path = server.URL + path
			}
			urls = append(urls, path)
		}
		return ca.Leaf(t, pki.CRLAt(urls...))
	}
	serve := func(path string, content []byte) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { w.Write(content) })
	}
	good, listed, other := at("/list"), at("/list"), ca.Leaf(t)
	serve("/list", ca.CRL(t, nextWeek, other.Cert, listed.Cert))
	serve("/forged", impostor.CRL(t, nextWeek))
	serve("/old", ca.CRL(t, time.Now().AddDate(0, 0, -1)))
	serve("/text", []byte("not a list"))
	serve("/huge", bytes.Repeat([]byte("x"), 10<<20+1))
	mux.Handle("/moved", http.RedirectHandler(server.URL+"/list", http.StatusFound))

	tests := map[string]struct {
		leaf    pki.Leaf
		revoked bool
		says    string // in the error; "": none
	}{
		"not listed":         {good, false, ""},
		"listed":             {listed, true, ""},
		"second list":        {at("/gone", "/list"), false, ""},
		"none named":         {ca.Leaf(t), false, revocation.ErrNoList.Error()},
		"only others named":  {at("ldap://192.0.2.1/cn=x", "https://192.0.2.1/list", "file:///etc/passwd"), false, revocation.ErrNoList.Error()},
		"not found":          {at("/gone"), false, "404"},
		"redirected":         {at("/moved"), false, "302"},
		"signed by another":  {at("/forged"), false, "verification"},
		"out of date":        {at("/old"), false, "out of date"},
		"not a list":         {at("/text"), false, "malformed"},
		"larger than 10 MiB": {at("/huge"), false, "10 MiB"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			revoked, err := revocation.Check(t.Context(), test.leaf.Cert, ca.Cert)
			if revoked != test.revoked {
				t.Errorf("revoked is %v", revoked)
			}
			if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("error %v does not say %q", err, test.says)
			}
		})
	}
}

func TestCheckKeepsToItsTime(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		cancel() // the time is up while the server is still thinking
		<-release
	}))
	defer server.Close()
	defer close(release)
	ca := pki.NewCA(t, "Root")
	leaf := ca.Leaf(t, pki.CRLAt(server.URL)).Cert
	if revoked, err := revocation.Check(ctx, leaf, ca.Cert); revoked || !errors.Is(err, context.Canceled) {
		t.Errorf("Check gives %v, %v", revoked, err)
	}
}
