package process

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestIDs(t *testing.T) {
	got, err := IDs(os.Getpid())
	if err != nil || !got.Known || got.UID != uint32(os.Geteuid()) || got.GID != uint32(os.Getegid()) {
		t.Errorf("got %+v (%v)", got, err)
	}
	const ofNone = 1 << 22 // PIDs are smaller (proc_sys_kernel(5), pid_max)
	if got, err := IDs(ofNone); err != nil || got.Known {
		t.Errorf("of no process: got %+v (%v)", got, err)
	}
}

func TestParseIDs(t *testing.T) {
	const status = "Name:\tserve\nUid:\t1\t2\t3\t61500\nGid:\t4\t5\t6\t120\nFDSize:\t64\nGroups:\t120 122 \nCapEff:\t0000000000000400\n"
	got, err := parseIDs(status)
	if err != nil || got.UID != 61500 || got.GID != 120 || !slices.Equal(got.Groups, []uint32{120, 122}) {
		t.Errorf("got %+v (%v)", got, err)
	}
	if all, err := parseIDs(strings.Replace(status, "400\n", "404\n", 1)); got.ReadsAll || err != nil || !all.ReadsAll {
		t.Errorf("with CAP_NET_BIND_SERVICE: %+v, and CAP_DAC_READ_SEARCH: %+v (%v)", got, all, err)
	}
	for _, bad := range []string{
		"", "Uid:\t1\t2\t3\t4\nGid:\t1\t2\t3\t4\n", "Uid:\t1\nGid:\t1\nGroups:\t1\n",
		"Uid:\t1\t2\t3\t-4\nGid:\t1\t2\t3\t4\nGroups:\t\n",
	} {
		if got, err := parseIDs(bad); err == nil || got.Known {
			t.Errorf("%q passes as %+v", bad, got)
		}
	}
}
