// Package revocation finds out whether a CA has revoked a certificate, by the
// revocation list that the certificate names (RFC 5280). Let's Encrypt has had
// no other way since it ended OCSP in 2025.
//
// It does not promise an answer: whoever sits between this host and the CA can
// withhold one, so an error must never keep a certificate from being used. Of
// the list's scope (RFC 5280 section 5.2.5) it trusts the CA.
package revocation

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// maxList bounds a list, in bytes. Let's Encrypt splits its lists to stay far
// below.
const maxList = 10 << 20

// ErrNoList says that a certificate names no list that can be had over HTTP.
var ErrNoList = errors.New("the certificate names no revocation list with an http URL")

// Check reports whether leaf is on a list that it names and that its issuer has
// signed. The lists are tried in turn until one can be used; ctx limits the
// time for all of them.
func Check(ctx context.Context, leaf, issuer *x509.Certificate) (bool, error) {
	failed := ErrNoList
	for _, address := range leaf.CRLDistributionPoints {
		// To trust an https server, its certificate would have to be checked by
		// a list in turn.
		if u, err := url.Parse(address); err != nil || u.Scheme != "http" {
			continue
		}
		list, err := fetch(ctx, address, issuer)
		if err == nil {
			return slices.ContainsFunc(list.RevokedCertificateEntries, func(entry x509.RevocationListEntry) bool {
				return entry.SerialNumber.Cmp(leaf.SerialNumber) == 0
			}), nil
		}
		failed = fmt.Errorf("fetch revocation list %q: %w", address, err)
	}
	return false, failed
}

func fetch(ctx context.Context, address string, issuer *x509.Certificate) (*x509.RevocationList, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	// A list is where the certificate says: a redirection is not followed.
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %d", response.StatusCode)
	}
	der, err := io.ReadAll(io.LimitReader(response.Body, maxList+1))
	if err != nil {
		return nil, err
	}
	if len(der) > maxList {
		return nil, fmt.Errorf("it is larger than %d MiB", maxList>>20)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return nil, err
	}
	if !list.NextUpdate.IsZero() && time.Now().After(list.NextUpdate) {
		return nil, fmt.Errorf("it is out of date since %s", list.NextUpdate.UTC().Format(time.RFC3339))
	}
	return list, nil
}
