package system

import (
	"time"

	"github.com/certlatch/certlatch/internal/system/bench"
)

// kamailioGap is how long certlatch leaves Kamailio alone between two reloads, and
// a little more. Renewals are not that close, so waiting for it is not measured.
const kamailioGap = 11 * time.Second

// renewal measures one renewal of three services, which certbot's hook brings
// to all of them, against a shell hook that does.
func (b *bencher) renewal() []bench.Row {
	lineage := map[string][]string{"example": {"web.example", "sip.example", "xmpp.example"}}
	ca := newAuthority(b)
	renewed := func(h *host, command ...string) sample {
		b.renew(h, ca, lineage)
		return b.time(h, []int{0}, append([]string{"RENEWED_LINEAGE=/etc/letsencrypt/live/example"}, command...)...)
	}
	// What one of them has installed would be news to the other.
	scripted := b.threeServices(ca, lineage)
	var latched []*host
	for range 3 {
		latched = append(latched, b.threeServices(ca, lineage))
	}
	activated := map[*host]time.Time{}
	s := inTurns(15,
		func() sample {
			h := latched[0]
			latched = append(latched[1:], h)
			time.Sleep(time.Until(activated[h].Add(kamailioGap)))
			defer func() { activated[h] = time.Now() }()
			return renewed(h, "certlatch", "hook", "certbot")
		},
		func() sample { return renewed(scripted, "hook.sh") },
		func() sample { return renewed(scripted, "hook.sh", "together") })

	const hook, together = "shell hook", "shell hook, services side by side"
	return []bench.Row{
		bench.NewRow("renewal of three services", "ms", wall(s[0])).Against(hook, wall(s[1])).AtMost(0.6),
		bench.NewRow("renewal of three services, CPU", "ms", cpu(s[0])).Against(hook, cpu(s[1])).AtMost(0.6),
		bench.NewRow("renewal of three services", "ms", wall(s[0])).Against(together, wall(s[2])),
		bench.NewRow("renewal of three services, CPU", "ms", cpu(s[0])).Against(together, cpu(s[2])),
	}
}

// threeServices boots a host with nginx, Kamailio and Prosody, which serve a
// lineage that certlatch has deployed.
func (b *bencher) threeServices(ca authority, lineage map[string][]string) *host {
	h := b.boot()
	b.trust(h, ca)
	b.renew(h, ca, lineage)
	b.put(h, map[string]string{
		"three.yaml":         "/etc/certlatch/config.yaml",
		"web.conf":           "/etc/nginx/conf.d/web.conf",
		"kamailio-local.cfg": "/etc/kamailio/kamailio-local.cfg",
		"prosody.cfg.lua":    "/etc/prosody/prosody.cfg.lua",
		"hook.sh":            "/usr/local/bin/hook.sh",
	})
	b.do(h,
		"sed -i 's,kamailio-selfsigned.pem,tls/fullchain.pem,; s,kamailio-selfsigned.key,tls/privkey.pem,' /etc/kamailio/tls.cfg",
		"systemctl stop nginx",
		"install -d /etc/nginx/tls /etc/kamailio/tls",
		"certlatch deploy || test $? = 9", // the services are not up yet
		"systemctl start nginx kamailio prosody",
	)
	if err := until(b.Context(), func() error {
		_, err := h.run("certlatch", "deploy", "--pending", "--all")
		return err
	}); err != nil {
		b.Fatal(err)
	}
	return h
}
