package config

import (
	"strings"
	"testing"
)

func TestExtend(t *testing.T) {
	const target = "- {name: NAME, service: nginx, lineage: NAME.example, directory: /etc/nginx/tls/NAME}\n"
	one, two := strings.ReplaceAll(target, "NAME", "one"), strings.ReplaceAll(target, "NAME", "two")
	entry := "\n  # why\n  " + two
	for _, test := range []struct{ name, before, after string }{
		{"behind the last", "# mine\ntargets:\n  " + one + "\n  # the end\n", "# mine\ntargets:\n  " + one + entry + "\n  # the end\n"},
		{"before the next key", "targets:\n    " + one + "\npolicy: {trust: any}\n", "targets:\n    " + one + "\n    # why\n    " + two + "\npolicy: {trust: any}\n"},
		{"not indented", "targets:\n" + one, "targets:\n" + one + "\n# why\n" + two},
		{"no line break at the end", "targets:\n  " + strings.TrimSpace(one), "targets:\n  " + one + entry},
		{"none yet", "targets: []\n# that is all\n", "targets:\n" + entry + "# that is all\n"},
	} {
		got, _, err := Extend("config.yaml", []byte(test.before), entry)
		if err != nil || string(got) != test.after {
			t.Errorf("%s: %v, %q instead of %q", test.name, err, got, test.after)
		}
	}
	for name, before := range map[string]string{
		"in brackets":                 "targets: [" + strings.TrimSpace(strings.TrimPrefix(one, "- ")) + "]\n",
		"the name is taken":           "targets:\n  " + two,
		"it is wrong":                 "targets: 1\n",
		"what is behind the document": "targets:\n  " + one + "...\n",
	} {
		if got, _, err := Extend("config.yaml", []byte(before), entry); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}
