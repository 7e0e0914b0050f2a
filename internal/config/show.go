package config

import (
	"fmt"
	"io"
	"io/fs"

	"gopkg.in/yaml.v3"
)

// unsetNotes returns notes, by key, on what is done where a target's key has no
// value.
func unsetNotes() map[string]string {
	return map[string]string{
		"user":   "root, or who runs certlatch",
		"group":  "the unit's Group=, else the primary group of its User=",
		"unit":   "none",
		"window": "at once",
		"probe":  "the TLS listeners of the service that are found",
	}
}

// Show writes the effective configuration with every default, as YAML that
// [Parse] reads back into the same one, but for the passwords of databases,
// which it does not show.
func (c *Config) Show(w io.Writer) error {
	doc := document{State: absPath(c.State), Lineages: &[]rootKeys{}, Policy: c.Policy.keys()}
	for _, root := range c.Roots {
		dir := absPath(root.Dir)
		*doc.Lineages = append(*doc.Lineages, rootKeys{map[string]*absPath{root.Client: &dir}})
	}
	for _, t := range c.Targets {
		doc.Targets = append(doc.Targets, t.keys())
	}
	var root yaml.Node
	if err := root.Encode(doc); err != nil {
		return fmt.Errorf("show configuration: %w", err)
	}
	for _, target := range root.Content[len(root.Content)-1].Content {
		explainUnset(target)
	}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(&root); err != nil {
		return fmt.Errorf("show configuration: %w", err)
	}
	return nil
}

// explainUnset makes keys without a value in a target empty texts with the note
// of unset as a comment.
func explainUnset(target *yaml.Node) {
	for i := 1; i < len(target.Content); i += 2 {
		key, value := target.Content[i-1], target.Content[i]
		if note := unsetNotes()[key.Value]; note != "" && (value.Tag == "!!null" || value.Kind == yaml.ScalarNode && value.Value == "") {
			*value = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, LineComment: note}
		}
	}
}

func (p Policy) keys() policyKeys {
	accept := texts[code](p.Accept)
	return policyKeys{Trust: trust(p.Trust), Accept: &accept}
}

// keys returns a target as it would be written: the inverse of [report.target].
func (t Target) keys() targetKeys {
	bits := mode(t.Mode & fs.ModePerm)
	k := targetKeys{
		Name: targetName(t.Name), Service: t.Service, Lineage: selector(t.Lineage),
		Directory: pattern(t.Directory), Certificate: pattern(t.Certificate), Key: pattern(t.Key),
		Chain: pattern(t.Chain), Combined: pattern(t.Combined),
		User: account(t.User), Group: account(t.Group), Mode: &bits,
		Unit: unit(t.Unit), Names: texts[hostName](t.Names), AllowRestart: t.AllowRestart,
		Window: (*window)(t.Window), Contact: t.Contact,
		Policy: t.Policy.keys(),
		Blocks: map[string]any{t.Service: t.Options},
	}
	if t.ACL != nil {
		k.ACL = &[]reader{}
		for _, r := range t.ACL {
			*k.ACL = append(*k.ACL, reader(r))
		}
	}
	if t.ProveNothing || t.Probes != nil {
		k.Probe = &probes{}
		for _, p := range t.Probes {
			*k.Probe = append(*k.Probe, probe(p))
		}
	}
	return k
}
