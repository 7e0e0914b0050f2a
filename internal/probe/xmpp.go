package probe

import (
	"encoding/xml"
	"io"
	"strings"
)

// The namespaces of RFC 6120, sections 4.8.1, 4.9.2 and 5.3.
const (
	streamSpace = "http://etherx.jabber.org/streams"
	errorSpace  = "urn:ietf:params:xml:ns:xmpp-streams"
	tlsSpace    = "urn:ietf:params:xml:ns:xmpp-tls"
)

// xmpp opens a stream to a domain and negotiates STARTTLS up to the end of
// <proceed/> (RFC 6120 sections 4.3 and 5.4). The stream has no from, between
// servers too, like that of openssl s_client: Prosody turns away whoever claims
// to be a domain of its own (plugins/mod_s2s.lua of 13.0).
func (d *dialogue) xmpp(namespace, domain string) error {
	var to strings.Builder
	if err := xml.EscapeText(&to, []byte(domain)); err != nil {
		return err
	}
	if err := d.send("<?xml version='1.0'?><stream:stream to='"+to.String()+"' version='1.0' xml:lang='en' "+
		namespace+" xmlns:stream='"+streamSpace+"'>", "an XMPP stream"); err != nil {
		return err
	}
	in := stream{xml.NewDecoder(d), domain} // reads no further than it must from an io.ByteReader
	if _, err := in.next(streamSpace, "stream"); err != nil {
		return err
	}
	start, err := in.next(streamSpace, "features")
	if err != nil {
		return err
	}
	var features struct {
		StartTLS *struct{} `xml:"urn:ietf:params:xml:ns:xmpp-tls starttls"`
	}
	if err := in.DecodeElement(&features, &start); err != nil {
		return err
	}
	if features.StartTLS == nil {
		return in.withoutTLS()
	}
	if err := d.send("<starttls xmlns='"+tlsSpace+"'/>", "the answer to starttls"); err != nil {
		return err
	}
	if _, err := in.next(tlsSpace, "proceed"); err != nil {
		return err
	}
	return in.Skip()
}

// stream is the server's side of an XMPP stream.
type stream struct {
	*xml.Decoder
	domain string
}

// next reads up to the end of the next start tag, and returns it. It fails
// where that is another element than the wanted one.
func (s stream) next(space, local string) (xml.StartElement, error) {
	for {
		token, err := s.Token()
		if err != nil {
			return xml.StartElement{}, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name != (xml.Name{Space: space, Local: local}) {
				return token, s.unexpected(token)
			}
			return token, nil
		case xml.EndElement:
			return xml.StartElement{}, io.ErrUnexpectedEOF // </stream:stream>
		}
	}
}

// unexpected returns the error that another element than the wanted one means.
func (s stream) unexpected(start xml.StartElement) error {
	switch start.Name {
	case xml.Name{Space: streamSpace, Local: "error"}:
		return s.streamError(start)
	case xml.Name{Space: tlsSpace, Local: "failure"}:
		return refusal(TurnedAway, "the server offers STARTTLS for the XMPP domain %q, but refuses to go on with it (failure)", s.domain)
	}
	return refusal(OtherProtocol, "what listens there does not speak XMPP: it said <%.40s>", start.Name.Local)
}

// streamError reads a stream error (RFC 6120 section 4.9), a condition and
// perhaps a text, and returns it.
func (s stream) streamError(start xml.StartElement) error {
	var failed struct {
		Text       string                       `xml:"urn:ietf:params:xml:ns:xmpp-streams text"`
		Conditions []struct{ XMLName xml.Name } `xml:",any"`
	}
	if err := s.DecodeElement(&failed, &start); err != nil {
		return err
	}
	condition := "no condition"
	for _, c := range failed.Conditions {
		if c.XMLName.Space == errorSpace {
			condition = c.XMLName.Local
		}
	}
	switch {
	case condition == "host-unknown", condition == "host-gone":
		return refusal(DomainUnknown, "the server does not serve the XMPP domain %q (stream error %s)", s.domain, condition)
	case strings.HasPrefix(failed.Text, "No stream features"):
		// Prosody demands TLS, and cannot offer it (plugins/mod_c2s.lua and
		// plugins/mod_s2s.lua of 13.0.1).
		return s.withoutTLS()
	}
	return refusal(TurnedAway, "the server ended the XMPP stream for %q: %.40s %.120q", s.domain, condition, failed.Text)
}

func (s stream) withoutTLS() error {
	return refusal(NoSTARTTLS, "the server offers no STARTTLS for the XMPP domain %q; Prosody does so where it could not load certificate and key", s.domain)
}
