package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/files"
)

const (
	maintainer = "certlatch maintainers <certlatch@users.noreply.github.com>"
	homepage   = "https://github.com/certlatch/certlatch"
	summary    = "Latches renewed TLS certificates into running services"

	description = `Called by the hook of an ACME client, certlatch validates the new certificate,
installs it with the right owner and mode, makes the service take it, proves by
live handshakes that it is served, and puts the previous one back where it is
not. It knows nginx, Kamailio, OpenSIPS, Prosody and Asterisk, and the hooks of
certbot, acme.sh, lego, dehydrated and acmetool.`
)

// content is one file of a package.
type content struct {
	path string
	data []byte
}

// contents collects the files of a package.
type contents struct {
	source string // the source tree
	all    []content
	failed error // the first error of reading or making a file
}

// add adds a file, or notes the error of reading or making it.
func (c *contents) add(path string, data []byte, err error) {
	if err != nil && c.failed == nil {
		c.failed = fmt.Errorf("%s: %w", path, err)
	}
	c.all = append(c.all, content{path, data})
}

// copy adds a file of the source tree.
func (c *contents) copy(path, from string) {
	data, err := os.ReadFile(filepath.Join(c.source, from))
	c.add(path, data, err)
}

// info returns a package as nfpm describes it. It writes the files that the
// description names below a directory.
func (b build) info(dir, format, arch, program string) (*nfpm.Info, error) {
	contents, err := b.contents(format, program)
	if err != nil {
		return nil, err
	}
	info := &nfpm.Info{
		Name: "certlatch", Arch: arch, Platform: "linux",
		Version: b.version, VersionSchema: "none", Release: "1",
		Section: "admin", Priority: "optional",
		Maintainer: maintainer, Vendor: "certlatch", Homepage: homepage, Description: description,
		MTime: b.date, DisableGlobbing: true,
	}
	switch format {
	case "deb": // the summary is the first line, and there is no field for the license
		info.Description = summary + "\n" + description
	case "rpm":
		info.License = "Apache-2.0"
		if b.signer != nil {
			info.RPM.Signature.SignFn = b.signer.detached
		}
	}
	info.RPM.Summary = summary
	info.RPM.BuildHost = "localhost" // otherwise the name of this machine
	info.RPM.Packager = maintainer
	info.RPM.Group = "System Environment/Daemons"
	info.Recommends = []string{"ca-certificates"} // unless every target sets policy.trust

	if info.Changelog, err = b.rpmChangelog(dir, format); err != nil {
		return nil, err
	}
	for _, c := range contents {
		source := filepath.Join(dir, c.path)
		if err := os.MkdirAll(filepath.Dir(source), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(source, c.data, 0o644); err != nil {
			return nil, err
		}
		info.Contents = append(info.Contents, &files.Content{
			Source: source, Destination: c.path, Type: kind(format, c.path),
			FileInfo: &files.ContentFileInfo{Mode: mode(c.path), MTime: b.date},
		})
	}
	info.Contents = append(info.Contents, &files.Content{
		Destination: "/etc/certlatch", Type: files.TypeDir,
		FileInfo: &files.ContentFileInfo{Mode: 0o755, MTime: b.date},
	})
	script := func(name string) string { return filepath.Join(b.source, "packaging", format, name) }
	switch format {
	case "deb":
		info.Scripts = nfpm.Scripts{PostInstall: script("postinst"), PreRemove: script("prerm"), PostRemove: script("postrm")}
	case "rpm":
		info.Scripts = nfpm.Scripts{PostInstall: script("post"), PreRemove: script("preun"), PostRemove: script("postun")}
	}
	return info, nil
}

// kind returns nfpm's type for a file; "" for a plain one.
func kind(format, path string) string {
	switch {
	case format == "rpm" && strings.HasPrefix(path, "/usr/share/licenses/"):
		return files.TypeRPMLicense
	case format == "rpm" && (strings.HasPrefix(path, "/usr/share/doc/") || strings.HasPrefix(path, "/usr/share/man/")):
		return files.TypeRPMDoc
	}
	return files.TypeFile
}

// mode returns the permissions of a file.
func mode(path string) fs.FileMode {
	if strings.HasPrefix(path, "/usr/bin/") {
		return 0o755
	}
	return 0o644
}

// contents returns the files of a package, where its distributions expect them.
func (b build) contents(format, program string) ([]content, error) {
	c := contents{source: b.source}
	binary, err := os.ReadFile(program)
	c.add("/usr/bin/certlatch", binary, err)
	for _, unit := range []string{"certlatch-watch.service", "certlatch-retry.service", "certlatch-retry.timer", "certlatch-recover.service"} {
		c.copy("/usr/lib/systemd/system/"+unit, "packaging/systemd/"+unit)
	}
	c.copy("/usr/lib/tmpfiles.d/certlatch.conf", "packaging/tmpfiles/certlatch.conf")
	c.copy("/usr/share/doc/certlatch/examples/config.yaml", "packaging/examples/config.yaml")
	pages, err := b.pages()
	if err != nil {
		return nil, err
	}
	for _, name := range pages {
		page, err := b.page(name)
		c.add(fmt.Sprintf("/usr/share/man/man%s/%s.gz", name[len(name)-1:], name), page, err)
	}
	for shell, path := range map[string]string{
		"bash": "/usr/share/bash-completion/completions/certlatch",
		"fish": "/usr/share/fish/vendor_completions.d/certlatch.fish",
		"zsh":  map[string]string{"deb": "/usr/share/zsh/vendor-completions/_certlatch", "rpm": "/usr/share/zsh/site-functions/_certlatch"}[format],
	} {
		script, err := exec.Command(b.native, "completion", shell).Output()
		c.add(path, script, err)
	}
	notices, err := b.notices(program)
	switch format {
	case "deb":
		c.copy("/usr/share/doc/certlatch/copyright", "packaging/deb/copyright")
		c.add("/usr/share/doc/certlatch/third-party-notices.gz", zipped(notices), err)
		c.copy("/usr/share/lintian/overrides/certlatch", "packaging/deb/lintian-overrides")
		text, err := os.ReadFile(filepath.Join(b.source, "CHANGELOG.md"))
		c.add("/usr/share/doc/certlatch/changelog.gz", zipped(text), err)
		text, err = b.debianChangelog()
		c.add("/usr/share/doc/certlatch/changelog.Debian.gz", zipped(text), err)
	case "rpm":
		c.copy("/usr/share/licenses/certlatch/LICENSE", "LICENSE")
		c.add("/usr/share/licenses/certlatch/third-party-notices", notices, err)
		c.copy("/usr/lib/systemd/system-preset/80-certlatch.preset", "packaging/systemd/80-certlatch.preset")
		c.copy("/usr/share/doc/certlatch/CHANGELOG.md", "CHANGELOG.md")
	}
	return c.all, c.failed
}

// pages returns the names of the manual's pages, such as certlatch.8.
func (b build) pages() (names []string, err error) {
	paths, err := filepath.Glob(filepath.Join(b.source, "packaging/man", "*.md"))
	for _, path := range paths {
		names = append(names, strings.TrimSuffix(filepath.Base(path), ".md"))
	}
	return names, err
}

// page returns a page of the manual, as man(1) reads it. md2man leaves examples at the
// margin of the text around them (v2.0.7), so they are moved in (groff_man(7)).
func (b build) page(name string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(b.source, "packaging/man", name+".md"))
	moved := strings.NewReplacer("\n.EX\n", "\n.RS 4\n.EX\n", "\n.EE\n", "\n.EE\n.RE\n").Replace(string(md2man.Render(text)))
	return zipped([]byte(moved)), err
}

// zipped returns data compressed as by gzip -9n: without a name or a time.
func zipped(data []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		panic(err) // the level is valid
	}
	w.Write(data) // a buffer never fails
	w.Close()
	return out.Bytes()
}

// notices returns the licenses of all modules that the program is linked with,
// since most licenses demand that.
func (b build) notices(program string) ([]byte, error) {
	info, err := modules(program)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	fmt.Fprintln(&text, "certlatch is linked with these works. Their sources are found by the names here,\nas Go modules.")
	add := func(name, dir string) error {
		found, err := licenses(dir)
		if err == nil && found == nil {
			err = fmt.Errorf("%s has no license in %s", name, dir)
		}
		fmt.Fprintf(&text, "\n%s\n%s\n\n%s", name, strings.Repeat("=", len(name)), found)
		return err
	}
	goroot, err := b.goes("env", "GOROOT")
	if err != nil {
		return nil, err
	}
	if err := add("The Go standard library, "+info.GoVersion, strings.TrimSpace(string(goroot))); err != nil {
		return nil, err
	}
	for _, m := range info.Deps {
		described, err := b.goes("mod", "download", "-json", m.Path+"@"+m.Version)
		if err != nil {
			return nil, err
		}
		var in struct{ Dir string }
		if err := json.Unmarshal(described, &in); err != nil {
			return nil, err
		}
		if err := add(m.Path+" "+m.Version, in.Dir); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}

// licenses returns the texts of a module's license files.
func licenses(dir string) ([]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var texts [][]byte
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if e.IsDir() || !(strings.HasPrefix(name, "LICENSE") || strings.HasPrefix(name, "COPYING") || strings.HasPrefix(name, "NOTICE")) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return bytes.Join(texts, []byte("\n")), nil
}

// goes runs the go command in the source tree, and returns its output.
func (b build) goes(args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Stderr = b.source, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w", cmd, err)
	}
	return out, err
}
