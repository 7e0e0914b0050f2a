package inspect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/need"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/proposal"
)

// nginx lets nginx say that it takes a certificate and a key.
func (s *scene) nginx(certificate, key string) {
	s.world.answers = "nginx"
	s.world.units["nginx.service"] = deployers.Unit{LoadState: "loaded", ActiveState: "inactive"}
	s.world.output.Stdout = fmt.Sprintf("# configuration file /etc/nginx/nginx.conf:\nhttp { server { listen 443 ssl; server_name web.example; ssl_certificate %s; ssl_certificate_key %s; } }\n", certificate, key)
}

func (s *scene) survey() proposal.Host {
	s.t.Helper()
	host, err := s.Survey(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return host
}

// TestSurvey is about what a first configuration is made of.
func TestSurvey(t *testing.T) {
	s := newScene(t, "")
	s.renew("broken.example")
	s.truncate("live/broken.example/fullchain.pem")
	s.nginx(s.path("live/web.example/fullchain.pem"), s.path("live/web.example/privkey.pem"))
	host := s.survey()
	if diff := cmp.Diff(s.Site.Config.Roots, host.Roots); diff != "" {
		t.Errorf("it looks elsewhere: %s", diff)
	}
	if len(host.Lineages) != 1 || host.Lineages[0].Name != "web.example" || host.Lineages[0].Leaf.Fingerprint != lineage.Fingerprint(s.renewed.Cert) {
		t.Errorf("the lineages are %v", host.Lineages)
	}
	if len(host.Unknown) != 1 || !strings.HasPrefix(host.Unknown[0], "the lineage certbot:broken.example cannot be read: no-certificate: ") {
		t.Errorf("unknown is %q", host.Unknown)
	}
	at := slices.IndexFunc(host.Services, func(service proposal.Service) bool { return service.Name == "nginx" })
	if at < 0 || len(host.Services[at].Uses) != 1 {
		t.Fatalf("the services are %v", host.Services)
	}
	leaf := lineage.Describe(s.renewed.Cert)
	for path, want := range map[string]proposal.File{
		host.Services[at].Uses[0].Certificate: {Leaf: &leaf, Link: true, Kept: "certbot:web.example", KeptBy: "certbot"},
		host.Services[at].Uses[0].Key:         {Link: true, KeptBy: "certbot"},
	} {
		if diff := cmp.Diff(want, host.Files[path]); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	s.isClosed()
}

// TestSurveyFiles is about what is found at a path that a service names.
func TestSurveyFiles(t *testing.T) {
	s := newScene(t, "")
	s.mkdir("own")
	self := pki.SelfSigned(t, pki.Names("own.example"))
	s.write("own/self.pem", self.Fullchain)
	s.write("own/copy.pem", s.renewed.Fullchain)
	s.write("own/none.pem", []byte("no certificate"))
	s.link("own/link.pem", "live/web.example/fullchain.pem")
	beside, err := filepath.EvalSymlinks(s.path("live/web.example/cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	renewed, selfSigned, first := lineage.Describe(s.renewed.Cert), lineage.Describe(self.Cert), lineage.Describe(s.first.Cert)
	for path, want := range map[string]proposal.File{
		s.path("own/self.pem"):                  {Leaf: &selfSigned, SelfIssued: true},
		s.path("own/copy.pem"):                  {Leaf: &renewed},
		s.path("own/none.pem"):                  {},
		s.path("own/not-there.pem"):             {},
		s.path("no-directory/not-there.pem"):    {},
		s.path("own/link.pem"):                  {Leaf: &renewed, Link: true, Kept: "certbot:web.example", KeptBy: "certbot"},
		beside:                                  {Leaf: &renewed, Kept: "certbot:web.example", KeptBy: "certbot"},
		s.path("archive/web.example/cert1.pem"): {Leaf: &first, KeptBy: "certbot"},
	} {
		s.nginx(path, s.path("own/not-there.key"))
		if diff := cmp.Diff(want, s.survey().Files[path]); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	s.remove("live/web.example/fullchain.pem")
	l := proposal.Lineage{Lineage: lineage.Lineage{Fullchain: s.path("live/web.example/fullchain.pem")}}
	if kept, is := keepersOf([]proposal.Lineage{l}).of(s.path("own/copy.pem"), nil); is {
		t.Errorf("a lineage that is gone keeps a file: %v", kept)
	}
}

// Without a configuration it is looked through the usual places.
func TestSurveyOfTheUsualPlaces(t *testing.T) {
	need.Root(t) // some are root's alone
	s := newScene(t, "")
	s.Site.Config.Roots = nil
	if diff := cmp.Diff(hooks.UsualRoots(), s.survey().Roots); diff != "" {
		t.Error(diff)
	}
}

// What cannot be found out of one service is told, and of all fails.
func TestSurveyFails(t *testing.T) {
	s := newScene(t, "")
	s.world.noUnits = errors.New("no answer")
	host := s.survey()
	if !slices.Contains(host.Unknown, "nginx: no answer") || len(host.Services) > 0 {
		t.Errorf("unknown is %q, and there are %v", host.Unknown, host.Services)
	}

	s.world.noUnits, s.world.down = nil, errors.New("gone")
	if _, err := s.Survey(t.Context()); !isSystemd(err) {
		t.Errorf("without systemd it says %v", err)
	}

	s.world.down = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if host, err := s.Survey(ctx); !errors.Is(err, context.Canceled) || host.Lineages != nil {
		t.Errorf("after its end it says %v, %v", host, err)
	}

	s.remove("live")
	if err := os.WriteFile(s.path("live"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if host, err := s.Survey(t.Context()); err == nil {
		t.Errorf("without a place of lineages there is %v", host)
	}
}

func isSystemd(err error) bool {
	_, is := errors.AsType[*outcome.SystemdError](err)
	return is
}

// A link on the way to a certificate is the one to remove, and not what it leads to.
func TestLinkBelow(t *testing.T) {
	dir := t.TempDir()
	live := filepath.Join(dir, "live", "im.example")
	if err := os.MkdirAll(live, 0o755); err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(dir, "certs")
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"linked": live, "a.crt": filepath.Join(live, "fullchain.pem")} {
		if err := os.Symlink(to, filepath.Join(tree, name)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string][]string{
		"linked/fullchain.pem": {filepath.Join(tree, "linked")}, "a.crt": {filepath.Join(tree, "a.crt")}, "b.crt": nil, "../live/im.example": nil,
	} {
		if got := linkBelow(tree, filepath.Join(tree, path)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
