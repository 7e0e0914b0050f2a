package endpoint

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Endpoint{
		"tls://127.0.0.1:8443":                   {Scheme: "tls", Host: "127.0.0.1", Port: 8443},
		"tls://[::1]:8443?name=a.example":        {Scheme: "tls", Host: "::1", Port: 8443, Name: "a.example"},
		"https://www.example":                    {Scheme: "https", Host: "www.example", Port: 443},
		"https://www.example/":                   {Scheme: "https", Host: "www.example", Port: 443},
		"https://h:1?key=rsa&name=A.Example.":    {Scheme: "https", Host: "h", Port: 1, Name: "a.example", Key: "rsa"},
		"https://127.0.0.1?key=ecdsa&name=x.org": {Scheme: "https", Host: "127.0.0.1", Port: 443, Name: "x.org", Key: "ecdsa"},
		"sips://[2001:db8::1]?name=sip.example":  {Scheme: "sips", Host: "2001:db8::1", Port: 5061, Name: "sip.example"},
		"xmpp-client://h?name=xmpp.example":      {Scheme: "xmpp-client", Host: "h", Port: 5222, Name: "xmpp.example"},
		"xmpp-server://h":                        {Scheme: "xmpp-server", Host: "h", Port: 5269},
		"xmpps-client://h:5223":                  {Scheme: "xmpps-client", Host: "h", Port: 5223},
		"xmpps-server://h:5270":                  {Scheme: "xmpps-server", Host: "h", Port: 5270},
		"xmpp-client://h?name=MÜNCHEN.Example":   {Scheme: "xmpp-client", Host: "h", Port: 5222, Name: "xn--mnchen-3ya.example"},
		"https://münchen.example":                {Scheme: "https", Host: "xn--mnchen-3ya.example", Port: 443},
		"smtp://h":                               {Scheme: "smtp", Host: "h", Port: 25},
		"imap://h":                               {Scheme: "imap", Host: "h", Port: 143},
		"pop3://h":                               {Scheme: "pop3", Host: "h", Port: 110},
		"https://h?name=x.org&proxy=v1":          {Scheme: "https", Host: "h", Port: 443, Name: "x.org", Proxy: "v1"},
	} {
		got, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("%s is printed as %s, which reads as %v, %v", text, got, again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"":                        `scheme "" is not known`,
		"127.0.0.1:443":           "is not a URL",
		"https://x?proxy=v3":      "proxy is v1, not \"v3\"",
		"ftp://x":                 `scheme "ftp" is not known`,
		"tls://127.0.0.1":         "needs a port",
		"xmpps-client://h":        "needs a port",
		"xmpps-server://h":        "needs a port",
		"sip://h:5061":            `scheme "sip" is not known`,
		"tls://:443":              "names no host",
		"tls://h:0":               "not a port",
		"tls://h:70000":           "not a port",
		"tls://user@h:1":          "only a host",
		"https://h/path":          "only a host",
		"https://h#x":             "only a host",
		"https://h?name=":         "name is empty",
		"https://h?name=a&name=b": "more than once",
		"https://h?name=..":       "neither a DNS name nor an IP address",
		"https://h?name=a b":      "neither a DNS name nor an IP address",
		"https://" + strings.Repeat("a", 64) + ".example": "neither a DNS name nor an IP address",
		"https://a b":                "is not a URL",
		"https://a$b":                "neither a DNS name nor an IP address",
		"https://h?key=dsa":          "rsa or ecdsa",
		"https://h?sni=a":            `"sni" is not known`,
		"https://h?name=%zz":         "not well formed",
		"https:h":                    "only a host",
		"tls://h:1\n?name=a.example": "is not a URL",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, which does not say %q", text, err, says)
		}
	}
}

func TestAt(t *testing.T) {
	for addr, want := range map[string]string{
		"0.0.0.0:443":          "https://127.0.0.1:443?name=a.example",
		"[::]:443":             "https://[::1]:443?name=a.example",
		"[::ffff:1.2.3.4]:443": "https://1.2.3.4:443?name=a.example",
		"192.0.2.7:8443":       "https://192.0.2.7:8443?name=a.example",
	} {
		if got := At("https", netip.MustParseAddrPort(addr), "a.example").String(); got != want {
			t.Errorf("%s: %s instead of %s", addr, got, want)
		}
	}
}
