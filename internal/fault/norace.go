//go:build !race

package fault

// race reports whether the race detector is built in.
const race = false
