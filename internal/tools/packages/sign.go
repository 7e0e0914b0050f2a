package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// signer signs with a key that gpg has. A nil one signs nothing.
type signer struct {
	key string // as gpg(1) takes it for --local-user
}

// newSigner returns the signer for a key; nil without one. It signs once, so that
// a key that cannot is found out before anything is made.
func newSigner(key string) (*signer, error) {
	if key == "" {
		return nil, nil
	}
	s := &signer{key}
	listed, err := s.gpg(nil, "--with-colons", "--list-secret-keys", key)
	if err != nil {
		return nil, fmt.Errorf("%w\ngpg --list-secret-keys shows which keys could sign", err)
	}
	// The signature of an rpm has a field for RSA (rpm's docs/manual/format_v4.md,
	// RPMSIGTAG_RSA); 1 is RSA (RFC 9580, section 9.1; GnuPG's doc/DETAILS, field 4).
	for line := range strings.Lines(string(listed)) {
		if fields := strings.Split(line, ":"); fields[0] == "sec" && fields[3] != "1" {
			return nil, fmt.Errorf("key %s is not RSA, and rpm packages are signed by RSA keys: gpg --quick-generate-key NAME rsa4096 sign makes one", key)
		}
	}
	if _, err := s.detached(strings.NewReader("certlatch")); err != nil {
		return nil, err
	}
	return s, nil
}

// detached returns a binary signature of data.
func (s *signer) detached(data io.Reader) ([]byte, error) { return s.gpg(data, "--detach-sign") }

// armored returns a signature of data, in ASCII.
func (s *signer) armored(data []byte) ([]byte, error) {
	return s.gpg(bytes.NewReader(data), "--detach-sign", "--armor")
}

// clear returns data with a signature around it.
func (s *signer) clear(data []byte) ([]byte, error) {
	return s.gpg(bytes.NewReader(data), "--clear-sign")
}

// public returns the public key, in ASCII.
func (s *signer) public() ([]byte, error) { return s.gpg(nil, "--armor", "--export", s.key) }

func (s *signer) gpg(in io.Reader, args ...string) ([]byte, error) {
	cmd := exec.Command("gpg", append([]string{"--batch", "--no-tty", "--quiet", "--digest-algo=SHA256", "--local-user=" + s.key}, args...)...)
	var said bytes.Buffer
	cmd.Stdin, cmd.Stderr = in, &said
	out, err := cmd.Output()
	if err == nil && len(out) == 0 {
		err = errors.New("it printed nothing")
	}
	if err != nil {
		return nil, fmt.Errorf("sign with key %s: %w\n%s", s.key, err, said.Bytes())
	}
	return out, nil
}
