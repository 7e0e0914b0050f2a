package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestDemo plays the demo with both kinds of server, as the program it is.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	build := func(name, from, pkg string) string {
		t.Helper()
		program := filepath.Join(dir, name)
		cmd := exec.Command("go", "build", "-o", program, pkg)
		cmd.Dir = from
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		return program
	}
	demo := build("demo", ".", ".")
	certlatch := build("certlatch", "../../..", "./cmd/certlatch")
	pebble := build("pebble", ".", "github.com/letsencrypt/pebble/v2/cmd/pebble")

	for _, server := range []string{"embedded", "nginx"} {
		t.Run(server, func(t *testing.T) {
			if server == "nginx" && nginxBinary() == "" {
				if os.Getenv("CI") == "true" {
					t.Fatal("needs nginx, and CI=true")
				}
				t.Skip("needs nginx")
			}
			temporary := t.TempDir()
			cmd := exec.CommandContext(t.Context(), demo, "-certlatch", certlatch, "-pebble", pebble, "-server", server)
			cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			left, err := os.ReadDir(temporary)
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}
