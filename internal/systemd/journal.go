package systemd

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// JournalHandler is a [slog.Handler] that sends records to the journal, their
// attributes as fields (systemd.journal-fields(7): upper case, no leading
// underscore).
type JournalHandler struct {
	Least   slog.Level
	Replace func(groups []string, a slog.Attr) slog.Attr // as in slog.HandlerOptions

	KindKey    string            // the attribute that is an entry's kind, and no part of its message
	MessageIDs map[string]string // MESSAGE_ID by kind

	fields map[string]string
}

// StderrIsJournal reports whether standard error goes to the journal.
func StderrIsJournal() bool {
	is, err := journal.StderrIsJournalStream()
	return err == nil && is
}

// HasJournal reports whether there is a journal.
func HasJournal() bool { return journal.Enabled() }

func (h JournalHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.Least }

func (h JournalHandler) Handle(_ context.Context, r slog.Record) error {
	message, fields := h.entry(r)
	return journal.Send(message, priority(r.Level), fields)
}

// entry returns the message and fields for a record.
func (h JournalHandler) entry(r slog.Record) (message string, fields map[string]string) {
	fields = map[string]string{"SYSLOG_IDENTIFIER": "certlatch"}
	maps.Copy(fields, h.fields)
	message = r.Message
	r.Attrs(func(a slog.Attr) bool {
		a = h.Replace(nil, a)
		fields[fieldName(a.Key)] = a.Value.String()
		if a.Key == h.KindKey {
			fields["MESSAGE_ID"] = h.MessageIDs[a.Value.String()]
			return true
		}
		message += fmt.Sprintf(" %s=%s", a.Key, a.Value)
		return true
	})
	for key, value := range fields {
		fields[key] = inUTF8(value)
	}
	return inUTF8(message), fields
}

// inUTF8 returns a text in which what is not UTF-8 is replaced: of any other,
// journalctl shows the length in place of the text (journalctl(1), --all).
func inUTF8(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

func (h JournalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	fields := maps.Clone(h.fields)
	if fields == nil {
		fields = map[string]string{}
	}
	for _, a := range attrs {
		fields[fieldName(a.Key)] = h.Replace(nil, a).Value.String()
	}
	h.fields = fields
	return h
}

func (h JournalHandler) WithGroup(string) slog.Handler { return h }

func fieldName(key string) string {
	return "CERTLATCH_" + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

func priority(level slog.Level) journal.Priority {
	switch {
	case level >= slog.LevelError:
		return journal.PriErr
	case level >= slog.LevelWarn:
		return journal.PriWarning
	case level >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
