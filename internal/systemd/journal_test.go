package systemd

import (
	"log/slog"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
)

// TestJournalEntry wants an entry to have its attributes as fields and in its
// message, but for its kind, which becomes its MESSAGE_ID.
func TestJournalEntry(t *testing.T) {
	hide := func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.String() == "secret" {
			a.Value = slog.StringValue("hidden")
		}
		return a
	}
	h := JournalHandler{Least: slog.LevelWarn, Replace: hide, KindKey: "event", MessageIDs: map[string]string{"renewed": "0123"}}
	if h.Enabled(t.Context(), slog.LevelInfo) || !h.Enabled(t.Context(), slog.LevelWarn) {
		t.Error("it does not keep to the least level")
	}
	with := h.WithAttrs([]slog.Attr{slog.String("run-id", "7"), slog.String("pass", "secret")}).WithGroup("group").(JournalHandler)
	record := slog.NewRecord(time.Time{}, slog.LevelError, "a message", 0)
	record.Add("event", "renewed", "target", "web", "key", "secret", "detail", "caf\xe9")
	message, fields := with.entry(record)
	if message != "a message target=web key=hidden detail=caf\uFFFD" {
		t.Error(message)
	}
	want := map[string]string{
		"SYSLOG_IDENTIFIER": "certlatch", "MESSAGE_ID": "0123", "CERTLATCH_EVENT": "renewed", "CERTLATCH_TARGET": "web",
		"CERTLATCH_KEY": "hidden", "CERTLATCH_DETAIL": "caf\uFFFD", "CERTLATCH_RUN_ID": "7", "CERTLATCH_PASS": "hidden",
	}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Error(diff)
	}
	if _, fields := h.entry(record); fields["CERTLATCH_RUN_ID"] != "" {
		t.Error("what one logger has, another got")
	}
	for level, want := range map[slog.Level]journal.Priority{
		slog.LevelError: journal.PriErr, slog.LevelWarn: journal.PriWarning, slog.LevelInfo: journal.PriInfo, slog.LevelDebug: journal.PriDebug,
	} {
		if got := priority(level); got != want {
			t.Errorf("%s: %d instead of %d", level, got, want)
		}
	}
}
