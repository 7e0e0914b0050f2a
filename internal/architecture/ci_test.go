package architecture

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// workflow is a workflow of GitHub's, as far as it is checked
// (https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax).
type workflow struct {
	On          map[string]any
	Permissions map[string]string
	Jobs        map[string]struct {
		Container struct{ Image string }
		Allowed   bool `yaml:"continue-on-error"`
		Steps     []struct{ Uses, Run string }
	}
}

// flaws returns what is wrong with a workflow: others than GitHub itself have
// code in it, or any that may change without a word; it may do more than read;
// or .ci/run does not decide.
func (w workflow) flaws(goVersion string) (found []string) {
	if len(w.Permissions) != 1 || w.Permissions["contents"] != "read" {
		found = append(found, fmt.Sprintf("it may do %v: contents: read is enough", w.Permissions))
	}
	for _, event := range []string{"push", "pull_request", "schedule"} {
		if _, ok := w.On[event]; !ok {
			found = append(found, "it does not run on "+event)
		}
	}
	decides := false
	for name, job := range w.Jobs {
		for _, step := range job.Steps {
			if step.Uses != "" && !regexp.MustCompile(`^actions/[a-z-]+@v\d+$`).MatchString(step.Uses) {
				found = append(found, fmt.Sprintf("%s uses %s: only GitHub's own, by their major version", name, step.Uses))
			}
		}
		calls := slices.ContainsFunc(job.Steps, func(s struct{ Uses, Run string }) bool { return s.Run == ".ci/run" })
		if !calls {
			found = append(found, name+" does not call .ci/run")
		}
		if !strings.HasPrefix(job.Container.Image, "golang:"+goVersion+"-") {
			found = append(found, fmt.Sprintf("%s runs in %s, and go.mod is for Go %s", name, job.Container.Image, goVersion))
		}
		decides = decides || calls && !job.Allowed
	}
	if !decides {
		found = append(found, "whatever .ci/run says, it passes")
	}
	return found
}

func readWorkflow(t *testing.T, text string) (w workflow) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &w); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestPublicCI checks the workflow, and that changes for the worse are noticed.
func TestPublicCI(t *testing.T) {
	text, err := os.ReadFile("../../.github/workflows/ci.yml")
	if err != nil {
		t.Fatal(err)
	}
	gomod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	goVersion := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(gomod))[1]
	for _, flaw := range readWorkflow(t, string(text)).flaws(goVersion) {
		t.Error(flaw)
	}
	for before, after := range map[string]string{
		"contents: read":     "contents: write",
		"pull_request:":      "pull_request_target:",
		"schedule:":          "release:",
		"actions/checkout@v": "actions/checkout@main # v",
		"uses: actions/":     "uses: somebody/",
		"run: .ci/run":       "run: make test",
		"timeout-minutes":    "continue-on-error: true # timeout",
		"image: golang:":     "image: debian:",
	} {
		if changed := strings.Replace(string(text), before, after, 1); readWorkflow(t, changed).flaws(goVersion) == nil {
			t.Errorf("nobody notices %q in place of %q", after, before)
		}
	}
}
