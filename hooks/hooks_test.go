package hooks

import (
	"errors"
	"strings"
	"testing"
)

func TestCertbot(t *testing.T) {
	for _, test := range []struct{ lineage, path, fails string }{
		{lineage: "/etc/letsencrypt/live/api.example", path: "/etc/letsencrypt/live/api.example"},
		{lineage: "/etc/letsencrypt/live/api.example/", path: "/etc/letsencrypt/live/api.example"},
		{lineage: "/etc/letsencrypt/live/../../../root", path: "/root"},
		{lineage: "live/api.example", fails: "not an absolute path"},
		{lineage: "/etc/live/a\nb", fails: "control characters"},
		{lineage: "/" + strings.Repeat("x", 5000), fails: "longer than any path"},
	} {
		env := func(name string) string { return map[string]string{"RENEWED_LINEAGE": test.lineage}[name] }
		event, err := Detect(env, nil)
		if err != nil {
			t.Fatalf("%q was not taken for certbot's: %v", test.lineage, err)
		}
		got, err := event.Event(env, nil)
		switch {
		case test.fails != "":
			if input := new(InputError); !errors.As(err, &input) || !strings.Contains(err.Error(), test.fails) {
				t.Errorf("%.60q: %v, which does not say %q", test.lineage, err, test.fails)
			}
		case err != nil:
			t.Errorf("%q: %v", test.lineage, err)
		case got != Event{Client: "certbot", Path: test.path}:
			t.Errorf("%q: %v", test.lineage, got)
		}
	}
}

func TestNotCalled(t *testing.T) {
	nothing := func(string) string { return "" }
	if _, err := Detect(nothing, nil); !isNotCalled(err) {
		t.Errorf("an empty environment: %v", err)
	}
	for _, c := range All() {
		if _, err := c.Event(nothing, nil); !isNotCalled(err) {
			t.Errorf("%s in an empty environment: %v", c.Name(), err)
		}
	}
}

func TestCalledAs(t *testing.T) {
	for name, want := range map[string]string{
		"/etc/letsencrypt/renewal-hooks/deploy/50-certlatch-hook-certbot": "certbot",
		"certlatch-hook-certbot":   "certbot",
		"certlatch":                "",
		"certlatch-hook-nosuch":    "",
		"x-certlatch-hook-certbot": "",
		"certlatch-hook-certbot~":  "",
	} {
		got := ""
		if c, ok := CalledAs(name); ok {
			got = c.Name()
		}
		if got != want {
			t.Errorf("%s: %q instead of %q", name, got, want)
		}
	}
	for _, c := range All() {
		if link := c.Setup().Link; link != "" {
			if as, ok := CalledAs(link); !ok || as.Name() != c.Name() {
				t.Errorf("%s's link %s does not call %s", c.Name(), link, c.Name())
			}
		}
	}
}
