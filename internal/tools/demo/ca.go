package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/crypto/acme"
)

// ca is Pebble and the client that gets certificates from it.
type ca struct {
	dir     string
	address string
	client  *acme.Client
	root    *x509.CertPool
	issued  int
}

// startCA starts Pebble on two ports that are free, registers with it, and
// writes the root that it issues under to root.pem.
func startCA(ctx context.Context, dir, pebble string, children *children) (*ca, error) {
	api := pair{filepath.Join(dir, "pebble.pem"), filepath.Join(dir, "pebble.key")}
	if err := selfSigned(api, "127.0.0.1"); err != nil {
		return nil, err
	}
	address, err := freePort()
	if err != nil {
		return nil, err
	}
	management, err := freePort()
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": address, "managementListenAddress": management,
		"certificate": api.certificate, "privateKey": api.key,
		"httpPort": 5002, "tlsPort": 5001, "keyAlgorithm": "ecdsa",
	}})
	if err != nil {
		return nil, err
	}
	configFile := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(configFile, config, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, pebble, "-config", configFile)
	// Pebble is to validate every name, at once (README of Pebble v2.10.1).
	cmd.Env = append(os.Environ(), "PEBBLE_VA_ALWAYS_VALID=1", "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	if err := children.start(cmd); err != nil {
		return nil, err
	}

	trusted, err := os.ReadFile(api.certificate)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(trusted)
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	root, err := fetch(ctx, web, "https://"+management+"/roots/0")
	if err != nil {
		return nil, err
	}
	c := &ca{dir: dir, address: address, root: x509.NewCertPool()}
	c.root.AppendCertsFromPEM(root)
	if err := os.WriteFile(filepath.Join(dir, "root.pem"), root, 0o644); err != nil {
		return nil, err
	}
	account, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c.client = &acme.Client{Key: account, HTTPClient: web, DirectoryURL: "https://" + address + "/dir"}
	if _, err := c.client.Register(ctx, &acme.Account{}, acme.AcceptTOS); err != nil {
		return nil, fmt.Errorf("register with Pebble: %w", err)
	}
	return c, nil
}

// fetch returns what a server that is starting serves at a URL, once it
// answers.
func fetch(ctx context.Context, web *http.Client, url string) ([]byte, error) {
	var body []byte
	err := retry(ctx, func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := web.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err = io.ReadAll(response.Body)
		return err
	})
	return body, err
}

// retry calls try until it returns nil, or returns its last error after ten
// seconds.
func retry(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// live returns the lineage's directory, as certbot names it to hooks.
func (c *ca) live() string { return filepath.Join(c.dir, "live", name) }

// issue gets a certificate and keeps it as certbot does: numbered files in
// archive, and links to them in live. It returns the leaf's fingerprint.
func (c *ca) issue(ctx context.Context) (string, error) {
	order, err := c.client.AuthorizeOrder(ctx, acme.DomainIDs(name))
	if err != nil {
		return "", fmt.Errorf("order a certificate: %w", err)
	}
	for _, url := range order.AuthzURLs {
		if err := c.authorize(ctx, url); err != nil {
			return "", fmt.Errorf("authorize %s: %w", name, err)
		}
	}
	if _, err := c.client.WaitOrder(ctx, order.URI); err != nil {
		return "", fmt.Errorf("wait for the order: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, key)
	if err != nil {
		return "", err
	}
	chain, _, err := c.client.CreateCertFromOrder(ctx, order, csr, true)
	if err != nil {
		return "", fmt.Errorf("get the certificate: %w", err)
	}
	c.issued++
	return fingerprint(chain[0]), c.keep(chain, key)
}

func (c *ca) authorize(ctx context.Context, url string) error {
	authorization, err := c.client.GetAuthorization(ctx, url)
	if err != nil || authorization.Status == acme.StatusValid {
		return err
	}
	for _, challenge := range authorization.Challenges {
		if challenge.Type != "http-01" {
			continue
		}
		if _, err := c.client.Accept(ctx, challenge); err != nil {
			return err
		}
		_, err := c.client.WaitAuthorization(ctx, url)
		return err
	}
	return errors.New("no http-01 challenge is offered")
}

func (c *ca) keep(chain [][]byte, key crypto.Signer) error {
	private, err := keyPEM(key)
	if err != nil {
		return err
	}
	for file, content := range map[string][]byte{
		"cert": certificatePEM(chain[:1]), "chain": certificatePEM(chain[1:]), "fullchain": certificatePEM(chain), "privkey": private,
	} {
		if err := writeFile(c.archived(file), content); err != nil {
			return err
		}
		link := filepath.Join(c.live(), file+".pem")
		if err := os.MkdirAll(c.live(), 0o700); err != nil {
			return err
		}
		if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		target, err := filepath.Rel(c.live(), c.archived(file))
		if err != nil {
			return err
		}
		if err := os.Symlink(target, link); err != nil {
			return err
		}
	}
	return nil
}

// archived returns the path of a file of the certificate issued last.
func (c *ca) archived(file string) string {
	return filepath.Join(c.dir, "archive", name, fmt.Sprintf("%s%d.pem", file, c.issued))
}

// swapKey puts another key beside the certificate issued last.
func (c *ca) swapKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := keyPEM(key)
	if err != nil {
		return err
	}
	return writeFile(c.archived("privkey"), private)
}

// seen connects as a client that trusts Pebble would, and returns the
// fingerprint of the leaf.
func (c *ca) seen(ctx context.Context, address string) (string, error) {
	dialer := tls.Dialer{Config: &tls.Config{ServerName: name, RootCAs: c.root}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", fmt.Errorf("connect as a client: %w", err)
	}
	defer conn.Close()
	return fingerprint(conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw), nil
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// pair is the paths of a certificate and of its key.
type pair struct{ certificate, key string }

// selfSigned makes a pair for a host, such as a package makes at its
// installation.
func selfSigned(at pair, host string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: host},
		NotBefore:    now.AddDate(-1, 0, 0),
		NotAfter:     now.AddDate(0, 0, 30),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := keyPEM(key)
	if err != nil {
		return err
	}
	return errors.Join(writeFile(at.certificate, certificatePEM([][]byte{der})), writeFile(at.key, private))
}

func certificatePEM(chain [][]byte) (text []byte) {
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

func copyPair(to, from pair) error {
	for source, target := range map[string]string{from.certificate: to.certificate, from.key: to.key} {
		content, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		if err := writeFile(target, content); err != nil {
			return err
		}
	}
	return nil
}

func sameFiles(a, b pair) (bool, error) {
	for one, other := range map[string]string{a.certificate: b.certificate, a.key: b.key} {
		first, err := os.ReadFile(one)
		if err != nil {
			return false, err
		}
		second, err := os.ReadFile(other)
		if err != nil || string(first) != string(second) {
			return false, err
		}
	}
	return true, nil
}
