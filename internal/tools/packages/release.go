package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// releasable returns an error where the tree is none that can be released under
// the version that git describes.
func (b build) releasable(described string) error {
	if strings.HasSuffix(described, "-dirty") || !regexp.MustCompile(`^v?\d+(\.\d+)+(-[a-z]+[\d.]*)?$`).MatchString(described) {
		return fmt.Errorf("%s is no version to release: tag the commit (git tag v1.2.3), and leave no change that is not committed", described)
	}
	all, err := b.changelog()
	if err != nil {
		return err
	}
	if all[0].undated {
		return fmt.Errorf("CHANGELOG.md does not begin with a section of this version: give its changes the heading ## %s, YYYY-MM-DD", strings.TrimPrefix(described, "v"))
	}
	return nil
}

// repositories makes trees for apt and dnf of packages, which any static web
// server can serve at an address; without one, what hosts would need to know of it
// is left out.
func (b build) repositories(made []string, address string) error {
	for _, tree := range []struct {
		dir, suffix string
		index       func(dir string, names []string) error
		hosts       func(dir, address string) error
	}{
		{"apt/pool", ".deb", b.apt, b.aptSources},
		{"dnf", ".rpm", b.dnf, b.dnfRepository},
	} {
		dir := filepath.Join(b.out, tree.dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		var names []string
		for _, name := range made {
			if !strings.HasSuffix(name, tree.suffix) {
				continue
			}
			if err := os.Link(filepath.Join(b.out, name), filepath.Join(dir, name)); err != nil {
				return err
			}
			names = append(names, name)
		}
		root := filepath.Join(b.out, strings.TrimSuffix(tree.dir, "/pool"))
		if err := tree.index(root, names); err != nil {
			return err
		}
		if address != "" {
			if err := tree.hosts(root, strings.TrimSuffix(address, "/")); err != nil {
				return err
			}
		}
	}
	return nil
}

// write writes a file with the directories that it needs.
func write(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}

// signed writes an armored signature of content to a file, where there is a key.
func (b build) signed(path string, content []byte) error {
	if b.signer == nil {
		return nil
	}
	signature, err := b.signer.armored(content)
	if err != nil {
		return err
	}
	return write(path, signature)
}
