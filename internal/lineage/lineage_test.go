package lineage_test

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/pki"
)

func rootOf(t testing.TB, client, dir string) lineage.Root {
	t.Helper()
	keeper, ok := hooks.KeeperFor(client)
	if !ok {
		t.Fatalf("there is no keeper %s", client)
	}
	return keeper.Root(dir)
}

func TestRootLineage(t *testing.T) {
	tests := []struct{ kind, name, fullchain, key string }{
		{"certbot", "a.example", "a.example/fullchain.pem", "a.example/privkey.pem"},
		{"acme.sh", "a.example", "a.example/fullchain.cer", "a.example/a.example.key"},
		{"acme.sh", "a.example_ecc", "a.example_ecc/fullchain.cer", "a.example_ecc/a.example.key"},
		{"acme.sh", "_.a.example_ecc", "*.a.example_ecc/fullchain.cer", "*.a.example_ecc/*.a.example.key"},
		{"acme.sh", "bücher.example_ecc", "bücher.example_ecc/fullchain.cer", "bücher.example_ecc/bücher.example.key"},
		{"acmetool", "a.example", "a.example/fullchain", "a.example/privkey"},
		{"acmetool", "_.a.example", "*.a.example/fullchain", "*.a.example/privkey"},
		{"lego", "xn--bcher-kva.example", "xn--bcher-kva.example.crt", "xn--bcher-kva.example.key"},
		{"lego", "a.example", "a.example.crt", "a.example.key"},
		{"lego", "_.a.example", "_.a.example.crt", "_.a.example.key"},
		{"dehydrated", "a.example", "a.example/fullchain.pem", "a.example/privkey.pem"},
		{"directory", "a.example", "a.example/fullchain.pem", "a.example/privkey.pem"},
	}
	for _, test := range tests {
		t.Run(test.kind+" "+test.name, func(t *testing.T) {
			dir := t.TempDir()
			root := rootOf(t, test.kind, dir)
			want := lineage.Lineage{Client: test.kind, Name: test.name, Root: root, Fullchain: filepath.Join(dir, test.fullchain), Key: filepath.Join(dir, test.key)}
			got, err := root.Lineage(test.name)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Lineage (-want +got):\n%s", diff)
			}
			if _, ok := errors.AsType[*lineage.NotFoundError](second(root.Find(test.name))); !ok {
				t.Error("Find does not say that it is not there")
			}
			for _, path := range []string{got.Fullchain, got.Key} {
				touch(t, path)
			}
			if got, err := root.Find(test.name); err != nil || got != want {
				t.Errorf("Find gives %v, %v", got, err)
			}
			if list, err := root.List(); err != nil || len(list) != 1 || list[0] != want {
				t.Errorf("List gives %v, %v", list, err)
			}
			at := got.Fullchain
			if strings.Contains(root.Layout.Fullchain, "/") {
				at = filepath.Dir(at)
			}
			if name := root.NameAt(at); name != test.name {
				t.Errorf("NameAt(%s) = %q", at, name)
			}
			for _, elsewhere := range []string{dir, filepath.Dir(dir), at + "/x", filepath.Join(dir, "sub", filepath.Base(at)), "/"} {
				if name := root.NameAt(elsewhere); name != "" {
					t.Errorf("NameAt(%s) = %q", elsewhere, name)
				}
			}
		})
	}
}

// TestRootLineageIssuer wants the file with the issuer, which lego writes
// beside the certificate, not to be taken for a lineage.
func TestRootLineageIssuer(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.example.crt", "a.example.issuer.crt", "a.example.key", "a.example.json"} {
		touch(t, filepath.Join(dir, name))
	}
	list, err := rootOf(t, "lego", dir).List()
	if err != nil || len(list) != 1 || list[0].Chain != filepath.Join(dir, "a.example.issuer.crt") {
		t.Errorf("List gives %+v, %v", list, err)
	}
}

func TestRootFlatWithoutIssuer(t *testing.T) {
	root := lineage.Root{Layout: lineage.Layout{Fullchain: "{dir}.pem", Key: "{dir}.key"}, Dir: "/srv"}
	if name := root.NameAt("/srv/a.example.pem"); name != "a.example" {
		t.Errorf("NameAt gives %q", name)
	}
}

// TestRootLinks wants links within the client's directories to be followed, and
// those that lead anywhere else to be refused.
func TestRootLinks(t *testing.T) {
	for _, test := range []struct {
		kind, root string
		links      map[string]string // by what they are to lead to
		outside    bool
	}{
		{"certbot", "live", map[string]string{"live/a/fullchain.pem": "../../archive/a/fullchain1.pem", "live/a/privkey.pem": "../../archive/a/privkey1.pem"}, false},
		{"certbot", "live", map[string]string{"live/a/fullchain.pem": "../../archive/a/fullchain1.pem", "live/a/privkey.pem": "../../accounts/privkey.pem"}, true},
		{"certbot", "live", map[string]string{"live/a": "../archive-of-others/a"}, true},
		{"certbot", "live", map[string]string{"live": "elsewhere/live"}, false},
		{"acmetool", "live", map[string]string{"live/a": "../certs/x", "certs/x/privkey": "../../keys/y/privkey"}, false},
		{"acmetool", "live", map[string]string{"live/a": "../certs/x", "certs/x/privkey": "../../accounts/y/privkey"}, true},
		{"dehydrated", "certs", map[string]string{"certs/a/privkey.pem": "privkey-1.pem", "certs/a/fullchain.pem": "fullchain-1.pem"}, false},
		{"dehydrated", "certs", map[string]string{"certs/a/privkey.pem": "../../accounts/account_key.pem"}, true},
		{"lego", "certificates", map[string]string{"certificates/a.issuer.crt": "../issuer.crt"}, true},
		{"acme.sh", "home", map[string]string{"home/a/a.key": "/proc/self/environ"}, true},
		{"directory", "srv", map[string]string{"srv/a/privkey.pem": "../b/privkey.pem"}, false},
		{"directory", "srv", map[string]string{"srv/a": "../srv2/a"}, true},
	} {
		top := t.TempDir()
		for from, to := range test.links {
			path := filepath.Join(top, from)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(to, path); err != nil {
				t.Fatal(err)
			}
			if !filepath.IsAbs(to) && filepath.Ext(to) != "" {
				touch(t, filepath.Join(filepath.Dir(path), to))
			} else if err := os.MkdirAll(filepath.Join(filepath.Dir(path), to), 0o700); !filepath.IsAbs(to) && err != nil {
				t.Fatal(err)
			}
		}
		root := rootOf(t, test.kind, filepath.Join(top, test.root))
		l, err := root.Lineage("a")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{l.Fullchain, l.Key} {
			if _, err := os.Lstat(path); err != nil {
				touch(t, path)
			}
		}
		if l, err = root.Find("a"); err != nil {
			t.Fatal(err)
		}
		_, findings := lineage.Read(l)
		outside := slices.ContainsFunc(findings, func(f lineage.Finding) bool { return f.Code == "outside" })
		if outside != test.outside {
			t.Errorf("%s with links %v: %v", test.kind, test.links, findings)
		}
	}
}

func TestRootList(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "live")
	root := rootOf(t, "certbot", dir)
	if list, err := root.List(); err != nil || list != nil {
		t.Errorf("a root that does not exist holds %v, %v", list, err)
	}
	leaf := pki.SelfSigned(t)
	pki.WriteCertbot(t, dir, "b.example", leaf)
	pki.WriteCertbot(t, dir, "a.example", leaf)
	touch(t, filepath.Join(dir, "README"))
	touch(t, filepath.Join(dir, "half.example/fullchain.pem"))
	touch(t, filepath.Join(dir, ".odd name/fullchain.pem"))
	touch(t, filepath.Join(dir, "caf\xe9/fullchain.pem"))
	touch(t, filepath.Join(dir, "line\nend/README"))
	touch(t, filepath.Join(dir, ".odd name/privkey.pem"))
	list, err := root.List()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range list {
		names = append(names, l.String())
	}
	if diff := cmp.Diff([]string{"certbot:a.example", "certbot:b.example"}, names); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "a.example", "_.a.example", "a.example-0001", "a.example_ecc", "xn--bcher-kva.example", "bücher.example", "bu\u0308cher.example", "例え.example", "उदाहरण.example", strings.Repeat("a", 253),
		"2001:db8::1", "2001:db8::1_ecc", "ip:2001:db8::1", "Mail server", "mail+imap", "user@host", "🔒 web", "👩\u200d💻", "-a", "a.", "a..b", " a ", "a=b", "it's", "{base}", "a*", "[a]", `a\b`, "$(id)"} {
		if err := lineage.CheckName(name); err != nil {
			t.Errorf("%q is not accepted: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", ".a", "...", "a/b", "../a", "/", "a\n", "a\x00", "a\x7f", "a\u0085", "a\xff", "a\u202eb", "a\u2066b", "a\u2028", strings.Repeat("a", 254)} {
		if _, ok := errors.AsType[*lineage.NameError](lineage.CheckName(name)); !ok {
			t.Errorf("%q is accepted", name)
		}
		for _, k := range hooks.Keepers() {
			if _, err := k.Root("/root").Lineage(name); err == nil {
				t.Errorf("%s makes a lineage of %q", k.Name, name)
			}
		}
	}
}

// TestOwnCA holds that a leaf of Caddy's own CA, which a name had for a while, does not
// take the place of what an ACME CA issued before and Caddy serves again.
func TestOwnCA(t *testing.T) {
	ca, now := pki.NewCA(t, "Root"), time.Now()
	storage := t.TempDir()
	caddy, _ := hooks.KeeperFor("caddy")
	write := func(issuer string, from, until time.Duration) {
		dir := filepath.Join(storage, "certificates", issuer, "a.example")
		leaf := ca.Leaf(t, pki.Names("a.example"), pki.Valid(now.Add(from), now.Add(until)))
		write(t, filepath.Join(dir, "a.example.key"))
		if err := os.WriteFile(filepath.Join(dir, "a.example.crt"), leaf.Fullchain, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(when, issuer string) {
		t.Helper()
		l, err := caddy.Root(storage).Find("a.example")
		if want := filepath.Join(storage, "certificates", issuer, "a.example/a.example.crt"); err != nil || l.Fullchain != want {
			t.Errorf("%s: it is %s, %v", when, l.Fullchain, err)
		}
	}
	const day = 24 * time.Hour
	write("local", -day, -day/2)
	holds("its own alone", "local")
	write("ca-one", -30*day, 60*day)
	holds("its own for a while", "ca-one")
	write("ca-two", -2*day, 4*day)
	holds("another CA since", "ca-two")
	write("local", -time.Hour, day/2)
	holds("its own for a while, again", "ca-two")
	write("ca-one", -120*day, -30*day)
	write("ca-two", -90*day, -day)
	holds("its own since long", "local")
}

// TestNewest chooses among several certificates of one name by when they begin, below a
// place and below each directory on the way to its lineages.
func TestNewest(t *testing.T) {
	ca, now := pki.NewCA(t, "Root"), time.Now()
	write := func(dir, name string, age time.Duration) {
		leaf := ca.Leaf(t, pki.Names("a.example"), pki.Valid(now.Add(-age), now.Add(time.Hour)))
		for suffix, data := range map[string][]byte{".crt": leaf.Fullchain, ".key": leaf.Key} {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name+suffix), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	dir := t.TempDir()
	storage, state := filepath.Join(dir, "caddy"), filepath.Join(dir, "acme_le")
	write(storage+"/certificates/ca-one/a.example", "a.example", 2*time.Hour)
	write(storage+"/certificates/ca-two/a.example", "a.example", time.Hour)
	write(storage+"/certificates/ca-one/wildcard_.a.example", "wildcard_.a.example", time.Hour)
	write(storage+"/certificates/ca-one/2001-db8--1", "2001-db8--1", time.Hour)
	write(state, "a.example-1f2e3d4c", 2*time.Hour)
	write(state, "a.example-9", time.Hour)
	write(state, "*.b.example-ffffffffffffffff", time.Hour)
	write(state, "account", time.Hour) // has no hash
	for _, test := range []struct{ keeper, dir, names, newest string }{
		{"caddy", storage, "2001-db8--1 _.a.example a.example", storage + "/certificates/ca-two/a.example/a.example.crt"},
		{"caddy", storage + "/certificates", "2001-db8--1 _.a.example a.example", storage + "/certificates/ca-two/a.example/a.example.crt"},
		{"caddy", storage + "/certificates/ca-one", "2001-db8--1 _.a.example a.example", storage + "/certificates/ca-one/a.example/a.example.crt"},
		{"nginx-acme", state, "_.b.example a.example", state + "/a.example-9.crt"},
	} {
		keeper, _ := hooks.KeeperFor(test.keeper)
		root := keeper.Root(test.dir)
		all, err := root.List()
		var names []string
		for _, l := range all {
			names = append(names, l.Name)
			if listed, is, err := root.Listed(l.Name); !is || err != nil || listed != l {
				t.Errorf("%s: %s is listed as %v: %t, %v", test.dir, l.Name, listed, is, err)
			}
			if bundle, findings := lineage.Read(l); bundle == nil {
				t.Errorf("%s: %s cannot be read: %v", test.dir, l.Name, findings)
			}
		}
		if got := strings.Join(names, " "); got != test.names || err != nil {
			t.Errorf("%s keeps %q, %v", test.dir, got, err)
		}
		if l, err := root.Find("a.example"); l.Fullchain != test.newest || l.Key != strings.TrimSuffix(test.newest, "crt")+"key" || err != nil {
			t.Errorf("%s: the newest is %s, %v", test.dir, l.Fullchain, err)
		}
		if _, err := root.Find("gone.example"); !errors.As(err, new(*lineage.NotFoundError)) {
			t.Errorf("%s: one that is not there: %v", test.dir, err)
		}
	}
	caddy, _ := hooks.KeeperFor("caddy")
	for at, want := range map[string]string{"/certificates/ca-one/a.example": "a.example", "/certificates/ca-one": "", "/certificates": "certificates", "/a/b/c/d": "", "/locks/x/a.example": ""} {
		if got := caddy.Root(storage).NameAt(storage + at); got != want {
			t.Errorf("at %s lies %q", at, got)
		}
	}
}

// TestUnnamed is about what would be a lineage if it had another name.
func TestUnnamed(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{"a.example/fullchain.pem", "caf\xe9/fullchain.pem", "line\nend/README", ".hidden/fullchain.pem", ".git/config"} {
		touch(t, filepath.Join(dir, file))
	}
	certbot, _ := hooks.KeeperFor("certbot")
	why, more := certbot.Root(dir).Unnamed(2)
	if len(why) != 2 || more != 0 || !why[1].Hidden() || why[1].Name != ".hidden" || why[0].Error() != `lineage name "caf\xe9": it is not UTF-8` {
		t.Errorf("%v, %d more", why, more)
	}
	if why, more := certbot.Root(dir).Unnamed(1); len(why) != 1 || more != 1 {
		t.Errorf("of two, one at most: %v, %d more", why, more)
	}
	if why, more := certbot.Root(filepath.Join(dir, "nowhere")).Unnamed(1); why != nil || more != 0 {
		t.Errorf("nowhere: %v, %d more", why, more)
	}
}

// TestUnnamedLayouts is about such names in the layout of every keeper.
func TestUnnamedLayouts(t *testing.T) {
	for _, keeper := range hooks.Keepers() {
		root := keeper.Root(t.TempDir())
		above := root.Dir
		if root.Layout.Above != "" {
			above = filepath.Join(root.Dir, strings.ReplaceAll(root.Layout.Above, "*", "issuer"))
		}
		for _, name := range []string{"a.example", "caf\xe9"} {
			touch(t, filepath.Join(above, strings.NewReplacer("{dir}", name, "{tail}", "-1f").Replace(root.Layout.Fullchain)))
		}
		if why, more := root.Unnamed(9); len(why) != 1 || more != 0 || why[0].Name != "caf\xe9" {
			t.Errorf("%s: %v, %d more", keeper.Name, why, more)
		}
	}
}

// TestArgument holds that a shell makes of a lineage's argument what names it, and
// certlatch no flag.
func TestArgument(t *testing.T) {
	for name, want := range map[string]string{
		"a.example": "a.example", "2001:db8::1": "2001:db8::1", "mail+imap": "mail+imap", "user@host": "user@host",
		"Mail server": "'Mail server'", "it's": `'it'\''s'`, "$(id)": "'$(id)'", "-rf": "certbot:-rf", "- f": "'certbot:- f'", "🔒": "'🔒'", "~a": "'~a'", "a*": "'a*'",
	} {
		if got := (lineage.Lineage{Client: "certbot", Name: name}).Argument(); got != want {
			t.Errorf("%q: %s instead of %s", name, got, want)
		}
	}
}

// TestPattern holds that a pattern of a name matches that, and is told to match
// nothing else.
func TestPattern(t *testing.T) {
	for _, name := range []string{"a.example", "a*", "[a]", "a?", `a\b`, `\`, "2001:db8::1"} {
		pattern := lineage.Pattern(name)
		if is, err := path.Match(pattern, name); !is || err != nil {
			t.Errorf("%q does not match %q: %v", pattern, name, err)
		}
		if got, only := lineage.Literal(pattern); got != name || !only {
			t.Errorf("%q stands for %q, %t", pattern, got, only)
		}
	}
	for _, glob := range []string{"*", "a?", "[ab]", `a\`, "*.example"} {
		if got, only := lineage.Literal(glob); only {
			t.Errorf("%q stands for %q alone", glob, got)
		}
	}
}

// FuzzCheckName wants the paths of every accepted name to be directly below the
// root, or in a directory that is.
func FuzzCheckName(f *testing.F) {
	for _, name := range []string{"a.example", "_.a.example_ecc", "_ecc", "../../etc/shadow", "a/../..", "..", "-rf", "*.a", "{dir}", "a\x00b"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		for _, k := range hooks.Keepers() {
			root := k.Root("/srv/root")
			l, err := root.Lineage(name)
			if (err == nil) != (lineage.CheckName(name) == nil) {
				t.Fatalf("%s: CheckName and Lineage do not agree on %q", k.Name, name)
			}
			if err != nil {
				continue
			}
			for path, pattern := range map[string]string{l.Fullchain: k.Layout.Fullchain, l.Key: k.Layout.Key} {
				parent := path
				for range strings.Count(pattern, "/") + 1 {
					parent = filepath.Dir(parent)
				}
				if parent != root.Dir || path != filepath.Clean(path) {
					t.Fatalf("%s: %q leads to %q", k.Name, name, path)
				}
			}
		}
	})
}

func TestDescribe(t *testing.T) {
	from := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	leaf := pki.NewCA(t, "Root").Leaf(t, pki.Names("a.example", "*.b.example", "192.0.2.1", "2001:db8::1", "sip:a.example"), pki.Valid(from, from.AddDate(0, 3, 0)), pki.RSA(2048))
	cert := *leaf.Cert
	cert.SerialNumber.SetInt64(0xabc)
	got := lineage.Describe(&cert)
	want := lineage.Leaf{
		Fingerprint: got.Fingerprint,
		Serial:      "0abc",
		Names:       []string{"a.example", "*.b.example", "192.0.2.1", "2001:db8::1", "sip:a.example"},
		Issuer:      "CN=Root",
		NotBefore:   from.UTC(),
		NotAfter:    from.AddDate(0, 3, 0).UTC(),
		Key:         "rsa-2048",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Describe (-want +got):\n%s", diff)
	}
	if len(got.Fingerprint) != 64 || got.Short() != got.Fingerprint[:8] || got.NotBefore.Location() != time.UTC {
		t.Errorf("fingerprint %q, short %q, zone %v", got.Fingerprint, got.Short(), got.NotBefore.Location())
	}
	if label := lineage.Label(&cert); label != `"a.example" (serial 0abc)` {
		t.Errorf("Label is %s", label)
	}
	cert.Subject.CommonName = "two\nlines\x1b[31m"
	if label := lineage.Label(&cert); label != `"two\nlines\x1b[31m" (serial 0abc)` {
		t.Errorf("Label is %s", label)
	}
}

func second[T any](_ T, err error) error { return err }

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestIs matches names with the client and without.
func TestIs(t *testing.T) {
	l := lineage.Lineage{Client: "certbot", Name: "a.example"}
	for text, want := range map[string]bool{"a.example": true, "certbot:a.example": true, "acme.sh:a.example": false, "a": false, "certbot:": false} {
		if l.Is(text) != want {
			t.Errorf("Is(%q) is %v", text, !want)
		}
	}
}

func TestRootHolds(t *testing.T) {
	top := t.TempDir()
	root := rootOf(t, "certbot", filepath.Join(top, "live"))
	touch(t, filepath.Join(top, "archive/a/privkey1.pem"))
	touch(t, filepath.Join(top, "other/privkey.pem"))
	for name, to := range map[string]string{"in": "archive/a/privkey1.pem", "out": "other/privkey.pem", "nowhere": "archive/a/missing"} {
		if err := os.Symlink(filepath.Join(top, to), filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	if root.Holds(filepath.Join(top, "in")) {
		t.Error("a root that is not there holds something")
	}
	touch(t, filepath.Join(root.Dir, "a/README"))
	for name, want := range map[string]bool{
		"live/a/README": true, "live/missing": true, "liver": false, "archive/a/privkey1.pem": true,
		"in": true, "out": false, "nowhere": false, "missing": false, "other/privkey.pem": false,
	} {
		if got := root.Holds(filepath.Join(top, name)); got != want {
			t.Errorf("Holds(%s) is %v", name, got)
		}
	}
}

// TestRootListFails wants an error for a root that cannot be read, which is not
// an empty one.
func TestRootListFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "live")
	touch(t, file)
	if list, err := rootOf(t, "certbot", file).List(); err == nil {
		t.Errorf("List returns %v", list)
	}
}

// TestDigest wants the digest to change with each of the files, and with
// whether it can be read.
func TestDigest(t *testing.T) {
	dir := t.TempDir()
	root := rootOf(t, "lego", dir)
	for _, name := range []string{"a.crt", "a.issuer.crt", "a.key"} {
		touch(t, filepath.Join(dir, name))
	}
	l, err := root.Find("a")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[any]string{lineage.Digest(l): "what there was"}
	if len(seen) != 1 || seen[lineage.Digest(l)] == "" {
		t.Error("two looks at the same files differ")
	}
	for what, change := range map[string]func(path string) error{
		"another content": func(path string) error { return os.WriteFile(path, []byte(path), 0o600) },
		"no file":         os.Remove,
	} {
		for _, path := range []string{l.Fullchain, l.Chain, l.Key} {
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			if was := seen[lineage.Digest(l)]; was != "" {
				t.Errorf("%s of %s is the same as %s", what, path, was)
			}
			seen[lineage.Digest(l)] = what + " of " + path
			touch(t, path)
		}
	}
}

// TestRootLinkOut wants a lineage that is a link out of its root to be one, which
// cannot be read, even where there is nothing: it may not be mounted. Other links
// that lead nowhere are none.
func TestRootLinkOut(t *testing.T) {
	root := lineage.Root{Client: "certbot", Layout: lineage.Layout{Fullchain: "{dir}/fullchain.pem", Key: "{dir}/privkey.pem"}, Dir: t.TempDir()}
	for name, to := range map[string]string{"out.example": "/nowhere/out.example", "left.example": "gone"} {
		if err := os.Symlink(to, filepath.Join(root.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	all, err := root.List()
	if err != nil || len(all) != 1 || all[0].Name != "out.example" {
		t.Fatalf("got %v (%v)", all, err)
	}
	if _, is, err := root.Listed("out.example"); !is || err != nil {
		t.Errorf("listed: %v (%v)", is, err)
	}
	for _, f := range lineage.Unreadable(all[0]) {
		if f.Code != lineage.Outside || !strings.Contains(f.Detail, "/nowhere") {
			t.Errorf("got %s", f)
		}
	}
}
