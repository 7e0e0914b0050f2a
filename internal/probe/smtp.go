package probe

import (
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// smtp waits for the greeting, sends EHLO and negotiates STARTTLS (RFC 3207
// section 4). It names itself by its address, as RFC 5321 section 4.1.4 wants
// of clients without a name.
func (d *dialogue) smtp() error {
	if _, err := d.smtpCommand("", "220"); err != nil {
		return err
	}
	extensions, err := d.smtpCommand("EHLO "+addressLiteral(d.conn.LocalAddr()), "250")
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(extensions, func(line string) bool { return strings.EqualFold(line, "STARTTLS") }) {
		return refusal(NoSTARTTLS, "the SMTP server offers no STARTTLS")
	}
	_, err = d.smtpCommand("STARTTLS", "220")
	return err
}

// smtpLine matches a line of a reply (RFC 5321 section 4.2): the code, whether
// more lines follow, the text.
var smtpLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^([2-5][0-9]{2})(?:([ -])(.*))?$`) })

// smtpCommand sends a command, or nothing to wait for the greeting, and returns
// the texts of the reply, which must have the wanted code.
func (d *dialogue) smtpCommand(command, want string) ([]string, error) {
	verb, awaited := "the connection", "an SMTP greeting"
	if command != "" {
		verb, _, _ = strings.Cut(command, " ")
		command, awaited = command+"\r\n", "the answer to "+verb
	}
	if err := d.send(command, awaited); err != nil {
		return nil, err
	}
	var texts []string
	for {
		line, err := d.line()
		if err != nil {
			return nil, err
		}
		part := smtpLine().FindStringSubmatch(line)
		switch {
		case part == nil:
			return nil, refusal(OtherProtocol, "what listens there does not speak SMTP: it said %.80q", line)
		case part[1] != want:
			return nil, refusal(TurnedAway, "the SMTP server answered %s with %.120q", verb, line)
		}
		texts = append(texts, part[3])
		if part[2] != "-" {
			return texts, nil
		}
	}
}

// addressLiteral returns an address as a literal of RFC 5321 section 4.1.3.
func addressLiteral(addr net.Addr) string {
	host, _, _ := net.SplitHostPort(addr.String())
	host, _, _ = strings.Cut(host, "%")
	if strings.Contains(host, ":") {
		host = "IPv6:" + host
	}
	return "[" + host + "]"
}
