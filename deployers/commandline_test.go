package deployers

import (
	"cmp"
	"slices"
	"strings"
	"testing"
)

func TestCommandLine(t *testing.T) {
	unit := Unit{ExecStart: []string{"/usr/sbin/sipd", "-f", "$CFGFILE", "-A", "UNIT"}}
	for _, test := range []struct {
		name    string
		facts   Facts
		program string
		file    string
		defined []string
	}{
		{"nothing is known", Facts{}, "", "", nil},
		{"it runs", Facts{Unit: unit, Argv: []string{"/opt/sipd", "-P", "/run/pid", "-f", "/etc/sip//edge.cfg", "-A", "A", "-AB"}}, "/opt/sipd", "/etc/sip/edge.cfg", []string{"A", "B"}},
		{"it was called by its name", Facts{Unit: unit, Argv: []string{"sipd", "-f/etc/edge.cfg"}}, "/usr/sbin/sipd", "/etc/edge.cfg", nil},
		{"it does not run, and a variable names the file", Facts{Unit: unit}, "/usr/sbin/sipd", "", []string{"UNIT"}},
		{"a path that is relative", Facts{Argv: []string{"sipd", "-f", "edge.cfg"}}, "", "", nil},
		{"a shell starts it", Facts{Unit: Unit{ExecStart: []string{"/bin/sh", "-c", "exec sipd -f sip.cfg"}}}, "/bin/sh", "", nil},
		{"nothing behind the option", Facts{Argv: []string{"sipd", "-f"}}, "", "", nil},
	} {
		line := test.facts.CommandLine()
		if own := line.OwnProgram("sipd"); own != cmp.Or(strings.Replace(test.program, "/bin/sh", "", 1), "sipd") {
			t.Errorf("%s: its own program is %q", test.name, own)
		}
		if line.Program != test.program || line.File("-f") != test.file || !slices.Equal(line.Options("-A"), test.defined) {
			t.Errorf("%s: %+v, %q, %q", test.name, line, line.File("-f"), line.Options("-A"))
		}
	}
}
