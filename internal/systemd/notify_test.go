package systemd

import (
	"net"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/certlatch/certlatch/internal/need"
)

func TestServiceNotifies(t *testing.T) {
	need.KeptTemp() // for its short path
	path := filepath.Join(t.TempDir(), "notify")
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	var s Service
	for _, test := range []struct {
		err  error
		want string
	}{
		{s.Ready("watching\n2 lineages"), `^READY=1\nSTATUS=watching 2 lineages$`},
		{s.Reloading(), `^RELOADING=1\nMONOTONIC_USEC=\d{4,}$`},
		{s.Status("a"), `^STATUS=a$`},
		{s.Alive(), `^WATCHDOG=1$`},
		{s.Stopping("b", 3*time.Second), `^STOPPING=1\nSTATUS=b\nEXTEND_TIMEOUT_USEC=3000000$`},
	} {
		buffer := make([]byte, 1024)
		n, err := listener.Read(buffer)
		if test.err != nil || err != nil {
			t.Fatal(test.err, err)
		}
		if got := string(buffer[:n]); !regexp.MustCompile(test.want).MatchString(got) {
			t.Errorf("got %q, want %s", got, test.want)
		}
	}

	t.Setenv("WATCHDOG_USEC", "30000000")
	if every, err := s.Watchdog(); every != 30*time.Second || err != nil {
		t.Errorf("the watchdog waits %s, %v", every, err)
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := s.Alive(); err != nil {
		t.Errorf("where nobody listens: %v", err)
	}
}
