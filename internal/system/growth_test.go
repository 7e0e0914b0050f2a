package system

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/internal/need"
	"github.com/certlatch/certlatch/internal/pki"
)

// The bounds of how work grows with the servers of one nginx and their lineages, of
// which there are ten times as many. What there is once a run makes it less than
// tenfold; what is done for each of them and grows with them makes it near a
// hundredfold.
const (
	fewServers, manyServers = 10, 100
	mostGrowth              = 12
)

// working are the system calls that do something, and are not the Go runtime's
// own: to look at files, to write them, and to speak to somebody.
const working = "openat,newfstatat,fstat,readlinkat,getdents64,read,pread64,write,close,socket,connect,sendto,sendmsg,recvmsg," +
	"renameat,renameat2,unlinkat,mkdirat,symlinkat,linkat,fchown,fchmod,fsync,execve"

// TestGrowth holds that ten times the servers and lineages of a real nginx take ten
// times the system calls, and no more programs.
func TestGrowth(t *testing.T) {
	t.Parallel()
	needMachine(t)
	need.Program(t, "strace")
	h := boot(t, root(t, trixie), goBuild(t, "certlatch", "../..", "build", "-trimpath", "./cmd/certlatch"))
	f := fleet{TB: t, host: h, ca: newAuthority(t)}
	few := f.calls(fewServers)
	many := f.calls(manyServers)
	for _, args := range fleetCommands {
		before, after := few[args], many[args]
		growth := float64(after.all) / float64(before.all)
		t.Logf("certlatch %s: %d calls, then %.1f times as many; %d programs", args, before.all, growth, before.programs)
		if growth > mostGrowth {
			t.Errorf("certlatch %s: %d system calls for %d servers, and %d for %d", args, before.all, fewServers, after.all, manyServers)
		}
		if before.programs != after.programs {
			t.Errorf("certlatch %s: %d programs for %d servers, and %d for %d", args, before.programs, fewServers, after.programs, manyServers)
		}
	}
}

// fleetCommands are the command lines that are about every lineage, the first of
// which finds them renewed, and the others served.
var fleetCommands = []string{"deploy", "deploy --json", "deploy --dry-run", "status", "doctor --target web", "validate --all"}

// fleet is a host whose nginx serves many names, each with a certificate of its own.
type fleet struct {
	testing.TB
	host *host
	ca   authority
}

// called is what a command called.
type called struct{ all, programs int }

// calls lets nginx serve a number of names whose lineages were renewed since, and
// returns what each of the commands then calls.
func (f fleet) calls(servers int) map[string]called {
	f.Helper()
	var conf strings.Builder
	conf.WriteString("server_names_hash_max_size 4096;\n")
	for n := range servers {
		name := fmt.Sprintf("n%03d.web.example", n)
		old := f.ca.leaf(f, name)
		f.write("/etc/nginx/tls/"+name+".crt", string(old.Fullchain))
		f.write("/etc/nginx/tls/"+name+".key", string(old.Key))
		pki.WriteCertbot(f, f.host.path("/etc/letsencrypt/live"), name, f.ca.leaf(f, name))
		fmt.Fprintf(&conf, "server { listen 127.0.0.1:443 ssl; server_name %[1]s; ssl_certificate tls/%[1]s.crt; ssl_certificate_key tls/%[1]s.key; }\n", name)
	}
	f.write("/root/ca.pem", string(f.ca.root()))
	f.write("/etc/nginx/conf.d/fleet.conf", conf.String())
	f.write("/etc/certlatch/config.yaml", `
policy: {trust: /root/ca.pem}
targets:
  - {name: web, service: nginx, lineage: "*.web.example", certificate: "/etc/nginx/tls/{lineage}.crt", key: "/etc/nginx/tls/{lineage}.key"}
`)
	if _, err := f.host.run("systemctl", "restart", "nginx.service"); err != nil {
		f.Fatal(err)
	}
	calls := map[string]called{}
	for _, args := range fleetCommands {
		calls[args] = f.trace(append([]string{"certlatch"}, strings.Fields(args)...))
	}
	return calls
}

func (f fleet) write(path, content string) {
	f.Helper()
	path = f.host.path(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		f.Fatal(err)
	}
}

// trace runs a program inside, and returns what it calls, with the programs that it
// starts. strace runs on this machine, since the hosts have none.
func (f fleet) trace(args []string) (c called) {
	f.Helper()
	counts := filepath.Join(f.TempDir(), "counts")
	argv := append([]string{"-f", "-qq", "-c", "-U", "calls,name", "-e", "trace=" + working, "-o", counts}, f.host.command(args...)...)
	if out, err := exec.Command("strace", argv...).CombinedOutput(); err != nil {
		f.Fatalf("%s: %v\n%s", args, err, out)
	}
	table, err := os.ReadFile(counts)
	if err != nil {
		f.Fatal(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(table)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) != 2 {
			continue
		}
		times, err := strconv.Atoi(fields[0])
		switch {
		case err != nil: // the head of the table, or a line below it
		case fields[1] == "execve":
			c.programs = times
		case fields[1] != "total":
			c.all += times
		}
	}
	if c.all == 0 || c.programs == 0 {
		f.Fatalf("%s: strace counts %s", args, table)
	}
	return c
}
