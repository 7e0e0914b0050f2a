package main

import (
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The metadata of an rpm repository, as createrepo_c 1.2.1 writes it
// (src/xml_dump_primary.c, src/xml_dump_filelists.c, src/xml_dump_repomd.c). What
// nothing but a search for changelogs asks for, other.xml, is left out.
type (
	primary struct {
		XMLName  xml.Name         `xml:"metadata"`
		NS       string           `xml:"xmlns,attr"`
		RPM      string           `xml:"xmlns:rpm,attr"`
		Count    int              `xml:"packages,attr"`
		Packages []primaryPackage `xml:"package"`
	}
	primaryPackage struct {
		Type        string      `xml:"type,attr"`
		Name        string      `xml:"name"`
		Arch        string      `xml:"arch"`
		Version     evr         `xml:"version"`
		Checksum    checksum    `xml:"checksum"`
		Summary     string      `xml:"summary"`
		Description string      `xml:"description"`
		Packager    string      `xml:"packager"`
		URL         string      `xml:"url"`
		Time        times       `xml:"time"`
		Size        sizes       `xml:"size"`
		Location    location    `xml:"location"`
		License     string      `xml:"format>rpm:license"`
		Vendor      string      `xml:"format>rpm:vendor"`
		Group       string      `xml:"format>rpm:group"`
		BuildHost   string      `xml:"format>rpm:buildhost"`
		SourceRPM   string      `xml:"format>rpm:sourcerpm"`
		HeaderRange headerRange `xml:"format>rpm:header-range"`
		Provides    []entry     `xml:"format>rpm:provides>rpm:entry"`
		Requires    []entry     `xml:"format>rpm:requires>rpm:entry"`
		Recommends  []entry     `xml:"format>rpm:recommends>rpm:entry"`
		Files       []rpmFile   `xml:"format>file"`
	}
	filelists struct {
		XMLName  xml.Name           `xml:"filelists"`
		NS       string             `xml:"xmlns,attr"`
		Count    int                `xml:"packages,attr"`
		Packages []filelistsPackage `xml:"package"`
	}
	filelistsPackage struct {
		ID      string    `xml:"pkgid,attr"`
		Name    string    `xml:"name,attr"`
		Arch    string    `xml:"arch,attr"`
		Version evr       `xml:"version"`
		Files   []rpmFile `xml:"file"`
	}
	repomd struct {
		XMLName  xml.Name     `xml:"repomd"`
		NS       string       `xml:"xmlns,attr"`
		Revision int64        `xml:"revision"`
		Data     []repomdData `xml:"data"`
	}
	repomdData struct {
		Type         string   `xml:"type,attr"`
		Checksum     checksum `xml:"checksum"`
		OpenChecksum checksum `xml:"open-checksum"`
		Location     location `xml:"location"`
		Timestamp    int64    `xml:"timestamp"`
		Size         int      `xml:"size"`
		OpenSize     int      `xml:"open-size"`
	}
	evr struct {
		Epoch   string `xml:"epoch,attr"`
		Version string `xml:"ver,attr"`
		Release string `xml:"rel,attr"`
	}
	checksum struct {
		Type  string `xml:"type,attr"`
		ID    string `xml:"pkgid,attr,omitempty"`
		Value string `xml:",chardata"`
	}
	times struct {
		File  int64 `xml:"file,attr"`
		Build int64 `xml:"build,attr"`
	}
	sizes struct {
		Package   int   `xml:"package,attr"`
		Installed int64 `xml:"installed,attr"`
		Archive   int64 `xml:"archive,attr"`
	}
	location struct {
		Href string `xml:"href,attr"`
	}
	headerRange struct {
		Start int `xml:"start,attr"`
		End   int `xml:"end,attr"`
	}
	entry struct {
		Name    string `xml:"name,attr"`
		Flags   string `xml:"flags,attr,omitempty"`
		Epoch   string `xml:"epoch,attr,omitempty"`
		Version string `xml:"ver,attr,omitempty"`
		Release string `xml:"rel,attr,omitempty"`
	}
	rpmFile struct {
		Type string `xml:"type,attr,omitempty"`
		Path string `xml:",chardata"`
	}
)

// dnf writes the metadata of a repository of rpm packages.
func (b build) dnf(dir string, names []string) error {
	first := primary{NS: "http://linux.duke.edu/metadata/common", RPM: "http://linux.duke.edu/metadata/rpm", Count: len(names)}
	files := filelists{NS: "http://linux.duke.edu/metadata/filelists", Count: len(names)}
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		header, err := readRPM(content)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		p := b.primary(name, content, header)
		first.Packages = append(first.Packages, p)
		files.Packages = append(files.Packages, filelistsPackage{p.Checksum.Value, p.Name, p.Arch, p.Version, header.files()})
	}
	index := repomd{NS: "http://linux.duke.edu/metadata/repo", Revision: b.date.Unix()}
	for _, metadata := range []struct {
		kind    string
		content any
	}{{"primary", first}, {"filelists", files}} {
		plain, err := document(metadata.content)
		if err != nil {
			return err
		}
		zipped := zipped(plain)
		sum := sha256sum(zipped)
		place := "repodata/" + sum.Value + "-" + metadata.kind + ".xml.gz"
		if err := write(filepath.Join(dir, place), zipped); err != nil {
			return err
		}
		index.Data = append(index.Data, repomdData{metadata.kind, sum, sha256sum(plain), location{place}, b.date.Unix(), len(zipped), len(plain)})
	}
	text, err := document(index)
	if err != nil {
		return err
	}
	if err := write(filepath.Join(dir, "repodata/repomd.xml"), text); err != nil {
		return err
	}
	return b.signed(filepath.Join(dir, "repodata/repomd.xml.asc"), text)
}

// primary returns what dnf wants to know of a package before it is fetched.
func (b build) primary(name string, content []byte, h rpmHeader) primaryPackage {
	sum := sha256sum(content)
	sum.ID = "YES"
	p := primaryPackage{
		Type: "rpm", Name: h.text(tagName), Arch: h.text(tagArch), Version: h.evr(), Checksum: sum,
		Summary: h.text(tagSummary), Description: h.text(tagDescription), Packager: h.text(tagPackager), URL: h.text(tagURL),
		Time:     times{b.date.Unix(), h.number(tagBuildTime)},
		Size:     sizes{len(content), h.number(tagSize), h.archive},
		Location: location{name},
		License:  h.text(tagLicense), Vendor: h.text(tagVendor), Group: h.text(tagGroup), BuildHost: h.text(tagBuildHost),
		SourceRPM: h.text(tagSourceRPM), HeaderRange: headerRange{h.start, h.end},
		Provides:   h.entries(tagProvideName, tagProvideFlags, tagProvideVersion),
		Requires:   h.entries(tagRequireName, tagRequireFlags, tagRequireVersion),
		Recommends: h.entries(tagRecommendName, tagRecommendFlags, tagRecommendVersion),
	}
	// These are the files that others may require without filelists.xml
	// (createrepo_c's src/misc.c, cr_is_primary).
	for _, file := range h.files() {
		if strings.HasPrefix(file.Path, "/etc/") || strings.Contains(file.Path, "bin/") {
			p.Files = append(p.Files, file)
		}
	}
	return p
}

// dnfRepository writes what a host puts into /etc/yum.repos.d (dnf.conf(5)).
func (b build) dnfRepository(dir, address string) error {
	text := "[certlatch]\nname=certlatch\nbaseurl=" + address + "/dnf\nenabled=1\n"
	if b.signer == nil {
		text += "gpgcheck=0\n"
	} else {
		text += "gpgcheck=1\nrepo_gpgcheck=1\ngpgkey=" + address + "/certlatch.asc\n"
	}
	return write(filepath.Join(dir, "certlatch.repo"), []byte(text))
}

// document returns a whole XML document.
func document(content any) ([]byte, error) {
	text, err := xml.MarshalIndent(content, "", " ")
	return append([]byte(xml.Header), append(text, '\n')...), err
}

func sha256sum(content []byte) checksum {
	return checksum{Type: "sha256", Value: fmt.Sprintf("%x", sha256.Sum256(content))}
}
