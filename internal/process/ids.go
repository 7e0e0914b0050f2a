package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// IDs returns what a process opens files as: its fsuid, fsgid, supplementary groups and
// effective capabilities (proc_pid_status(5)); not known: it has ended.
func IDs(pid int) (deployers.IDs, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if isGone(err) {
		return deployers.IDs{}, nil
	}
	if err != nil {
		return deployers.IDs{}, fmt.Errorf("read the IDs of process %d: %w", pid, err)
	}
	return parseIDs(string(text))
}

func parseIDs(status string) (deployers.IDs, error) {
	const last = 3               // of real, effective, saved and file system ID
	const readsAll = 1<<1 | 1<<2 // CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH (include/uapi/linux/capability.h)
	ids := deployers.IDs{Known: true}
	found := 0
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		if key == "CapEff" {
			set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			ids.ReadsAll = err != nil || set&readsAll != 0
			continue
		}
		if key != "Uid" && key != "Gid" && key != "Groups" {
			continue
		}
		var numbers []uint32
		for _, field := range strings.Fields(value) {
			n, err := strconv.ParseUint(field, 10, 32)
			if err != nil {
				return deployers.IDs{}, fmt.Errorf("read the IDs of a process: %s is %q", key, field)
			}
			numbers = append(numbers, uint32(n))
		}
		switch {
		case key == "Groups":
			ids.Groups = numbers
		case len(numbers) <= last:
			return deployers.IDs{}, fmt.Errorf("read the IDs of a process: of %s there are %d", key, len(numbers))
		case key == "Uid":
			ids.UID = numbers[last]
		default:
			ids.GID = numbers[last]
		}
		found++
	}
	if found < 3 {
		return deployers.IDs{}, fmt.Errorf("read the IDs of a process: some are missing")
	}
	return ids, nil
}
