package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// modules returns the build information of a program.
func modules(program string) (*buildinfo.BuildInfo, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("read build information: %w", err)
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			return nil, fmt.Errorf("%s is replaced by %s, which has no name for others", m.Path, m.Replace.Path)
		}
	}
	return info, nil
}

// bill is a bill of materials in the form of CycloneDX 1.6
// (cyclonedx.org/docs/1.6/json).
type bill struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Ref     string `json:"bom-ref"`
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version"`
	PURL    string `json:"purl"`
	Hashes  []hash `json:"hashes,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type dependency struct {
	Ref string   `json:"ref"`
	On  []string `json:"dependsOn,omitempty"`
}

// bill returns the bill of materials of a program.
func (b build) bill(program string) ([]byte, error) {
	info, err := modules(program)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	itself := newComponent("application", info.Main.Path, b.version)
	itself.Hashes = []hash{{"SHA-256", hex.EncodeToString(sum[:])}}
	list := bill{
		Format: "CycloneDX", Spec: "1.6", Version: 1,
		Metadata:   metadata{b.date.Format(time.RFC3339), itself},
		Components: []component{newComponent("library", "std", strings.TrimPrefix(info.GoVersion, "go"))},
	}
	for _, m := range info.Deps {
		c := newComponent("library", m.Path, m.Version)
		if c.Hashes, err = hashes(m); err != nil {
			return nil, err
		}
		list.Components = append(list.Components, c)
	}
	direct := dependency{Ref: itself.Ref}
	for _, c := range list.Components {
		direct.On = append(direct.On, c.Ref)
		list.Dependencies = append(list.Dependencies, dependency{Ref: c.Ref})
	}
	list.Dependencies = append(list.Dependencies, direct)
	data, err := json.MarshalIndent(list, "", "  ")
	return append(data, '\n'), err
}

// newComponent returns a component for a Go module, with its package URL
// (github.com/package-url/purl-spec, golang).
func newComponent(kind, path, version string) component {
	purl := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	return component{Ref: purl, Type: kind, Name: path, Version: version, PURL: purl}
}

// hashes returns the module's sum in go.sum, "h1:" and a SHA-256 in Base64.
func hashes(m *debug.Module) ([]hash, error) {
	sum, ok := strings.CutPrefix(m.Sum, "h1:")
	if !ok {
		return nil, fmt.Errorf("%s has no sum", m.Path)
	}
	raw, err := base64.StdEncoding.DecodeString(sum)
	if err != nil {
		return nil, fmt.Errorf("sum of %s: %w", m.Path, err)
	}
	return []hash{{"SHA-256", hex.EncodeToString(raw)}}, nil
}
