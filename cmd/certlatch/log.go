package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/report"
	"github.com/certlatch/certlatch/internal/systemd"
)

// newLog returns the logger of a run. The format auto means the journal where
// standard error is connected to it, and text elsewhere.
func newLog(w io.Writer, format, level string) (*slog.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, &usageError{fmt.Sprintf("log level %q is not known", level), "use debug, info, warn or error"}
	}
	options := &slog.HandlerOptions{Level: least, ReplaceAttr: withoutKeys}
	switch format {
	case "journal":
		return slog.New(journalHandler(least)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "auto":
		if w == os.Stderr && systemd.StderrIsJournal() {
			return slog.New(journalHandler(least)), nil
		}
		return slog.New(slog.NewTextHandler(w, options)), nil
	}
	return nil, &usageError{fmt.Sprintf("log format %q is not known", format), "use auto, text, json or journal"}
}

// withoutKeys replaces the values of attributes that look like a private key in
// PEM. It is the last guard: no such value should get here.
func withoutKeys(_ []string, a slog.Attr) slog.Attr {
	if strings.Contains(a.Value.String(), "PRIVATE KEY") {
		a.Value = slog.StringValue("[REDACTED]")
	}
	return a
}

// journalHandler returns a handler that sends records to the journal.
func journalHandler(least slog.Level) slog.Handler {
	return systemd.JournalHandler{Least: least, Replace: withoutKeys, KindKey: report.EventKey, MessageIDs: report.MessageIDs()}
}

// journalOutcomes logs to the journal what a hook did or could not do: the client that
// called it may show nothing. A hook that found nothing to do leaves nothing there.
func journalOutcomes(became outcome.Report) {
	log := slog.New(journalHandler(slog.LevelInfo))
	for _, o := range became.Outcomes {
		if level, _, _ := report.Entry(o); level < slog.LevelInfo {
			continue
		}
		if !systemd.HasJournal() { // looked for only now, since that opens a socket
			return
		}
		logOutcome(log, o)
	}
}

// journalHookFailure logs to the journal that a hook failed before anything became of
// its lineages.
func journalHookFailure(failed report.HookFailure) {
	if !systemd.HasJournal() {
		return
	}
	message, attrs := failed.Entry()
	slog.New(journalHandler(slog.LevelWarn)).LogAttrs(context.Background(), slog.LevelError, message, attrs...)
}

// logOutcome logs what became of one lineage at one target.
func logOutcome(log *slog.Logger, o outcome.Outcome) {
	level, message, attrs := report.Entry(o)
	log.LogAttrs(context.Background(), level, message, attrs...)
}
