package report

import (
	"log/slog"
	"strings"

	"github.com/certlatch/certlatch/internal/outcome"
)

// EventKey is the attribute of a log entry that says its kind: a key of
// MessageIDs.
const EventKey = "event"

// MessageIDs returns the MESSAGE_ID of journal entries, by their kind
// (systemd.journal-fields(7)). They were made once by systemd-id128 new, and
// never change, since people filter by them.
func MessageIDs() map[string]string {
	return map[string]string{
		"certificate-deployed":        "25bded10b85a4c0590aec70b3f84f8ad",
		"certificate-refused":         "f3a8aa1fcafd49f6ac241d7bc27604ce",
		"certificate-rolled-back":     "536cca81a68643cd9ebc0dd95a5b0ff2",
		"certificate-rollback-failed": "f1e81431c2104fd0b00ca8f04a467bbd",
		"certificate-waiting-restart": "e041d9a24f684e20b72ed222753ddf9f",
		"certificate-deferred":        "0d47d9fa07284145b7771468ad9ffb36",
		"certificate-held":            "654530a0609944ed9422fa85ec1a3e68",
		"certificate-failed":          "00d85a3f7bac427c8f615c72567cf672",

		"watch-started":       "3c751371b6e24fafbecf3f228495cd5a",
		"watch-stopped":       "60e99d0aae3341f7811e06dd1659cd7a",
		"configuration-read":  "9262897ea6fe4229ac0218e8fc51f4f6",
		"configuration-wrong": "16843c16f95d44b2af9e9e2e04d85f28",
		"lineage-missing":     "4d1993f360ea4e59ab3f9ba173789f30",
		"events-overflowed":   "040bbf55f3ab4891a2d035086c26071d",
		"events-lost":         "89c6ee46c3e64d61ab6d368153aa0dbf",
		"events-back":         "6c006fc7efa841adacd1d780f8b0b294",
		"clock-set-back":      "b33849f77a5d4169a43e34e5828cbf3a",
		"run-failed":          "1e0693f2d23b4f228ed2006e6d357f6e",
		"hook-failed":         "052d7579911f489f9cc2f5f8e1539667",
	}
}

// Entry returns the log entry about what became of one lineage at one target.
func Entry(o outcome.Outcome) (level slog.Level, message string, attrs []slog.Attr) {
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	add(EventKey, "certificate-"+string(o.Result))
	add("target", o.Target)
	add("lineage", o.Lineage)
	add("result", string(o.Result))
	add("reason", string(o.Reason))
	if o.New != nil {
		add("fingerprint", o.New.Fingerprint)
	}
	add("detail", o.Detail)
	add("remedy", o.Remedy)
	return levelOf(o), "certificate " + string(o.Result), attrs
}

// HookFailure is a hook that failed before anything became of its lineages.
type HookFailure struct {
	Lineages []string // CLIENT:NAME, as far as the call says
	Err      error
	Remedy   string
	Marked   bool // the lineages are marked, so they are deployed as soon as that can be
}

// Entry returns the log entry about it.
func (f HookFailure) Entry() (message string, attrs []slog.Attr) {
	attrs = []slog.Attr{slog.String(EventKey, "hook-failed")}
	for _, field := range []struct{ key, value string }{
		{"lineage", strings.Join(f.Lineages, " ")}, {"detail", f.Err.Error()}, {"remedy", f.Remedy},
	} {
		if field.value != "" {
			attrs = append(attrs, slog.String(field.key, field.value))
		}
	}
	if f.Marked {
		return "hook failed, and its lineages are marked for certlatch deploy --pending", attrs
	}
	return "hook failed", attrs
}

// levelOf returns how grave an outcome is in a log.
func levelOf(o outcome.Outcome) slog.Level {
	switch code := exitOfOutcome(o); {
	case o.Result == outcome.Unchanged:
		return slog.LevelDebug
	case code == ExitWaiting, o.Result == outcome.Held:
		return slog.LevelWarn
	case code == ExitOK:
		return slog.LevelInfo
	}
	return slog.LevelError
}
