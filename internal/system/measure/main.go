// Measure runs a program and prints as JSON what that took: time, processor
// time and memory, with those of all its children that were waited for.
//
// It does not promise to count what a service does meanwhile.
package main

import (
	"encoding/json"
	"errors"
	"log"
	"os"
	"os/exec"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: measure PROGRAM [ARGUMENT...]")
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

func run(program string, args []string) error {
	// A pipe would have to be read meanwhile.
	said, err := os.CreateTemp("", "measure-")
	if err != nil {
		return err
	}
	defer os.Remove(said.Name())
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = said, said
	began := time.Now()
	err = cmd.Run()
	wall := time.Since(began)
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		return err
	}
	output, err := os.ReadFile(said.Name())
	if err != nil {
		return err
	}
	ended := cmd.ProcessState
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"wall":   wall,
		"cpu":    ended.UserTime() + ended.SystemTime(),
		"memory": ended.SysUsage().(*syscall.Rusage).Maxrss, // kB (getrusage(2))
		"exit":   ended.ExitCode(),
		"output": string(output),
	})
}
