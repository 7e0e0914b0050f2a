package main

import (
	"errors"
	"testing"
	"time"

	"github.com/certlatch/certlatch/internal/condition"
)

func TestExpiryOfTheCommandLine(t *testing.T) {
	for _, test := range []struct {
		warning, critical string
		want              condition.Expiry
	}{
		{"", "", condition.Expiry{}},
		{"14", "7", condition.Expiry{Warning: condition.Margin{Left: 14 * day}, Critical: condition.Margin{Left: 7 * day}}},
		{"14:", "0.5:", condition.Expiry{Warning: condition.Margin{Left: 14 * day}, Critical: condition.Margin{Left: 12 * time.Hour}}},
		{"30%", "", condition.Expiry{Warning: condition.Margin{Share: 0.3}}},
		{"30%", "7", condition.Expiry{Warning: condition.Margin{Share: 0.3}, Critical: condition.Margin{Left: 7 * day}}},
	} {
		if got, err := parseExpiry(test.warning, test.critical); err != nil || got != test.want {
			t.Errorf("%s and %s: %+v, %v", test.warning, test.critical, got, err)
		}
	}
	for _, wrong := range [][2]string{
		{"7", "14"}, {"10%", "20%"}, {"0", ""}, {"-1", ""}, {"100%", ""}, {"NaN", ""}, {"", "inf"}, {"@14", ""}, {"10:20", ""}, {"~:5", ""}, {"1e9", ""}, {"two", ""},
	} {
		if got, err := parseExpiry(wrong[0], wrong[1]); !errors.As(err, new(*usageError)) {
			t.Errorf("%q is taken for %+v (%v)", wrong, got, err)
		}
	}
}

func TestWantsColours(t *testing.T) {
	for _, test := range []struct {
		term, none string
		want       bool
	}{{"xterm", "", true}, {"xterm", "1", false}, {"dumb", "", false}} {
		t.Setenv("TERM", test.term)
		t.Setenv("NO_COLOR", test.none)
		if got := wantsColours(); got != test.want {
			t.Errorf("TERM=%s NO_COLOR=%s: %v", test.term, test.none, got)
		}
	}
}
