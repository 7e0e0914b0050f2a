package spelling

import "testing"

func TestNearest(t *testing.T) {
	known := []string{"status", "hold", "history", "deploy", "web.example"}
	for _, test := range []struct{ written, want string }{
		{"statsu", "status"},
		{"depoly", "deploy"},
		{"histroy", "history"},
		{"hd", ""}, // a letter of two is too much to guess
		{"hodl", ""},
		{"holt", "hold"},
		{"web.exmaple", "web.example"},
		{"nothing", ""},
		{"", ""},
	} {
		if got := Nearest(test.written, known); got != test.want {
			t.Errorf("%q: %q instead of %q", test.written, got, test.want)
		}
	}
}

func TestAdvice(t *testing.T) {
	if got := Advice("statsu", []string{"status"}, "see --help"); got != "did you mean status?" {
		t.Error(got)
	}
	if got := Advice("nothing", []string{"status"}, "see --help"); got != "see --help" {
		t.Error(got)
	}
}
