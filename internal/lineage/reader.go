package lineage

import (
	"crypto/x509"
	"sync"

	"github.com/certlatch/certlatch/internal/disk"
)

// Reader reads many lineages. It opens the roots that they are in once, and parses
// an issuer that is the same for many once. It may be used by several goroutines,
// and must be closed.
type Reader struct {
	mutex   sync.Mutex
	stores  map[Root]*disk.Store
	issuers map[string]*x509.Certificate // by their DER encoding
}

// Read is as [Read].
func (r *Reader) Read(l Lineage) (*Bundle, []Finding) { return read(l, r.storeOf, r.parse) }

// Close closes the roots. Nothing may be read any more.
func (r *Reader) Close() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, store := range r.stores {
		store.Close()
	}
	clear(r.stores)
}

// storeOf returns the store of a root. Whoever may decide what is in it is judged
// anew each time.
func (r *Reader) storeOf(root Root) (*disk.Store, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.stores[root] == nil {
		store, err := root.store()
		if err != nil {
			return nil, err
		}
		if r.stores == nil {
			r.stores = map[Root]*disk.Store{}
		}
		r.stores[root] = store
	}
	return r.stores[root].Again()
}

// parse returns the certificate of a DER encoding. Those of CAs are kept.
func (r *Reader) parse(der []byte) (*x509.Certificate, error) {
	r.mutex.Lock()
	known := r.issuers[string(der)]
	r.mutex.Unlock()
	if known != nil {
		return known, nil
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil || !cert.IsCA {
		return cert, err
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.issuers == nil {
		r.issuers = map[string]*x509.Certificate{}
	}
	r.issuers[string(der)] = cert
	return cert, nil
}
