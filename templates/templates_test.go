package templates

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// The versions are those that Debian 12, 13 and sid package; OpenSIPS's are
// those of its own repository.
func TestWrite(t *testing.T) {
	paths := Settings{Name: "sip.example", Fullchain: "/srv/tls/current/fullchain.pem", Chain: "/srv/tls/current/chain.pem", Key: "/srv/tls/current/privkey.pem"}
	for _, test := range []struct {
		golden, service, version, openssl string
		staple                            bool
	}{
		{"nginx-debian12", "nginx", "1.22.1", "3.0.22", false},
		{"nginx-debian13", "nginx", "1.26.3", "3.5.6", false},
		{"nginx-sid", "nginx", "1.30.6", "3.6.5", false},
		{"nginx-stapling", "nginx", "1.26.3", "3.5.6", true},
		{"nginx-unknown", "nginx", "", "", false},
		{"kamailio-debian12", "kamailio", "5.6.3", "", false},
		{"kamailio-5.8", "kamailio", "5.8.8", "", false},
		{"kamailio-debian13", "kamailio", "6.0.1", "", false},
		{"kamailio-sid", "kamailio", "6.1.5", "", false},
		{"opensips-3.6", "opensips", "3.6.8", "", false},
		{"opensips-4.0", "opensips", "4.0.1", "", false},
		{"prosody-0.11", "prosody", "0.11.13", "", false},
		{"prosody-debian12", "prosody", "0.12.3", "", false},
		{"prosody-debian13", "prosody", "13.0.1", "", false},
		{"prosody-sid", "prosody", "13.0.7", "", false},
	} {
		t.Run(test.golden, func(t *testing.T) {
			settings := paths
			settings.Version, settings.OpenSSL, settings.Staple = ParseVersion(test.version), ParseVersion(test.openssl), test.staple
			var got strings.Builder
			if err := Write(&got, service(t, test.service), settings); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", test.golden)
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func service(t *testing.T, name string) Service {
	t.Helper()
	for _, s := range Services() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no service %s", name)
	return Service{}
}

// TestInstalled reads what the programs print: those of Debian 13, unless said
// otherwise.
func TestInstalled(t *testing.T) {
	for _, test := range []struct{ service, printed, version, openssl string }{
		{"nginx", "nginx version: nginx/1.26.3\nbuilt with OpenSSL 3.5.6 7 Apr 2026 (running with OpenSSL 3.5.7 9 Jun 2026)\nTLS SNI support enabled\n", "1.26.3", "3.5.7"},
		{"nginx", "nginx version: nginx/1.22.1\nbuilt with OpenSSL 3.0.22 25 Aug 2026\n", "1.22.1", "3.0.22"},
		{"nginx", "nginx version: openresty/1.27.1.2\nbuilt with LibreSSL 4.1.0\n", "1.27.1", "0.0.0"},
		{"kamailio", "version: kamailio 6.0.1 (x86_64/linux) \nflags: USE_TCP, USE_TLS\n", "6.0.1", "0.0.0"},
		{"kamailio", "version: kamailio 6.2.0-dev0 (x86_64/linux) 4f8ab9\n", "6.2.0", "0.0.0"},
		{"opensips", "version: opensips 3.6.8 (x86_64/linux)\n", "3.6.8", "0.0.0"},
		{"prosody", "\n**************************\nProsody was unable to find lua-unbound\n**************************\n\nProsody 13.0.1\n\n# Prosody directories\n", "13.0.1", "0.0.0"},
		{"prosody", "Prosody trunk nightly build 1945\n", "0.0.0", "0.0.0"},
	} {
		version, openssl := service(t, test.service).Installed(test.printed)
		if version.String() != test.version || openssl.String() != test.openssl {
			t.Errorf("%q: version %s and OpenSSL %s, want %s and %s", test.printed, version, openssl, test.version, test.openssl)
		}
	}
}

func TestAtLeast(t *testing.T) {
	for _, test := range []struct {
		version, least string
		is             bool
	}{
		{"1.25.1", "1.25.1", true}, {"1.25.0", "1.25.1", false}, {"1.26", "1.25.1", true}, {"0.12.3", "0.12", true},
		{"0.11.13", "0.12", false}, {"13.0.1", "0.12", true}, {"3.5", "3.5", true}, {"", "0", true}, {"", "0.1", false},
	} {
		if got := ParseVersion(test.version).AtLeast(test.least); got != test.is {
			t.Errorf("%q is at least %q: %v", test.version, test.least, got)
		}
	}
}
