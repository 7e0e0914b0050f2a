package endpoint

import (
	"strings"
	"testing"
)

// TestPunycode has the samples of RFC 3492 section 7.1 in lower case, and names
// that Prosody 13.0.1 and libicu 76.1 were seen to turn into each other.
func TestPunycode(t *testing.T) {
	for encoded, label := range map[string]string{
		"egbpdaj6bu4bxfgehfvwxn":                       "ليهمابتكلموشعربي؟",
		"ihqwcrb4cv8a8dqg056pqjye":                     "他们为什么不说中文",
		"ihqwctvzc91f659drss3x8bo0yb":                  "他們爲什麽不說中文",
		"4dbcagdahymbxekheh6e0a7fei0b":                 "למההםפשוטלאמדבריםעברית",
		"i1baa7eci9glrd9b2ae1bj0hfcgg6iyaf8o0a1dig0cd": "यहलोगहिन्दीक्योंनहींबोलसकतेहैं",
		"n8jok5ay5dzabd5bym9f0cm5685rrjetr6pdxa":       "なぜみんな日本語を話してくれないのか",
		"b1abfaaepdrnnbgefbadotcwatmq2g4l":             "почемужеонинеговорятпорусски",
		"mnchen-3ya":                                   "münchen",
		"bcher-kva":                                    "bücher",
		"strae-oqa":                                    "straße",
		"r8jz45g":                                      "例え",
		"4ca0b":                                        "äö",
		"d9juau41awczczp":                              "そのスピードで",
		"de-jg4avhby1noc0d":                            "パフィーdeルンバ",
	} {
		if got := encode([]rune(label)); got != encoded {
			t.Errorf("%s is encoded as %s, want %s", label, got, encoded)
		}
		if got := string(decode(encoded)); got != label {
			t.Errorf("%s is decoded as %s, want %s", encoded, got, label)
		}
	}
}

func TestInternational(t *testing.T) {
	for name, want := range map[string]string{
		"MÜNCHEN.Example.":                   "xn--mnchen-3ya.example",
		"xn--mnchen-3ya.example":             "xn--mnchen-3ya.example",
		"conference.bücher.example":          "conference.xn--bcher-kva.example",
		"a.example":                          "a.example",
		"2001:db8::1":                        "2001:db8::1",
		"mu\u0308nchen.example":              "",
		"mün chen.example":                   "",
		"ü/b.example":                        "",
		"ü*.example":                         "",
		"\xfc.example":                       "",
		"ü\u200b.example":                    "",
		"ü..example":                         "",
		strings.Repeat("ü", 64) + ".example": "",
	} {
		got, is := ASCII(name)
		if is != (want != "") || is && got != want {
			t.Errorf("%q: %q, %v, want %q", name, got, is, want)
		}
	}
	for name, want := range map[string]string{
		"xn--mnchen-3ya.example":  "münchen.example",
		"*.xn--bcher-kva.example": "*.bücher.example",
		"münchen.example":         "münchen.example",
		"xn--.example":            "xn--.example",
		"xn--a.example":           "xn--a.example",
		"xn--ascii-.example":      "xn--ascii-.example",
		"xn--99999999.example":    "xn--99999999.example",
		"xn--mnchen-3yA.example":  "xn--mnchen-3yA.example",
	} {
		if got := Unicode(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// FuzzUnicode holds that a name that has letters of its own is the one that these stand for.
func FuzzUnicode(f *testing.F) {
	f.Add("xn--mnchen-3ya.example")
	f.Fuzz(func(t *testing.T, name string) {
		own := Unicode(name)
		if again, is := ASCII(own); IsHost(name) && own != name && (!is || again != strings.ToLower(name)) {
			t.Errorf("%q is %q, and that is %q", name, own, again)
		}
	})
}
