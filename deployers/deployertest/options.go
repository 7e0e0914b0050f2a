package deployertest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/config"
)

// checkOptions wants the service's block to read back as it is shown, and
// returns targets with the blocks that it was tried with: that of defaults, and
// those of testdata/options.yaml.
func (s *suite) checkOptions() []deployers.Target {
	options := s.deployer.Options()
	value := reflect.ValueOf(options)
	if value.Kind() != reflect.Pointer || value.Elem().Kind() != reflect.Struct {
		s.flaw("Options returns a %T: return a pointer to a new struct, with the defaults set", options)
		return nil
	}
	if value.Elem().NumField() > 0 && value.Pointer() == reflect.ValueOf(s.deployer.Options()).Pointer() {
		s.flaw("Options returns one value twice, so targets would share it: make a new one each time")
	}
	keys := map[string]bool{} // whether a block has it
	for field := range value.Elem().Type().Fields() {
		key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if key == "" {
			s.flaw("the field %s of its options has no key: give it a yaml tag", field.Name)
			continue
		}
		keys[key] = false
	}
	blocks, err := optionBlocks(filepath.Join(s.room, "testdata", "options.yaml"))
	if err != nil {
		s.flaw("its blocks cannot be read: %v", err)
	}
	targets := []deployers.Target{}
	for _, block := range append([]string{""}, blocks...) {
		if t, ok := s.configured(block); ok {
			targets = append(targets, t)
		}
		for key := range keys {
			keys[key] = keys[key] || regexp.MustCompile(`[{ ]`+regexp.QuoteMeta(key)+`:`).MatchString(block)
		}
	}
	for key, tried := range keys {
		if !tried {
			s.flaw("no block has the key %s: write to testdata/options.yaml, one a line, blocks as they may stand in a configuration, such as \"- {%s: VALUE}\"", key, key)
		}
	}
	return targets
}

// optionBlocks returns the blocks of a file, one a line.
func optionBlocks(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var blocks []string
	for line := range strings.Lines(string(text)) {
		if block, ok := strings.CutPrefix(strings.TrimSpace(line), "- "); ok {
			blocks = append(blocks, block)
		}
	}
	return blocks, err
}

// configured returns the target of a configuration with a block of the service,
// empty for none, and wants it to read back as it is shown.
func (s *suite) configured(block string) (t deployers.Target, ok bool) {
	defer s.guard(&ok, "the configuration with the block %q", block)
	text := fmt.Sprintf("lineages: [{certbot: /etc/letsencrypt/live}]\ntargets:\n  - {name: own, service: %s, lineage: web.example, LAYOUT}\n", s.deployer.Name())
	if block != "" {
		text = strings.Replace(text, "LAYOUT", s.deployer.Name()+": "+block+", LAYOUT", 1)
	}
	var cfg *config.Config
	var err error
	for _, layout := range []string{"certificate: /etc/x/cert.pem, key: /etc/x/key.pem", ""} {
		if cfg, err = config.Parse("options.yaml", []byte(strings.Replace(text, "LAYOUT", layout, 1))); err == nil {
			break
		}
	}
	if err != nil {
		s.flaw("the block %q is refused: correct it, or the check: %v", block, err)
		return t, false
	}
	var shown bytes.Buffer
	if err := cfg.Show(&shown); err != nil {
		s.flaw("the block %q cannot be shown: %v", block, err)
		return t, false
	}
	again, err := config.Parse("shown.yaml", shown.Bytes())
	if err != nil {
		s.flaw("what config show prints of the block %q is refused: let MarshalText write what UnmarshalText reads: %v", block, err)
		return t, false
	}
	if diff := cmp.Diff(withoutPassword(cfg.Targets[0].Options), withoutPassword(again.Targets[0].Options), cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
		s.flaw("what config show prints of the block %q reads as another: let MarshalText write what UnmarshalText reads:\n%s", block, diff)
	}
	return cfg.Targets[0].Target, true
}

// withoutPassword returns options without what is not shown.
func withoutPassword(options any) any {
	clone := reflect.New(reflect.TypeOf(options).Elem())
	clone.Elem().Set(reflect.ValueOf(options).Elem())
	for _, value := range clone.Elem().Fields() {
		if url, ok := value.Interface().(deployers.DatabaseURL); ok && value.CanSet() {
			value.Set(reflect.ValueOf(deployers.DatabaseURL(url.String())))
		}
	}
	return clone.Interface()
}
