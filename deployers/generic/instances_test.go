package generic

import (
	"slices"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/lineage"
)

// TestPostfixInstances is about what is said of instances beside the primary one.
func TestPostfixInstances(t *testing.T) {
	target := presetTarget("postfix", func(t *deployers.Target, _ *Options) { t.Certificate, t.Key = "/tls/c.pem", "/tls/k.pem" })
	for _, test := range []struct{ name, unit, wrapper, takes, says string }{
		{"files of its own", "postfix.service", "", "no\n/out/c.pem\n", "/etc/postfix-out, takes /out/c.pem: that is for a target of its own, without the preset, with unit: postfix@out.service"},
		{"the target's", "postfix.service", "/usr/sbin/postmulti -p --", "no\n/tls/c.pem\n", "takes /tls/c.pem too, and is not reloaded"},
		{"the target's, with the wrapper", "postfix.service", "/usr/sbin/postmulti -p --", "yes\n/tls/k.pem, /tls/c.pem\n", "takes /tls/c.pem too, and is reloaded with the primary one"},
		{"a target for another", "postfix@out.service", "", "", "is the primary instance of Postfix, and not postfix@out.service"},
	} {
		main, _, _ := postfix{}.commands()
		f := deployers.Facts{Systemd: true, Unit: up(test.unit, true), Outputs: map[string]deployers.Output{
			strings.Join(main, "\x00"):                                {Stdout: "multi_instance_directories = /etc/postfix-out\nmulti_instance_wrapper = " + test.wrapper + "\n"},
			strings.Join(postfixInstance("/etc/postfix-out"), "\x00"): {Stdout: test.takes},
		}}
		plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "mail.example"}, f)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(plan.Checks, func(c deployers.Check) bool { return strings.Contains(c.Says, test.says) }) {
			t.Errorf("%s: %+v", test.name, plan.Checks)
		}
	}
}
