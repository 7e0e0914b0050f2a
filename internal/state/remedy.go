package state

import "errors"

// RemedyOf returns what to do about an error of the state directory; empty: that
// is not known.
func RemedyOf(err error) string {
	if directory, is := errors.AsType[*DirectoryError](err); is {
		return directory.Remedy()
	}
	if unreadable, is := errors.AsType[*UnreadableError](err); is {
		return unreadable.Remedy()
	}
	return ""
}
