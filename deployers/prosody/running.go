package prosody

import (
	"path/filepath"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// instance is the Prosody that a target is about, as far as it says which configuration
// that reads.
type instance struct {
	config string
	says   string // how it is known, for people; empty: by the options alone
}

// instanceOf returns the Prosody that runs, or else the one that its unit starts, or else
// the one of the target's options.
func instanceOf(t deployers.Target, f deployers.Facts) instance {
	options := t.Options.(*Options)
	if f.Argv != nil {
		return options.startedWith(f.Unit.Name+" runs", f.Argv)
	}
	return options.startedWith(f.Unit.Name+" starts", f.Unit.ExecStart)
}

// startedWith returns the instance that some arguments start. Without --config it reads the
// file that is compiled in, which is what the options are for.
func (o *Options) startedWith(how string, argv []string) instance {
	for n, word := range argv {
		value, ok := strings.CutPrefix(word, "--config=")
		if word == "--config" && n+1 < len(argv) {
			value, ok = argv[n+1], true
		}
		if ok && value != "" && !strings.Contains(value, "$") {
			return instance{under(filepath.Dir(o.Config), value), how + " Prosody with --config " + value}
		}
	}
	return instance{config: o.Config}
}

// describe says where the configuration is not the one that the options have.
func (i instance) describe(plan *deployers.Plan, o *Options) {
	switch {
	case i.config == o.Config:
	case o.Config == configPath:
		plan.Fine(deployers.Configuration, "%s, so that is what is read and tested", i.says)
	default:
		plan.Warn(deployers.Configuration, "set prosody: {config: "+i.config+"} for the target, or let the unit start it with "+o.Config,
			"%s, and the target's prosody.config is %s: the former is read and tested", i.says, o.Config)
	}
}
