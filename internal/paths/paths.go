// Package paths compares absolute, clean paths by their text.
//
// It looks at no file system, so it does not promise that two paths lead to
// different files.
package paths

import "strings"

// Below returns a path relative to dir, and reports whether it is below dir.
// Nothing is below "".
func Below(path, dir string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, strings.TrimSuffix(dir, "/")+"/")
	if !ok || rest == "" || dir == "" {
		return "", false
	}
	return rest, true
}

// Within reports whether a path is dir, or below it. Nothing is within "".
func Within(path, dir string) bool {
	_, below := Below(path, dir)
	return below || path == dir && dir != ""
}
