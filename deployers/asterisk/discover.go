package asterisk

import (
	"path/filepath"

	"github.com/certlatch/certlatch/deployers"
)

func (Deployer) Discover(t deployers.Target, f deployers.Facts) deployers.Discovery {
	options := t.Options.(*Options)
	seen := options.observe(f)
	d := deployers.Discovery{
		Installed: f.Unit.LoadState == "loaded" || seen.installed,
		Role:      "pbx", Exact: true, Labels: []string{"pbx", "sip", "sips", "voip", "phone"},
		Directory: filepath.Join(filepath.Dir(options.Config), "keys/{lineage}"),
		Lines:     []string{"cert_file={certificate}", "priv_key_file={key}"},
	}
	if !d.Installed {
		return d
	}
	for _, u := range seen.uses {
		if u.certificate != "" && !filepath.IsAbs(u.certificate) {
			d.AddUnknown(u.where + " takes " + u.certificate + ", which is relative to where Asterisk was started")
			continue
		}
		d.Add(deployers.Use{Where: u.where, Certificate: u.certificate, Key: u.key})
	}
	for _, what := range seen.unread {
		d.AddUnknown(what)
	}
	return d
}
