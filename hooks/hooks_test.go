package hooks

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// called returns a call with variables, NAME=VALUE, and arguments.
func called(environment []string, args ...string) Call {
	return Call{Env: func(name string) string {
		for _, variable := range environment {
			if value, ok := strings.CutPrefix(variable, name+"="); ok {
				return value
			}
		}
		return ""
	}, Args: args, Input: strings.NewReader("")}
}

func reading(call Call, input string) Call {
	call.Input = strings.NewReader(input)
	return call
}

func TestEvents(t *testing.T) {
	const sh, de = "/root/.acme.sh/", "/var/lib/dehydrated/certs/"
	for _, test := range []struct {
		name string
		call Call
		want []Event
	}{
		{"certbot", called([]string{"RENEWED_LINEAGE=/etc/letsencrypt/live/api.example/"}), []Event{{Client: "certbot", Path: "/etc/letsencrypt/live/api.example"}}},
		{"acme.sh", called([]string{"CERT_FULLCHAIN_PATH=" + sh + "a.example_ecc/fullchain.cer", "CERT_KEY_PATH=" + sh + "a.example_ecc/a.example.key"}), []Event{{Client: "acme.sh", Path: sh + "a.example_ecc"}}},
		{"acme.sh", called([]string{"CERT_FULLCHAIN_PATH=" + sh + "*.a.example/fullchain.cer", "CERT_KEY_PATH=" + sh + "*.a.example/*.a.example.key"}), []Event{{Client: "acme.sh", Path: sh + "*.a.example"}}},
		{"lego", called([]string{"LEGO_CERT_PATH=/srv/_.a.example.crt"}), []Event{{Client: "lego", Path: "/srv/_.a.example.crt"}}},
		{"lego", called([]string{"LEGO_HOOK_CERT_PATH=/srv/a.crt", "LEGO_CERT_PATH=/srv/a.crt"}), []Event{{Client: "lego", Path: "/srv/a.crt"}}},
		{"dehydrated", called(nil, "deploy_cert", "*.a.example", de+"star/privkey.pem", de+"star/cert.pem", de+"star/fullchain.pem", de+"star/chain.pem", "1795418000"), []Event{{Client: "dehydrated", Path: de + "star"}}},
		{"dehydrated", called(nil, "unchanged_cert", "a", de+"a/privkey.pem", de+"a/cert.pem", de+"a/fullchain.pem", de+"a/chain.pem"), []Event{{Client: "dehydrated", Path: de + "a", Unchanged: true}}},
		{"dehydrated", called(nil, "exit_hook", "--some error--"), nil},
		{"dehydrated", called(nil, "deploy_challenge", "a", "-token", "-value"), nil},
		{"dehydrated", called(nil, "this_hookscript_is_broken__dehydrated_is_working_fine__please_ignore_unknown_hooks_in_your_script"), nil},
		{"acmetool", reading(called([]string{"ACME_STATE_DIR=/var/lib/acme"}, "live-updated"), "a.example\n*.b.example\n"), []Event{
			{Client: "acmetool", Path: "/var/lib/acme/live/a.example"}, {Client: "acmetool", Path: "/var/lib/acme/live/*.b.example"},
		}},
		{"acmetool", called([]string{"ACME_STATE_DIR=/var/lib/acme"}, "live-updated"), nil},
	} {
		client, _ := For(test.name)
		got, err := client.Events(test.call)
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("%s %q: %v (-want +got)\n%s", test.name, test.call.Args, err, diff)
		}
	}
}

func TestHostileCalls(t *testing.T) {
	acme := []string{"ACME_STATE_DIR=/acme"}
	sh := func(fullchain, key string) []string {
		return []string{"CERT_FULLCHAIN_PATH=" + fullchain, "CERT_KEY_PATH=" + key}
	}
	for _, test := range []struct {
		client, fails string
		call          Call
	}{
		{"certbot", "one argument too many", called([]string{"RENEWED_LINEAGE=/live/a"}, "b")},
		{"acme.sh", "one argument too many", called(sh("/a/fullchain.cer", "/a/a.key"), "--config")},
		{"acme.sh", "speak of two lineages", called(sh("/sh/a/fullchain.cer", "/sh/b/b.key"))},
		{"acme.sh", "CERT_KEY_PATH is not an absolute path", called(sh("/sh/a/fullchain.cer", ""))},
		{"lego", "one argument too many", called([]string{"LEGO_CERT_PATH=/a.crt"}, "")},
		{"lego", "speak of two lineages", called([]string{"LEGO_CERT_PATH=/a.crt", "LEGO_HOOK_CERT_PATH=/b.crt"})},
		{"dehydrated", "has 1 arguments", called(nil, "deploy_cert", "a")},
		{"dehydrated", "not of one lineage", called(nil, "deploy_cert", "a", "/certs/a/privkey.pem", "", "/certs/b/fullchain.pem")},
		{"acmetool", "leads up again", reading(called(acme, "live-updated"), "a\n../../etc\n")},
		{"acmetool", "leads up again", reading(called(acme, "live-updated"), "..\n")},
		{"acmetool", "no host name", reading(called(acme, "live-updated"), "a/b\n")},
		{"acmetool", "no host name", reading(called(acme, "live-updated"), "\n")},
		{"acmetool", "no host name", reading(called(acme, "live-updated"), ".\n")},
		{"acmetool", "control characters", reading(called(acme, "live-updated"), "a\x00b\n")},
		{"acmetool", "longer than any path", reading(called(acme, "live-updated"), strings.Repeat("x", 5000))},
		{"acmetool", "read host names", reading(called(acme, "live-updated"), strings.Repeat("x", 1<<17))},
		{"acmetool", "more host names", reading(called(acme, "live-updated"), strings.Repeat("a\n", maxHosts))},
		{"acmetool", "read host names", Call{Env: called(acme).Env, Args: []string{"live-updated"}, Input: iotest.ErrReader(io.ErrUnexpectedEOF)}},
	} {
		client, _ := For(test.client)
		events, err := client.Events(test.call)
		if input := new(InputError); !errors.As(err, &input) || !strings.Contains(err.Error(), test.fails) || len(err.Error()) > 400 || events != nil {
			t.Errorf("%s: %v, %v, which does not say %q", test.client, events, err, test.fails)
		}
	}
}

func FuzzEvents(f *testing.F) {
	for _, path := range []string{"/live/a", "/sh/a/fullchain.cer", "/sh/a/a.key", "/lego/a.crt", "/acme"} {
		f.Add(path, path, path, "a\n")
	}
	f.Add("deploy_cert", "/certs/a/privkey.pem", "/certs/a/fullchain.pem", "a\n*.b\n")
	f.Add("live-updated", "/acme", "/acme/../x", "../../etc\n\x00")
	f.Add("unchanged_cert", "/a\nb", "-rf", strings.Repeat("x\n", 100))
	f.Fuzz(func(t *testing.T, verb, one, two, input string) {
		variables := []string{"RENEWED_LINEAGE=" + one, "CERT_FULLCHAIN_PATH=" + one, "CERT_KEY_PATH=" + two,
			"LEGO_CERT_PATH=" + one, "LEGO_HOOK_CERT_PATH=" + two, "ACME_STATE_DIR=" + one}
		for _, args := range [][]string{nil, {verb}, {"live-updated"}, {verb, verb, one, verb, two}, {"deploy_cert", verb, one, verb, two}} {
			for _, c := range All() {
				events, err := c.Events(reading(called(variables, args...), input))
				if err != nil && !known(err) {
					t.Fatalf("%s: an error of its own kind: %v", c.Name(), err)
				}
				if err != nil && (events != nil || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' })) {
					t.Fatalf("%s: %v with %q", c.Name(), events, err)
				}
				for _, event := range events {
					if event.Client != c.Name() || !path.IsAbs(event.Path) || path.Clean(event.Path) != event.Path || strings.ContainsAny(event.Path, "\x00\n") {
						t.Fatalf("%s: %+v", c.Name(), event)
					}
				}
			}
			if _, err := Detect(called(variables, args...)); err != nil && !known(err) {
				t.Fatal(err)
			}
		}
	})
}

func known(err error) bool {
	return errors.As(err, new(*InputError)) || errors.As(err, new(*NotCalledError)) || errors.As(err, new(*UnsupportedError)) || errors.As(err, new(*AmbiguousError))
}

func TestNotCalled(t *testing.T) {
	var notCalled *NotCalledError
	if _, err := Detect(called(nil)); !errors.As(err, &notCalled) {
		t.Errorf("an empty call: %v", err)
	}
	acmetool, _ := For("acmetool")
	if _, err := acmetool.Events(called(nil, "live-updated")); !errors.As(err, &notCalled) {
		t.Errorf("acmetool without a state directory: %v", err)
	}
	if _, err := acmetool.Events(called([]string{"ACME_STATE_DIR=/acme"}, "challenge-http-start", "a")); !errors.As(err, new(*UnsupportedError)) {
		t.Errorf("another event of acmetool's: %v", err)
	}
}

func TestDetect(t *testing.T) {
	for _, test := range []struct {
		call Call
		want string
	}{
		{called([]string{"RENEWED_LINEAGE=/x"}), "certbot"},
		{called([]string{"CERT_FULLCHAIN_PATH=/x"}), "acme.sh"},
		{called([]string{"LEGO_CERT_PATH=/x"}), "lego"},
		{called([]string{"LEGO_HOOK_CERT_PATH=/x"}), "lego"},
		{called(nil, "startup_hook"), "dehydrated"},
		{called([]string{"ACME_STATE_DIR=/x"}, "live-updated"), "acmetool"},
		{called([]string{"ACME_STATE_DIR=/x"}), ""},
		{called([]string{"RENEWED_LINEAGE=/x", "CERT_FULLCHAIN_PATH=/x"}), "RENEWED_LINEAGE speaks of certbot, CERT_FULLCHAIN_PATH speaks of acme.sh"},
		{called([]string{"RENEWED_LINEAGE=/x", "LEGO_CERT_PATH=/x"}, "deploy_cert"), "RENEWED_LINEAGE speaks of certbot, LEGO_CERT_PATH speaks of lego, deploy_cert speaks of dehydrated"},
	} {
		client, err := Detect(test.call)
		got := ""
		if ambiguous := new(AmbiguousError); errors.As(err, &ambiguous) {
			_, got, _ = strings.Cut(err.Error(), ": ")
		} else if err == nil {
			got = client.Name()
		}
		if got != test.want {
			t.Errorf("%q instead of %q: %v", got, test.want, err)
		}
	}
}

// TestTelling holds what a hook may tell by its exit status, and that somebody has
// thought of each client.
func TestTelling(t *testing.T) {
	ambiguous := called([]string{"CERT_FULLCHAIN_PATH=/x"}, "unchanged_cert")
	for _, test := range []struct {
		name string
		call Call
		want Telling
	}{
		{"certbot", called([]string{"RENEWED_LINEAGE=/x"}), TellFailures},
		{"", called([]string{"RENEWED_LINEAGE=/x"}), TellFailures},
		{"acme.sh", called([]string{"CERT_FULLCHAIN_PATH=/x"}), TellFailures},
		{"lego", called([]string{"LEGO_CERT_PATH=/x"}), TellFailures},
		{"lego", called([]string{"LEGO_HOOK_CERT_PATH=/x", "LEGO_CERT_PATH=/x"}), TellNothing},
		{"dehydrated", called(nil, "unchanged_cert"), TellNothing},
		{"", called(nil, "deploy_cert"), TellNothing},
		{"dehydrated", called(nil), TellAll},
		{"", called(nil), TellAll},
		{"acmetool", called([]string{"ACME_STATE_DIR=/x"}, "live-updated"), TellFailures},
		{"nosuch", called(nil, "deploy_cert"), TellAll},
		{"", ambiguous, TellNothing},
		{"acme.sh", ambiguous, TellFailures},
	} {
		if got := TellingOf(test.name, test.call); got != test.want {
			t.Errorf("%q %q: %d instead of %d", test.name, test.call.Args, got, test.want)
		}
	}
	for _, c := range All() {
		if !slices.ContainsFunc(Consequences(), func(row Consequence) bool { return row.Client == c.Name() }) {
			t.Errorf("nothing says what %s does where its hook fails: add it to Consequences", c.Name())
		}
	}
}

// TestStripped holds what is said of an environment that was lost.
func TestStripped(t *testing.T) {
	const deploy, post, pre = "/etc/letsencrypt/renewal-hooks/deploy/x", "/etc/letsencrypt/renewal-hooks/post/x", "/etc/letsencrypt/renewal-hooks/pre/x"
	for _, test := range []struct{ client, program, variable, says string }{
		{"certbot", deploy, "SUDO_COMMAND=x", "sudo --preserve-env=RENEWED_LINEAGE certlatch hook certbot"},
		{"acme.sh", "certlatch", "DOAS_USER=x", "setenv { CERT_FULLCHAIN_PATH CERT_KEY_PATH }"},
		{"", "certlatch", "SUDO_COMMAND=x", "RENEWED_LINEAGE,CERT_FULLCHAIN_PATH"},
		{"certbot", post, "", "to a post hook"},
		{"", pre, "RENEWED_DOMAINS=x", "to a pre hook"},
		{"certbot", "certlatch", "FAILED_DOMAINS=x", "to a post hook"},
		{"lego", "certlatch", "RENEWED_DOMAINS=x", ""},
		{"dehydrated", "certlatch", "SUDO_COMMAND=x", ""},
		{"certbot", deploy, "", ""},
		{"certbot", "/post/x", "", ""},
	} {
		got := Stripped(test.client, test.program, called([]string{test.variable}))
		if !strings.Contains(got, test.says) || test.says == "" && got != "" {
			t.Errorf("%s as %s with %s: %q instead of %q", test.client, test.program, test.variable, got, test.says)
		}
	}
}

func TestLineageName(t *testing.T) {
	for _, test := range []struct{ client, path, want string }{
		{"certbot", "/etc/letsencrypt/live/a.example", "a.example"},
		{"certbot", "/etc/letsencrypt/live/-rf", "-rf"},
		{"certbot", "/etc/letsencrypt/live/.hidden", ""},
		{"acme.sh", "/root/.acme.sh/2001:db8::1_ecc", "2001:db8::1_ecc"},
		{"dehydrated", "/var/lib/dehydrated/certs/ip:2001:db8::1", "ip:2001:db8::1"},
		{"acme.sh", "/root/.acme.sh/*.a.example", "_.a.example"},
		{"lego", "/srv/a.example.crt", "a.example"},
		{"lego", "/srv/a.example.issuer.crt", ""},
		{"directory", "/srv/a.example", "a.example"},
		{"caddy", "/srv/a.example", "a.example"},
		{"caddy", "/srv/wildcard_.a.example", "_.a.example"},
		{"nginx-acme", "/srv/*.a.example-1f2e3d4c.crt", "_.a.example"},
		{"nginx-acme", "/srv/a.example.crt", ""},
		{"uacme", "/etc/ssl/uacme/a.example", "a.example"},
		{"getssl", "/etc/getssl/*.a.example", "_.a.example"},
		{"nosuch", "/srv/a.example", ""},
	} {
		if name := (Event{Client: test.client, Path: test.path}).LineageName(); name != test.want {
			t.Errorf("%s: %s: %q instead of %q", test.client, test.path, name, test.want)
		}
		if _, ok := KeeperFor(test.client); ok != (test.client != "nosuch") {
			t.Errorf("%s is a keeper: %v", test.client, ok)
		}
	}
}

func TestSplitName(t *testing.T) {
	for text, want := range map[string][2]string{
		"a.example": {"", "a.example"}, "certbot:a.example": {"certbot", "a.example"}, "2001:db8::1": {"", "2001:db8::1"},
		"acme.sh:2001:db8::1": {"acme.sh", "2001:db8::1"}, "certbot:certbot:a": {"certbot", "certbot:a"}, "ip:2001:db8::1": {"", "ip:2001:db8::1"}, "": {"", ""},
	} {
		if client, name := SplitName(text); client != want[0] || name != want[1] {
			t.Errorf("%q: %q and %q", text, client, name)
		}
	}
}

func TestCalledAs(t *testing.T) {
	for name, want := range map[string]string{
		"/etc/letsencrypt/renewal-hooks/deploy/50-certlatch-hook-certbot": "certbot",
		"certlatch-hook-certbot":   "certbot",
		"certlatch-hook-acme.sh":   "acme.sh",
		"5-certlatch-hook-lego":    "lego",
		"certlatch":                "",
		"-certlatch-hook-certbot":  "",
		"5x-certlatch-hook-lego":   "",
		"5-5-certlatch-hook-lego":  "",
		"certlatch-hook-nosuch":    "",
		"x-certlatch-hook-certbot": "",
		"certlatch-hook-certbot~":  "",
	} {
		got := ""
		if c, ok := CalledAs(name); ok {
			got = c.Name()
		}
		if got != want {
			t.Errorf("%s: %q instead of %q", name, got, want)
		}
	}
}

func TestOwnHooks(t *testing.T) {
	for client, settings := range map[string]string{
		"certbot":    "authenticator = nginx\nrenew_hook = systemctl reload nginx\n",
		"dehydrated": "#HOOK=none\n  HOOK=\"/etc/x\"\n",
	} {
		c, _ := For(client)
		own := c.Setup("/usr/bin/certlatch").Own
		if found := own.Line.FindStringSubmatch(settings); len(found) != 2 {
			t.Errorf("%s: %q", client, found)
		}
		if found := own.Line.FindString("pre_hook = x\n# renew_hook = x\nHOOK_CHAIN=no\n"); found != "" {
			t.Errorf("%s: %q", client, found)
		}
	}
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{"/usr/bin/certlatch": "/usr/bin/certlatch", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'"} {
		if got := shellQuote(word); got != want {
			t.Errorf("%s: %s instead of %s", fmt.Sprintf("%q", word), got, want)
		}
	}
}

// TestMemory reads what clients remember from files that they wrote: the
// renewal configuration of certbot 4.0.0, and that of a domain of acme.sh
// 3.1.1.
func TestMemory(t *testing.T) {
	for _, test := range []struct {
		client, text string
		calls, alone bool
	}{
		{"certbot", "[renewalparams]\nserver = https://acme.example/dir\nrenew_hook = /usr/bin/certlatch hook certbot\n", true, true},
		{"certbot", "[renewalparams]\ndeploy_hook=certlatch hook\n", true, true},
		{"certbot", "[renewalparams]\nrenew_hook = systemctl reload nginx\npost_hook = certlatch deploy --pending\n", false, false},
		{"acme.sh", "Le_Domain='web.example'\nLe_DeployHook='certlatch,'\n", true, false},
		{"acme.sh", "Le_DeployHook='haproxy,certlatch,'\n", true, false},
		{"acme.sh", "Le_Domain='certlatch.example'\nLe_DeployHook='haproxy,'\nLe_ReloadCmd=''\n", false, false},
		{"acme.sh", "Le_ReloadCmd='__ACME_BASE64__START_L3Vzci9iaW4vY2VydGxhdGNoIGhvb2sgYWNtZS5zaA==__ACME_BASE64__END_'\n", true, true},
		{"acme.sh", "Le_ReloadCmd='__ACME_BASE64__START_c3lzdGVtY3RsIHJlbG9hZCBuZ2lueA==__ACME_BASE64__END_'\n", false, false},
		{"acme.sh", "Le_ReloadCmd='__ACME_BASE64__START_certlatch__ACME_BASE64__END_'\n", false, false},
	} {
		client, _ := For(test.client)
		memory := client.Setup("/usr/bin/certlatch").Memory
		if calls, alone := memory.Calls(test.text), memory.Alone(test.text); calls != test.calls || alone != test.alone {
			t.Errorf("%s: %q calls certlatch: %t, without the parts: %t", test.client, test.text, calls, alone)
		}
	}
}
