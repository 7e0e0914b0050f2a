// Command startup holds a program against two limits that its users feel when
// a hook or a monitor calls it: its size, and the time that its version
// command takes, as a multiple of openssl's. Both are run in turns, so that a
// busy machine is as busy for the one as for the other.
//
// It does not promise more than the order of magnitude: a median of many
// rounds still depends on the machine.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"
)

const rounds = 101

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "startup:", err)
		os.Exit(1)
	}
}

func run() error {
	size := flag.Int64("size", 0, "largest size of the program in `bytes`")
	ratio := flag.Float64("ratio", 0, "longest start-up, as a `multiple` of that of openssl version")
	flag.Parse()
	if flag.NArg() != 1 {
		return errors.New("usage: startup -size BYTES -ratio MULTIPLE PROGRAM")
	}
	program := flag.Arg(0)

	info, err := os.Stat(program)
	if err != nil {
		return err
	}
	fmt.Printf("size      %.1f MB, limit %.1f MB\n", float64(info.Size())/1e6, float64(*size)/1e6)

	var ours, theirs []time.Duration
	for range rounds {
		for name, took := range map[string]*[]time.Duration{program: &ours, "openssl": &theirs} {
			began := time.Now()
			if err := exec.Command(name, "version").Run(); err != nil {
				return fmt.Errorf("%s version: %w", name, err)
			}
			*took = append(*took, time.Since(began))
		}
	}
	got := float64(median(ours)) / float64(median(theirs))
	fmt.Printf("start-up  %.2f times openssl's (%v and %v), limit %.2f\n",
		got, median(ours).Round(10*time.Microsecond), median(theirs).Round(10*time.Microsecond), *ratio)

	if info.Size() > *size || got > *ratio {
		return errors.New("beyond the limit")
	}
	return nil
}

func median(of []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(of))[len(of)/2]
}
