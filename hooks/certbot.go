package hooks

// certbot calls deploy hooks once for each lineage that was renewed, without
// arguments, and names the lineage's live directory in RENEWED_LINEAGE
// (certbot 5.6.0 certbot/_internal/hooks.py; https://eff-certbot.readthedocs.io
// /en/stable/using.html#renewing-certificates). RENEWED_DOMAINS is not looked
// at: it may be cut short, and the leaf has the names.
type certbot struct{}

func (certbot) Name() string { return "certbot" }

func (c certbot) Event(env Env, _ []string) (Event, error) {
	live := env("RENEWED_LINEAGE")
	if live == "" {
		return Event{}, &NotCalledError{Client: c.Name(), Missing: "RENEWED_LINEAGE is not set"}
	}
	dir, err := cleanPath(c.Name(), "RENEWED_LINEAGE", live)
	return Event{Client: c.Name(), Path: dir}, err
}

func (certbot) Setup() Setup {
	return Setup{
		Dir:  "/etc/letsencrypt/renewal-hooks/deploy",
		Link: "50-certlatch-hook-certbot",
		Advice: `certbot runs every executable in renewal-hooks/deploy after a renewal; before
certbot 5.3 not after the first issue. So the first certificate goes in by

    certlatch deploy NAME

once certbot has it, or by giving certbot the hook when it is issued:

    certbot certonly ... --deploy-hook "%s hook certbot"
`,
	}
}
