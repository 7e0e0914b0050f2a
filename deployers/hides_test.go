package deployers

import "testing"

func TestHides(t *testing.T) {
	unit := Unit{Hidden: []Hidden{
		{Path: "/", By: "RootDirectory=/srv/root"}, {Path: "/srv/root"},
		{Path: "/srv/root/tmp", By: "PrivateTmp=yes"}, {Path: "/etc/tls"},
	}}
	for file, want := range map[string]string{
		"/etc/ssl/key.pem":        "RootDirectory=/srv/root",
		"/etc/tls/key.pem":        "",
		"/srv/root/key.pem":       "",
		"/srv/root/tmp/a/key.pem": "PrivateTmp=yes",
		"/srv/root/tmpfs/key.pem": "",
	} {
		if by := unit.Hides(file); by != want {
			t.Errorf("%s is hidden by %q, want %q", file, by, want)
		}
	}
	if by := (Unit{}).Hides("/etc/ssl/key.pem"); by != "" {
		t.Errorf("a unit that hides nothing hides it by %s", by)
	}
}
