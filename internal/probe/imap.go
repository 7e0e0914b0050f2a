package probe

import (
	"slices"
	"strings"
)

// imap waits for the greeting, asks for the server's capabilities and
// negotiates STARTTLS (RFC 9051 sections 6.1.1 and 6.2.1).
func (d *dialogue) imap() error {
	if err := d.send("", "an IMAP greeting"); err != nil {
		return err
	}
	greeting, err := d.line()
	if err != nil {
		return err
	}
	switch words := imapWords(greeting); {
	case startsWith(words, "*", "OK"):
	case startsWith(words, "*", "PREAUTH"):
		return refusal(NoSTARTTLS, "the IMAP server takes the connection as logged in already (PREAUTH), after which there is no STARTTLS")
	case startsWith(words, "*", "BYE"):
		return refusal(TurnedAway, "the IMAP server turned the connection away: %.120q", greeting)
	default:
		return refusal(OtherProtocol, "what listens there does not speak IMAP: it said %.80q", greeting)
	}
	answer, err := d.imapCommand("A1", "CAPABILITY")
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(answer, func(words []string) bool {
		return startsWith(words, "*", "CAPABILITY") && slices.Contains(words, "STARTTLS")
	}) {
		return refusal(NoSTARTTLS, "the IMAP server offers no STARTTLS")
	}
	_, err = d.imapCommand("A2", "STARTTLS")
	return err
}

// imapCommand sends a command with a tag, which is in upper case, and returns
// the words of the lines before the tagged one, which must be an OK.
func (d *dialogue) imapCommand(tag, command string) ([][]string, error) {
	if err := d.send(tag+" "+command+"\r\n", "the answer to "+command); err != nil {
		return nil, err
	}
	var untagged [][]string
	for {
		line, err := d.line()
		if err != nil {
			return nil, err
		}
		words := imapWords(line)
		switch {
		case startsWith(words, tag, "OK"):
			return untagged, nil
		case startsWith(words, tag), startsWith(words, "*", "BYE"):
			return nil, refusal(TurnedAway, "the IMAP server answered %s with %.120q", command, line)
		case !startsWith(words, "*"):
			return nil, refusal(OtherProtocol, "what listens there does not speak IMAP: it said %.80q", line)
		}
		untagged = append(untagged, words)
	}
}

// imapWords returns the words of a line in upper case, since case does not
// matter in them (RFC 9051 section 9).
func imapWords(line string) []string { return strings.Fields(strings.ToUpper(line)) }

func startsWith(words []string, with ...string) bool {
	return len(words) >= len(with) && slices.Equal(words[:len(with)], with)
}
