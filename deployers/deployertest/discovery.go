package deployertest

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/proposal"
)

// checkDiscovery wants certlatch init to find the service, or each of several. One
// without a unit of its own is none in particular, and is not looked for.
func (s *suite) checkDiscovery() {
	if several, is := s.deployer.(deployers.Several); is {
		for _, d := range several.Each() {
			if d.Name() != s.deployer.Name() {
				s.flaw("Each returns one that is called %s: let it have the Deployer's name", d.Name())
				continue
			}
			s.checkDiscoverer(d)
		}
		return
	}
	d, ok := s.deployer.(deployers.Discoverer)
	switch {
	case !ok && s.unit() == "":
		return
	case !ok:
		s.flaw("no discovery: write a method Discover, which certlatch init finds the service by")
		return
	}
	s.checkDiscoverer(d)
}

func (s *suite) checkDiscoverer(d deployers.Discoverer) {
	if found, ok := s.discovered(d, host{name: "whose unit is absent", systemd: true, unit: units()["absent"], content: func(string) string { return "" }}, false); ok {
		if found.Installed || found.Uses != nil || found.Unknown != nil {
			s.flaw("Discover finds it on a host that has nothing of it: let Installed depend on the facts, and return where it is not: %+v", found)
		}
	}
	samples, _ := samples(s.room) // checkPlans has reported an error
	for _, h := range hosts(samples) {
		s.discovered(d, h, true)
	}
	found, ok := s.discovered(d, host{name: "whose unit is running", systemd: true, unit: units()["running"], content: func(string) string { return "" }}, false)
	if !ok {
		return
	}
	if !found.Installed {
		s.flaw("Discover does not find it where its unit is loaded: set Installed by Facts' Unit")
		return
	}
	s.checkProposal(found)
}

// discovered returns what the service takes its certificates from on a host;
// without files, from the host's defaults alone, with no configuration and no
// answers.
func (s *suite) discovered(d deployers.Discoverer, h host, files bool) (found deployers.Discovery, ok bool) {
	defer s.guard(&ok, "Discover on a host %s", h.name)
	t := deployers.Target{Service: d.Name(), Options: d.Options()}
	d.Defaults(&t)
	facts, _ := h.facts(d, t) // checkPlans reports those that do not end
	if !files {
		for path := range facts.Texts {
			facts.Texts[path] = nil
		}
		facts.Answers = map[deployers.Query]deployers.Answer{}
	}
	return d.Discover(t, facts), true
}

// roles matches the roles that a service may have: targets are called by them.
var roles = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

// checkProposal wants a first configuration for a use of the service to be
// valid.
func (s *suite) checkProposal(found deployers.Discovery) {
	inPlace := found.Certificate != "" && found.Key != ""
	switch {
	case !roles.MatchString(found.Role):
		s.flaw("Discover's Role is %q: set it to what a target for the service is called, such as web", found.Role)
		return
	case (found.Directory != "") == inPlace:
		s.flaw("Discover does not say where a pair for it would go: set either Directory, or Certificate and Key, with {lineage} in them")
		return
	case !strings.Contains(strings.Join(found.Lines, "\n"), "{certificate}"):
		s.flaw("Discover's Lines do not name a pair: set them to those of the service's configuration, with {certificate} and {key}")
	}
	dir := "/etc/letsencrypt/live"
	own := proposal.Lineage{
		Lineage: lineage.Lineage{Client: "certbot", Name: "web.example", Fullchain: dir + "/web.example/fullchain.pem", Key: dir + "/web.example/privkey.pem"},
		Leaf:    lineage.Leaf{Names: []string{"web.example"}},
	}
	found.Uses = []deployers.Use{{Where: "its configuration", Names: []string{"web.example"}}}
	p := proposal.Make(proposal.Host{
		Roots: []lineage.Root{{Client: "certbot", Dir: dir}}, Lineages: []proposal.Lineage{own},
		Services: []proposal.Service{{Name: s.deployer.Name(), Discovery: found}},
	})
	var text bytes.Buffer
	if err := p.Write(&text); err != nil {
		s.flaw("what certlatch init proposes for it cannot be written: %v", err)
		return
	}
	cfg, err := config.Parse("proposed.yaml", text.Bytes())
	if err != nil {
		s.flaw("what certlatch init proposes for it is refused: correct Discover: %v\n%s", err, text.Bytes())
		return
	}
	if len(cfg.Targets) != 1 || cfg.Targets[0].Service != s.deployer.Name() || cfg.Targets[0].Name != found.Role {
		s.flaw("certlatch init proposes no target for it: correct Discover:\n%s", text.Bytes())
		return
	}
	t := cfg.Targets[0]
	for _, path := range []string{t.Directory, t.Certificate, t.Key} {
		if path != "" && !strings.Contains(path, "web.example") {
			s.flaw("all lineages would go to %s: put {lineage} into Discover's %s", path, fmt.Sprintf("Directory, Certificate and Key (%s)", filepath.Base(path)))
		}
	}
}
