package hookfiles

import (
	"encoding/base64"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Each hand is named with its file and line, and what has nothing to do with a target
// is not.
func TestBeside(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, at("le/renewal-hooks/deploy/deploy.sh"), "#!/bin/sh\n# cp to /etc/x/cert.pem\ncp $RENEWED_LINEAGE/fullchain.pem /etc/x/cert.pem\nsystemctl reload nginx\n", 0o755)
	write(t, at("le/renewal-hooks/post/mail.sh"), "#!/bin/sh\nmail root\n", 0o755)
	write(t, at("le/renewal-hooks/post/off.sh"), "systemctl reload nginx\n", 0o644)
	write(t, at("le/renewal/web.conf"), "[renewalparams]\ninstaller = nginx\npost_hook = systemctl restart nginx\nrenew_hook = certlatch hook certbot\n", 0o600)
	reload := base64.StdEncoding.EncodeToString([]byte("nginx -s reload"))
	write(t, at("acme/web_ecc/web.conf"), "Le_RealKeyPath='no'\nLe_RealFullChainPath='/etc/x/cert.pem'\nLe_ReloadCmd='__ACME_BASE64__START_"+reload+"__ACME_BASE64__END_'\n", 0o600)
	roots := []lineage.Root{{Client: "certbot", Dir: at("le/live")}, {Client: "acme.sh", Dir: at("acme")}}
	wanted := []hooks.Interest{{Target: "web", Paths: []string{"/etc/x/cert.pem", "/etc/x/key.pem"}, Service: "nginx", Unit: "nginx.service"}}
	var got []string
	for _, check := range Beside(roots, wanted) {
		if where, is := strings.CutPrefix(check.Says, dir+"/"); is && check.Remedy != "" {
			got = append(got, strings.Fields(where)[0])
		}
	}
	want := []string{"le/renewal/web.conf:2", "le/renewal/web.conf:3", "le/renewal-hooks/deploy/deploy.sh:3", "acme/web_ecc/web.conf:2", "acme/web_ecc/web.conf:3"}
	if !slices.Equal(got, want) {
		t.Errorf("%q instead of %q", got, want)
	}
}
