package system

import (
	"fmt"
	"os/exec"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// opensipsUnit is the upstream unit (packaging/debian of 3.6.8), but that the
// fake stays in the foreground and does not wait with its restart.
const opensipsUnit = `[Service]
User=opensips
Group=opensips
RuntimeDirectory=opensips
RuntimeDirectoryMode=775
ExecStart=/usr/bin/fakeopensips %s
Restart=always
RestartSec=0
`

// opensipsTable is as much of scripts/sqlite/tls_mgm-create.sql (3.6.8) as
// matters here, with a row of each type that the lineage's files fill.
const opensipsTable = `CREATE TABLE tls_mgm (
	id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, domain CHAR(64) NOT NULL, type INTEGER DEFAULT 1 NOT NULL,
	certificate BLOB, private_key BLOB, CONSTRAINT tls_mgm_domain_type_idx UNIQUE (domain, type));
INSERT INTO tls_mgm (domain, type, certificate, private_key) VALUES
	('sip', 1, readfile('%[1]s/fullchain.pem'), readfile('%[1]s/privkey.pem')),
	('sip', 2, readfile('%[1]s/fullchain.pem'), readfile('%[1]s/privkey.pem'));`

const opensipsDatabase = "/var/lib/opensips/opensips.db"

// opensips starts an OpenSIPS that serves on 127.0.0.1:5061 the files in
// /etc/opensips/tls by its script, or the row of domain sip in its database,
// which is filled with what the lineage sip.example holds now. It is a fake,
// since no Debian has the real one. To run the scenarios against that where
// this machine has it, this is the only word to change: bring the program and
// its modules into the host, and write the opensips.cfg that the flags stand
// for.
func (s *scenario) opensips(ts *testscript.TestScript, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	if path, err := exec.LookPath("opensips"); err == nil {
		ts.Logf("this machine has a real OpenSIPS at %s, which the hosts cannot run yet; here is the fake", path)
	}
	flags := []string{"-fifo=/run/opensips/opensips_fifo"}
	setUp := [][]string{
		{"useradd", "--system", "opensips"},
		{"install", "-d", "-o", "opensips", "/var/lib/opensips"},
		{"sqlite3", opensipsDatabase, fmt.Sprintf(opensipsTable, "/etc/letsencrypt/live/sip.example")},
	}
	switch args[0] {
	case "script":
		flags = append(flags, "-certificate=/etc/opensips/tls/fullchain.pem", "-private-key=/etc/opensips/tls/privkey.pem")
	case "database":
		flags = append(flags, "-database="+opensipsDatabase)
	default:
		return errUsage
	}
	for _, argv := range setUp {
		if _, err := s.host.run(argv...); err != nil {
			return err
		}
	}
	unit := fmt.Sprintf(opensipsUnit, strings.Join(append(flags, args[1:]...), " "))
	if err := s.host.write("/etc/systemd/system/opensips.service", []byte(unit), "0644", "root"); err != nil {
		return err
	}
	_, err := s.host.run("systemctl", "start", "opensips")
	return err
}
