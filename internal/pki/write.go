package pki

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// WriteCertbot writes a leaf where certbot keeps the lineage with a name:
// numbered files in archive/NAME beside root, which is the directory called
// live, and links to them in root/NAME. Called again, it does what a renewal
// does: it adds the files of the next number and flips the links one by one.
//
// Source: certbot 5.6.0 certbot/_internal/storage.py.
func WriteCertbot(t testing.TB, root, name string, l Leaf) {
	t.Helper()
	live := filepath.Join(root, name)
	archive := filepath.Join(filepath.Dir(root), "archive", name)
	mkdir(t, live)
	mkdir(t, archive)
	earlier, err := filepath.Glob(filepath.Join(archive, "privkey*.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files(l) {
		numbered := fmt.Sprintf("%s%d.pem", f.name, len(earlier)+1)
		write(t, filepath.Join(archive, numbered), f)
		link := filepath.Join(live, f.name+".pem")
		if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("../../archive", name, numbered), link); err != nil {
			t.Fatal(err)
		}
	}
}

// WriteDirectory writes a leaf into root/NAME as plain files with certbot's
// names. Called again, it writes over them.
func WriteDirectory(t testing.TB, root, name string, l Leaf) {
	t.Helper()
	dir := filepath.Join(root, name)
	mkdir(t, dir)
	for _, f := range files(l) {
		write(t, filepath.Join(dir, f.name+".pem"), f)
	}
}

type file struct {
	name    string
	content []byte
	mode    fs.FileMode
}

func files(l Leaf) []file {
	return []file{
		{"cert", certificatePEM(l.Cert), 0o644},
		{"chain", l.Chain, 0o644},
		{"fullchain", l.Fullchain, 0o644},
		{"privkey", l.Key, 0o600},
	}
}

func mkdir(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path string, f file) {
	t.Helper()
	if err := os.WriteFile(path, f.content, f.mode); err != nil {
		t.Fatal(err)
	}
}
