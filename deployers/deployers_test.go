package deployers

import (
	"strings"
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	night := Window{From: 22 * time.Hour, To: 4*time.Hour + 30*time.Minute}
	day := Window{From: 2 * time.Hour, To: 4*time.Hour + 30*time.Minute}
	for _, test := range []struct {
		window Window
		clock  string
		in     bool
	}{
		{day, "01:59", false}, {day, "02:00", true}, {day, "04:29", true}, {day, "04:30", false},
		{night, "21:59", false}, {night, "22:00", true}, {night, "00:00", true}, {night, "04:30", false}, {night, "12:00", false},
	} {
		at, err := time.Parse("15:04", test.clock)
		if err != nil {
			t.Fatal(err)
		}
		if got := test.window.Contains(at); got != test.in {
			t.Errorf("%s in %s: %v", test.clock, test.window, got)
		}
		if opens := test.window.Opens(at); !opens.After(at) || opens.Sub(at) > 24*time.Hour || !test.window.Contains(opens) {
			t.Errorf("%s opens after %s at %s", test.window, at, opens)
		}
	}
}

func TestDatabaseURL(t *testing.T) {
	var u DatabaseURL
	if err := u.UnmarshalText([]byte("mysql://opensips:secret@localhost/opensips")); err != nil || u.String() != "mysql://opensips:xxxxx@localhost/opensips" {
		t.Errorf("got %s, %v", u, err)
	}
	for _, text := range []string{"opensips:secret@localhost", "oracle://opensips:secret@localhost/opensips", "mysql://opensips:sec%ret@localhost/opensips"} {
		if err := u.UnmarshalText([]byte(text)); err == nil || strings.Contains(err.Error(), "sec") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestRestarts(t *testing.T) {
	for _, test := range []struct {
		activation Activation
		want       bool
	}{
		{Activation{Way: RestartUnit, Unit: "web.service"}, true},
		{Activation{Way: ReloadUnit, Unit: "restart"}, false},
		{Activation{Way: RunCommand, Command: []string{"systemctl", "restart", "web"}}, true},
		{Activation{Way: RunCommand, Command: []string{"service", "web", "restart"}}, true},
		{Activation{Way: RunCommand, Command: []string{"systemctl", "reload", "web"}}, false},
		{Activation{Way: RunCommand, Command: []string{"restart"}}, false},
		{Activation{Way: SignalPID, PID: 1, Signal: "HUP"}, false},
	} {
		if got := test.activation.Restarts(); got != test.want {
			t.Errorf("%s: %v", test.activation, got)
		}
	}
}
