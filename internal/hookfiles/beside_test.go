package hookfiles

import (
	"encoding/base64"
	"fmt"
	"os"
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
	encoded := func(command string) string {
		return "'__ACME_BASE64__START_" + base64.StdEncoding.EncodeToString([]byte(command)) + "__ACME_BASE64__END_'"
	}
	for _, file := range []struct {
		name, text string
		mode       os.FileMode
	}{
		{"le/renewal-hooks/deploy/deploy.sh", "#!/bin/sh\n# cp to /etc/x/cert.pem\ncp $RENEWED_LINEAGE/fullchain.pem /etc/x/cert.pem\nsystemctl reload nginx\n", 0o755},
		{"le/renewal-hooks/deploy/program", "\x7fELF\x00\nsystemctl reload nginx\n", 0o755}, // as certlatch's own link leads to
		{"le/renewal-hooks/post/mail.sh", "#!/bin/sh\nmail root\n", 0o755},
		{"le/renewal-hooks/post/off.sh", "systemctl reload nginx\n", 0o644},
		{"le/renewal/web.conf", "[renewalparams]\ninstaller = nginx\npost_hook = systemctl restart nginx\nrenew_hook = certlatch hook certbot\n", 0o600},
		{"le/renewal/other.conf", "[renewalparams]\ninstaller = nginx\n", 0o600}, // of no target
		{"le/renewal/script.conf", "[renewalparams]\nrenew_hook = " + at("bin/copy.sh") + " web && true\n", 0o600},
		{"bin/copy.sh", "#!/bin/sh\nset -e; " + at("bin/deeper.sh") + "\n" + at("bin/copy.sh") + "\n", 0o755},
		{"bin/deeper.sh", "#!/bin/sh\n\nnginx -s reload\n", 0o755},
		{"le/cli.ini", "# deploy-hook = nginx -s reload\ndeploy-hook = nginx -s reload; certlatch hook certbot\n", 0o644},
		{"acme/web_ecc/web.conf", "Le_RealKeyPath='no'\nLe_RealFullChainPath='/etc/x/cert.pem'\nLe_ReloadCmd=" + encoded("nginx -s reload && /usr/bin/certlatch hook acme.sh") + "\nLe_PostHook=" + encoded(at("bin/post.sh")) + "\n", 0o600},
		{"acme/own_ecc/own.conf", "Le_ReloadCmd=" + encoded("/usr/bin/certlatch hook acme.sh") + "\n", 0o600},
		{"acme/_x.web_ecc/_x.web.conf", "", 0o600},
		{"bin/post.sh", "#!/bin/sh\ncat /etc/x/key.pem\n", 0o755},
		{"dehydrated/config", "BASEDIR=/x\nHOOK=\"${BASEDIR}/own.sh\"\nHOOK_CHAIN=yes\n", 0o644},
		{"dehydrated/own.sh", "#!/bin/sh\nsystemctl reload-or-restart nginx.service\n", 0o755},
		{"dehydrated/certs/web/config", "HOOK='" + at("bin/unread.sh") + "'\n", 0o644},
		{"lego/.lego.yml", "hooks:\n  deploy:\n    command: install {} /etc/x/key.pem\n", 0o644},
	} {
		write(t, at(file.name), file.text, file.mode)
	}
	roots := []lineage.Root{
		{Client: "certbot", Dir: at("le/live")}, {Client: "acme.sh", Dir: at("acme")},
		{Client: "dehydrated", Dir: at("dehydrated/certs")}, {Client: "lego", Dir: at("lego/.lego/certificates")},
	}
	wanted := []hooks.Interest{{
		Target: "web", Paths: []string{"/etc/x/cert.pem", "/etc/x/key.pem"}, Service: "nginx", Unit: "nginx.service",
		Takes: func(l lineage.Lineage) bool { return l.Client == "acme.sh" || l.Name == "web" },
	}}
	second := wanted[0]
	second.Target = "second"
	wanted = append(wanted, second)
	var got []string
	for _, check := range Beside(roots, wanted) {
		if where, is := strings.CutPrefix(check.Says, dir+"/"); is && check.Remedy != "" && strings.HasSuffix(check.Says, " (target web, second)") {
			got = append(got, strings.Fields(where)[0])
		} else if strings.HasPrefix(check.Says, "acme.sh's cron") {
			got = append(got, check.Remedy)
		}
	}
	want := []string{
		"bin/deeper.sh:3", "le/renewal/web.conf:2", "le/renewal/web.conf:3", "le/cli.ini:2", "le/renewal-hooks/deploy/deploy.sh:3",
		"acme/web_ecc/web.conf:2", "acme/web_ecc/web.conf:3", "bin/post.sh:2", "dehydrated/own.sh:2", "lego/.lego.yml:3",
		"a cron line of its own: acme.sh --renew --ecc -d _x.web", "a cron line of its own: acme.sh --renew --ecc -d _x.web",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q instead of %q", got, want)
	}
	for _, hand := range Hands(roots, wanted) {
		if writes := strings.HasSuffix(hand.File, "/deploy.sh") || strings.HasSuffix(hand.File, "/post.sh") || strings.HasSuffix(hand.File, ".yml") || hand.Line == 2 && strings.HasSuffix(hand.File, "/web_ecc/web.conf"); hand.Writes != writes {
			t.Errorf("%s:%d writes: %t", hand.File, hand.Line, hand.Writes)
		}
		if strings.HasSuffix(hand.File, "/deeper.sh") && !strings.HasSuffix(hand.Does, "run by "+at("bin/copy.sh")) {
			t.Errorf("%s %s", hand.File, hand.Does)
		}
	}
}

// Whoever keeps lineages has no more scripts looked at than a bound.
func TestBesideIsBounded(t *testing.T) {
	dir := t.TempDir()
	for n := range maxFollowed + 10 {
		conf, script := "[renewalparams]\n", filepath.Join(dir, fmt.Sprintf("%d.sh", n))
		write(t, script, "nginx -s reload\n", 0o755)
		conf += "post_hook = " + script + "\nrenew_hook = " + filepath.Join(dir, "0.sh") + "\n" // which is read once
		write(t, filepath.Join(dir, "renewal", fmt.Sprintf("%03d.conf", n)), conf, 0o600)
	}
	found := Hands([]lineage.Root{{Client: "certbot", Dir: filepath.Join(dir, "live")}}, []hooks.Interest{{Target: "web", Service: "nginx", Takes: func(lineage.Lineage) bool { return true }}})
	found = slices.DeleteFunc(found, func(h hooks.Hand) bool { return !strings.HasPrefix(h.File, dir) })
	if len(found) != maxFollowed {
		t.Errorf("%d scripts were looked at", len(found))
	}
}
