package deployers

import "sync"

// Made keeps what deployers have made of texts, such as a configuration that was
// parsed, so that it is made once for all lineages and targets of a run. The zero
// Made is ready, and may be used by several goroutines.
type Made struct{ all sync.Map }

// made is what is kept: by whom, and of which text.
type made struct{ by, of string }

// Once returns what a function makes of a text, or has made of it before. The
// function must depend on the text alone, and what it returns is not to be written
// to. Each function has a name of its own, by.
func Once[T any](f Facts, by, text string, parse func(string) T) T {
	if f.Made == nil {
		return parse(text)
	}
	key := made{by, text}
	kept, ok := f.Made.all.Load(key)
	if !ok {
		kept, _ = f.Made.all.LoadOrStore(key, sync.OnceValue(func() T { return parse(text) }))
	}
	return kept.(func() T)()
}
