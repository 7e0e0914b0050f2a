// Command idle prints what the daemon needs while nothing happens: memory and
// processor time, for a growing number of lineages that it watches. Their
// target is held, so that nothing is deployed.
//
// It does not promise the same figures on another machine.
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// rest is how long the daemon is measured.
const rest = 10 * time.Second

// patience bounds the wait until the daemon is at rest.
const patience = time.Minute

func main() {
	flag.Parse()
	if flag.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "usage: idle PROGRAM LINEAGES...")
		os.Exit(2)
	}
	for _, text := range flag.Args()[1:] {
		n, err := strconv.Atoi(text)
		if err == nil {
			err = measure(flag.Arg(0), n)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "idle:", err)
			os.Exit(1)
		}
	}
}

func measure(program string, lineages int) (err error) {
	dir, err := os.MkdirTemp("", "certlatch-idle-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := furnish(dir, lineages); err != nil {
		return err
	}
	config := filepath.Join(dir, "config.yaml")
	if out, err := exec.Command(program, "--config", config, "hold", "idle").CombinedOutput(); err != nil {
		return fmt.Errorf("hold: %w\n%s", err, out)
	}
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify")})
	if err != nil {
		return err
	}
	defer notify.Close()
	daemon := exec.Command(program, "--config", config, "watch")
	daemon.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	var log bytes.Buffer
	daemon.Stderr = &log
	began := time.Now()
	if err := daemon.Start(); err != nil {
		return err
	}
	defer func() {
		if end := daemon.Process.Signal(syscall.SIGTERM); err == nil {
			err = end
		}
		if end := daemon.Wait(); end != nil {
			err = fmt.Errorf("%w\n%s", end, log.Bytes())
		}
	}()
	if err := awaitReady(notify); err != nil {
		return err
	}
	ready := time.Since(began)

	pid := daemon.Process.Pid
	used, err := processor(pid)
	for start := time.Now(); err == nil; {
		time.Sleep(time.Second)
		before := used
		if used, err = processor(pid); used == before {
			break
		}
		if time.Since(start) > patience {
			return fmt.Errorf("the daemon does not come to rest with %d lineages", lineages)
		}
	}
	if err != nil {
		return err
	}
	time.Sleep(rest)
	after, err := processor(pid)
	if err != nil {
		return err
	}
	memory, err := field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")
	if err != nil {
		return err
	}
	watches, err := watches(pid)
	if err != nil {
		return err
	}
	fmt.Printf("watch     %5d lineages: ready after %v with %v of processor time, %.1f MB, %d watches; then %v in %v\n",
		lineages, ready.Round(10*time.Millisecond), used, float64(memory)/1e3, watches, after-used, rest)
	return nil
}

// furnish writes a configuration, and lineages as certbot keeps them, which all
// hold the same pair.
func furnish(dir string, lineages int) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"idle.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 3, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"fullchain": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"privkey":   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
	for n := range lineages {
		name := fmt.Sprintf("n%05d.example", n)
		live, archive := filepath.Join(dir, "live", name), filepath.Join(dir, "archive", name)
		for _, d := range []string{live, archive} {
			if err := os.MkdirAll(d, 0o700); err != nil {
				return err
			}
		}
		for file, content := range files {
			if err := os.WriteFile(filepath.Join(archive, file+"1.pem"), content, 0o600); err != nil {
				return err
			}
			if err := os.Symlink(filepath.Join("../../archive", name, file+"1.pem"), filepath.Join(live, file+".pem")); err != nil {
				return err
			}
		}
	}
	config := fmt.Sprintf(`
state: %[1]s/state
lineages: [certbot: %[1]s/live]
policy: {trust: any}
targets:
  - name: idle
    service: generic
    lineage: "*.example"
    certificate: %[1]s/{lineage}.crt
    key: %[1]s/{lineage}.key
    probe: []
    generic: {activate: ["true"]}
`, dir)
	return os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600)
}

func awaitReady(notify *net.UnixConn) error {
	if err := notify.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	buffer := make([]byte, 4096)
	for {
		n, err := notify.Read(buffer)
		if err != nil {
			return fmt.Errorf("wait until the daemon is ready: %w", err)
		}
		if strings.HasPrefix(string(buffer[:n]), "READY=1") {
			return nil
		}
	}
}

// processor returns the processor time that a process has used (proc_pid_stat(5),
// utime and stime, in hundredths of a second).
func processor(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond, err
}

// field returns the number that follows a word at the beginning of a line of a
// file.
func field(path, word string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, word); ok {
			return strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, word)
}

// watches returns the number of a process's inotify watches
// (proc_pid_fdinfo(5)).
func watches(pid int) (count int, err error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	for _, path := range paths {
		if data, err := os.ReadFile(path); err == nil {
			count += strings.Count(string(data), "inotify wd:")
		}
	}
	return count, err
}
