package probe

import "strings"

// pop3 waits for the greeting and negotiates TLS (RFC 2595 section 4).
func (d *dialogue) pop3() error {
	if err := d.pop3Command("", "a POP3 greeting"); err != nil {
		return err
	}
	return d.pop3Command("STLS\r\n", "the answer to STLS")
}

// pop3Command sends a command, or nothing to wait for the greeting, and wants a
// positive answer (RFC 1939 section 3).
func (d *dialogue) pop3Command(command, awaited string) error {
	if err := d.send(command, awaited); err != nil {
		return err
	}
	line, err := d.line()
	switch {
	case err != nil:
		return err
	case strings.HasPrefix(line, "+OK"):
		return nil
	case !strings.HasPrefix(line, "-ERR"):
		return refusal(OtherProtocol, "what listens there does not speak POP3: it said %.80q", line)
	case command == "":
		return refusal(TurnedAway, "the POP3 server answered the connection with %.120q", line)
	}
	return refusal(NoSTARTTLS, "the POP3 server does not start TLS: it said %.120q", line)
}
