package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/certlatch/certlatch/internal/engine"
	"github.com/certlatch/certlatch/internal/report"
)

// newLog makes the logger of a run. auto is the journal where standard error
// goes there, and text elsewhere.
func newLog(w io.Writer, format, level string) (*slog.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, &usageError{fmt.Sprintf("log level %q is not known", level), "use debug, info, warn or error"}
	}
	options := &slog.HandlerOptions{Level: least, ReplaceAttr: withoutKeys}
	switch format {
	case "journal":
		return slog.New(journalHandler{least: least}), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "auto":
		if is, err := journal.StderrIsJournalStream(); err == nil && is && w == os.Stderr {
			return slog.New(journalHandler{least: least}), nil
		}
		return slog.New(slog.NewTextHandler(w, options)), nil
	}
	return nil, &usageError{fmt.Sprintf("log format %q is not known", format), "use auto, text, json or journal"}
}

// withoutKeys is the last guard: whatever looks like a private key in PEM is
// not logged, wherever it came from.
func withoutKeys(_ []string, a slog.Attr) slog.Attr {
	if strings.Contains(a.Value.String(), "PRIVATE KEY") {
		a.Value = slog.StringValue("[REDACTED]")
	}
	return a
}

// journalHandler sends records to the journal, attributes as fields
// (systemd.journal-fields(7): upper case, no leading underscore).
type journalHandler struct {
	least  slog.Level
	fields map[string]string
}

func (h journalHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.least }

func (h journalHandler) Handle(_ context.Context, r slog.Record) error {
	fields := map[string]string{"SYSLOG_IDENTIFIER": "certlatch"}
	for name, value := range h.fields {
		fields[name] = value
	}
	message := r.Message
	r.Attrs(func(a slog.Attr) bool {
		a = withoutKeys(nil, a)
		fields[fieldName(a.Key)] = a.Value.String()
		if a.Key == report.EventKey {
			fields["MESSAGE_ID"] = report.MessageIDs()[a.Value.String()]
			return true
		}
		message += fmt.Sprintf(" %s=%s", a.Key, a.Value)
		return true
	})
	return journal.Send(message, priority(r.Level), fields)
}

func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	fields := map[string]string{}
	for name, value := range h.fields {
		fields[name] = value
	}
	for _, a := range attrs {
		fields[fieldName(a.Key)] = withoutKeys(nil, a).Value.String()
	}
	return journalHandler{h.least, fields}
}

func (h journalHandler) WithGroup(string) slog.Handler { return h }

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

// journalFailures tells the journal what became of a hook's targets where they
// are not all well: the client that called it may show nothing.
func journalFailures(became engine.Report) {
	log := slog.New(journalHandler{least: slog.LevelWarn})
	for _, o := range became.Outcomes {
		if level, _, _ := report.Entry(o); level < slog.LevelWarn {
			continue
		}
		if !journal.Enabled() { // not asked before, since that opens a socket
			return
		}
		logOutcome(log, o)
	}
}

// logOutcome tells what became of one lineage at one target.
func logOutcome(log *slog.Logger, o engine.Outcome) {
	level, message, attrs := report.Entry(o)
	log.LogAttrs(context.Background(), level, message, attrs...)
}
