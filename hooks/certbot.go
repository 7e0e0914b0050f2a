package hooks

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/certlatch/certlatch/internal/lineage"
)

// certbot calls deploy hooks once for each lineage that was renewed, without
// arguments, and names the lineage's live directory in RENEWED_LINEAGE
// (certbot 5.6.0 certbot/_internal/hooks.py; https://eff-certbot.readthedocs.io
// /en/stable/using.html#renewing-certificates). RENEWED_DOMAINS is not looked
// at: it may be cut short, and the leaf has the names.
type certbot struct{}

func (certbot) Name() string { return "certbot" }

func (certbot) Evidence(call Call) string { return call.variable("RENEWED_LINEAGE") }

func (c certbot) Events(call Call) ([]Event, error) {
	if err := call.noArguments(c.Name()); err != nil {
		return nil, err
	}
	if c.Evidence(call) == "" {
		return nil, &NotCalledError{c.Name(), "RENEWED_LINEAGE is not set"}
	}
	dir, err := cleanPath(c.Name(), "RENEWED_LINEAGE", call.Env("RENEWED_LINEAGE"))
	if err != nil {
		return nil, err
	}
	return []Event{{Client: c.Name(), Path: dir}}, nil
}

// certbotHook finds the hook of renewal/NAME.conf, which keeps a --deploy-hook
// under its older name (certbot 5.6.0 certbot/_internal/cli/cli_constants.py,
// storage.py).
var certbotHook = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^(?:renew|deploy)_hook\s*=\s*(\S.*)$`) })

func certbotCalls(conf string) bool {
	own := certbotHook().FindStringSubmatch(conf)
	return own != nil && strings.Contains(own[1], "certlatch")
}

// Layout is that of certbot's live directories, whose files are links into
// archive (certbot 5.6.0 certbot/_internal/storage.py).
func (certbot) Layout() lineage.Layout {
	return lineage.Layout{Fullchain: "{dir}/fullchain.pem", Key: "{dir}/privkey.pem", Beside: [2]string{"archive"}}
}

func (certbot) Places() []string { return []string{"/etc/letsencrypt/live"} }

func (certbot) Setup(self string) Setup {
	return Setup{
		Dirs:  []string{"/etc/letsencrypt/renewal-hooks/deploy"},
		Parts: []Part{{Name: "50-certlatch-hook-certbot", Link: self}},
		Own: OwnHooks{
			Files:  "../../renewal/*.conf",
			Line:   certbotHook(),
			Effect: "certbot runs it as well, after certlatch",
		},
		Memory: Memory{
			File:  func(dir string) string { return "../../renewal/" + dir + ".conf" },
			Calls: certbotCalls, Alone: certbotCalls,
		},
		Advice: fmt.Sprintf(`certbot runs every executable in renewal-hooks/deploy after a renewal; before
certbot 5.3 not after the first issue. So the first certificate goes in by

    certlatch deploy NAME

once certbot has it, or by giving certbot the hook when it is issued:

    certbot certonly ... --deploy-hook %s
`, shellQuote(shellQuote(self)+" hook certbot")),
	}
}
