// Command packages makes certlatch's deb and rpm packages of built programs,
// with a bill of materials (CycloneDX) for each and SHA256SUMS beside them, and
// repositories of them for apt and dnf.
//
// The same source, programs and date give the same bytes, but for signatures. With
// a key all is signed that can be, and where that fails nothing is left. It does
// not check what is in the packages: internal/system's tests do.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/rpm"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "packages:", err)
		os.Exit(1)
	}
}

// build is what the packages are made from.
type build struct {
	source  string    // directory of the source tree
	out     string    // directory for what is made
	version string    // of the packages: see packageVersion
	date    time.Time // of everything in them
	native  string    // a certlatch that runs here
	signer  *signer   // nil where nothing is signed
}

func run() (err error) {
	var b build
	described := flag.String("version", "", "the version, as git describe says it: `VERSION`")
	epoch := flag.Int64("epoch", 0, "the date of everything in the packages, in `SECONDS` since 1970")
	flag.StringVar(&b.source, "source", ".", "the source tree: `DIRECTORY`")
	flag.StringVar(&b.out, "out", "", "where the packages go: `DIRECTORY`")
	flag.StringVar(&b.native, "native", "", "a certlatch that runs here: `PROGRAM`")
	key := flag.String("sign", "", "sign everything with a `KEY` of gpg's")
	repositories := flag.Bool("repositories", false, "make repositories for apt and dnf too")
	address := flag.String("url", "", "where a web server will have the repositories: `URL`")
	release := flag.Bool("release", false, "refuse what is no version to release")
	flag.Parse()
	if *described == "" || *epoch == 0 || b.out == "" || b.native == "" || flag.NArg() == 0 {
		return errors.New("usage: packages -version VERSION -epoch SECONDS -out DIRECTORY -native PROGRAM ARCHITECTURE=PROGRAM [...]")
	}
	b.date = time.Unix(*epoch, 0).UTC()
	b.version = packageVersion(*described, b.date)
	if *release {
		if err := b.releasable(*described); err != nil {
			return err
		}
	}
	if b.signer, err = newSigner(*key); err != nil {
		return err
	}
	// All of it appears at once, or nothing.
	whole := b.out
	if err := os.MkdirAll(filepath.Dir(whole), 0o755); err != nil {
		return err
	}
	if b.out, err = os.MkdirTemp(filepath.Dir(whole), ".packages-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.out)
	if err := b.make(flag.Args(), *repositories, *address); err != nil {
		return err
	}
	if b.signer == nil && *repositories {
		fmt.Println("nothing is signed, since no key was given: hosts have to trust who serves it")
	}
	return errors.Join(os.Chmod(b.out, 0o755), os.Rename(b.out, whole))
}

// make makes everything for programs, each ARCHITECTURE=PROGRAM.
func (b build) make(programs []string, repositories bool, address string) error {
	var made []string
	for _, arg := range programs {
		arch, program, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q is not ARCHITECTURE=PROGRAM", arg)
		}
		files, err := b.packages(arch, program)
		if err != nil {
			return fmt.Errorf("for %s: %w", arch, err)
		}
		made = append(made, files...)
	}
	if err := b.sums(made); err != nil {
		return err
	}
	if b.signer != nil {
		key, err := b.signer.public()
		if err != nil {
			return err
		}
		if err := write(filepath.Join(b.out, "certlatch.asc"), key); err != nil {
			return err
		}
	}
	if repositories {
		return b.repositories(made, address)
	}
	return nil
}

// packages makes the packages of one architecture, and returns their names.
func (b build) packages(arch, program string) (made []string, err error) {
	tree, err := os.MkdirTemp("", "certlatch-packages-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tree)
	for format, packager := range map[string]nfpm.Packager{"deb": deb.Default, "rpm": rpm.DefaultRPM} {
		info, err := b.info(filepath.Join(tree, format), format, arch, program)
		if err != nil {
			return nil, err
		}
		info = nfpm.WithDefaults(info)
		if err := nfpm.PrepareForPackager(info, format); err != nil {
			return nil, err
		}
		name := packager.ConventionalFileName(info)
		var content bytes.Buffer
		if err := packager.Package(info, &content); err != nil {
			return nil, fmt.Errorf("make %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(b.out, name), content.Bytes(), 0o644); err != nil {
			return nil, err
		}
		made = append(made, name)
	}
	bill, err := b.bill(program)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("certlatch_%s_%s.cdx.json", b.version, arch)
	return append(made, name), os.WriteFile(filepath.Join(b.out, name), bill, 0o644)
}

// sums writes SHA256SUMS for files, as sha256sum(1) reads it.
func (b build) sums(names []string) error {
	slices.Sort(names)
	var sums strings.Builder
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(b.out, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(content), name)
	}
	path := filepath.Join(b.out, "SHA256SUMS")
	if err := write(path, []byte(sums.String())); err != nil {
		return err
	}
	return b.signed(path+".asc", []byte(sums.String()))
}
