package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// apt writes the indexes of a repository of Debian's format, for packages in pool
// (wiki.debian.org/DebianRepository/Format).
func (b build) apt(dir string, names []string) error {
	indexes := map[string][]byte{} // by their place below the suite
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(dir, "pool", name))
		if err != nil {
			return err
		}
		control, err := debControl(content)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		place := "main/binary-" + field(control, "Architecture") + "/Packages"
		indexes[place] = fmt.Appendf(indexes[place], "%s\nFilename: pool/%s\nSize: %d\nSHA256: %x\n\n",
			strings.TrimSpace(control), name, len(content), sha256.Sum256(content))
	}
	var sums strings.Builder
	var architectures []string
	for _, place := range slices.Sorted(maps.Keys(indexes)) {
		architectures = append(architectures, strings.TrimPrefix(path.Base(path.Dir(place)), "binary-"))
		for _, index := range []struct {
			suffix  string
			content []byte
		}{{"", indexes[place]}, {".gz", zipped(indexes[place])}} {
			if err := write(filepath.Join(dir, "dists/stable", place+index.suffix), index.content); err != nil {
				return err
			}
			fmt.Fprintf(&sums, " %x %d %s%s\n", sha256.Sum256(index.content), len(index.content), place, index.suffix)
		}
	}
	release := fmt.Appendf(nil, "Origin: certlatch\nLabel: certlatch\nSuite: stable\nCodename: stable\nDate: %s\nArchitectures: %s\nComponents: main\nDescription: %s\nSHA256:\n%s",
		b.date.Format("Mon, 02 Jan 2006 15:04:05 UTC"), strings.Join(architectures, " "), summary, sums.String())
	if err := write(filepath.Join(dir, "dists/stable/Release"), release); err != nil || b.signer == nil {
		return err
	}
	clear, err := b.signer.clear(release)
	if err != nil {
		return err
	}
	return errors.Join(write(filepath.Join(dir, "dists/stable/InRelease"), clear),
		b.signed(filepath.Join(dir, "dists/stable/Release.gpg"), release))
}

// aptSources writes what a host puts into /etc/apt/sources.list.d
// (sources.list(5), DEB822-STYLE FORMAT).
func (b build) aptSources(dir, address string) error {
	text := "Types: deb\nURIs: " + address + "/apt\nSuites: stable\nComponents: main\n"
	if b.signer == nil {
		return write(filepath.Join(dir, "certlatch.sources"), []byte(text+"Trusted: yes\n"))
	}
	key, err := b.signer.public()
	if err != nil {
		return err
	}
	text += "Signed-By:\n"
	for line := range strings.Lines(string(key)) {
		if line = strings.TrimSpace(line); line == "" {
			line = "."
		}
		text += " " + line + "\n"
	}
	return write(filepath.Join(dir, "certlatch.sources"), []byte(text))
}

// debControl returns the control file of a deb package: an archive of ar's, of
// which a member is a tar archive with it (deb(5)).
func debControl(deb []byte) (string, error) {
	const magic, head = "!<arch>\n", 60
	rest, ok := bytes.CutPrefix(deb, []byte(magic))
	for ok && len(rest) >= head {
		name := strings.TrimRight(string(rest[:16]), " /")
		size, err := strconv.Atoi(strings.TrimSpace(string(rest[48:58])))
		if err != nil || size < 0 || size > len(rest)-head {
			break
		}
		member := rest[head : head+size]
		if name == "control.tar.gz" {
			return tarred(member, "control")
		}
		rest = rest[min(head+size+size%2, len(rest)):]
	}
	return "", errors.New("it is no deb package with a control.tar.gz")
}

// tarred returns a file in a tar archive that gzip has compressed.
func tarred(archive []byte, name string) (string, error) {
	plain, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return "", err
	}
	for files := tar.NewReader(plain); ; {
		file, err := files.Next()
		if err != nil {
			return "", fmt.Errorf("look for %s: %w", name, err)
		}
		if path.Clean(file.Name) == name {
			content, err := io.ReadAll(files)
			return string(content), err
		}
	}
}

// field returns a field of a control file.
func field(control, name string) string {
	for line := range strings.Lines(control) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
