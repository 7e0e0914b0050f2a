//go:build !race

package fault

// race tells that the race detector is built in.
const race = false
