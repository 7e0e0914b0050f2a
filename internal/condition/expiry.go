package condition

import (
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
)

// Margin is how much must be left of a lifetime: a share of it, or a time. The
// zero Margin is the usual one.
type Margin struct {
	Share float64 // of the lifetime, above 0 and below 1
	Left  time.Duration
}

// Expiry says when a certificate is about to expire. The zero Expiry leaves
// each lifetime the usual share: 25 % before a warning and 12.5 % before it is
// critical. Clients renew with a third left, or half of lifetimes below 10 days
// (certbot 4.0), for which the shares are 40 % and 20 %. The usual margins are
// never below 12 hours.
type Expiry struct{ Warning, Critical Margin }

const (
	shortLifetime = 10 * 24 * time.Hour
	leastMargin   = 12 * time.Hour
)

// Margins returns what must be left of a leaf's lifetime.
func (e Expiry) Margins(leaf lineage.Leaf) (warning, critical time.Duration) {
	lifetime := leaf.NotAfter.Sub(leaf.NotBefore)
	if lifetime < shortLifetime {
		return e.Warning.of(lifetime, 0.40), e.Critical.of(lifetime, 0.20)
	}
	return e.Warning.of(lifetime, 0.25), e.Critical.of(lifetime, 0.125)
}

func (m Margin) of(lifetime time.Duration, usual float64) time.Duration {
	switch {
	case m.Left > 0:
		return m.Left
	case m.Share > 0:
		return time.Duration(m.Share * float64(lifetime))
	}
	return max(time.Duration(usual*float64(lifetime)), leastMargin)
}
