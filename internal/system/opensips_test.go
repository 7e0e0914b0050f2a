package system

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// opensipsUnit is the upstream unit (packaging/debian of 3.6.8), but it
// restarts at once, and as often as needed. It holds a directory in /run, and what
// runs.
const opensipsUnit = `[Unit]
StartLimitIntervalSec=0
[Service]
User=opensips
Group=opensips
RuntimeDirectory=%s
RuntimeDirectoryMode=775
%s
Restart=always
RestartSec=0
`

// realService is what runs of the real one, with its directory in /run and its script.
const realService = `Type=forking
PIDFile=/run/%[1]s/opensips.pid
ExecStart=/usr/sbin/opensips -P /run/%[1]s/opensips.pid -f %[2]s
ExecStop=/usr/bin/pkill --pidfile /run/%[1]s/opensips.pid`

// usualVersion is a version of OpenSIPS that does not crash on tls_reload.
const usualVersion = "3.6.8"

// opensipsFlags are the flags with which a script starts an OpenSIPS.
type opensipsFlags struct {
	script             bool
	unit               string // without .service; that of a template has its script's name for an instance
	version            string // that the scenario is about; empty: any
	domain             string // of the script
	fifo, socket, http string
	url                string // of the database
	table              string // of the database
	file, replies      string // the script, and the directory of callers' FIFOs
	sockets            string // where it listens, with commas between them
}

// opensips starts an OpenSIPS that serves on 127.0.0.1:5061 the files in
// /etc/opensips/tls by its script, or the rows of its database, by default of
// the one that the scenario has started. Called again, it is another OpenSIPS
// in place of the first, or beside it where it has another unit. With several sockets its script has a domain for each: the
// second is called sip2, with its files in /etc/opensips/tls2.
//
// Where this machine has an OpenSIPS in its PATH, that is what runs, with its
// modules, and the hosts' libraries; else the fake does. The log says which.
func (s *scenario) opensips(ts *testscript.TestScript, args []string) error {
	if len(args) == 0 || args[0] != "script" && args[0] != "database" {
		return errUsage
	}
	want := opensipsFlags{script: args[0] == "script"}
	flags := flag.NewFlagSet("opensips", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&want.unit, "unit", "opensips", "")
	flags.StringVar(&want.version, "version", "", "")
	flags.StringVar(&want.domain, "domain", "sip", "")
	flags.StringVar(&want.fifo, "fifo", "/run/opensips/opensips_fifo", "")
	flags.StringVar(&want.socket, "socket", "", "")
	flags.StringVar(&want.http, "http", "", "")
	flags.StringVar(&want.url, "database", s.database.url, "")
	flags.StringVar(&want.file, "file", "/etc/opensips/opensips.cfg", "")
	flags.StringVar(&want.replies, "replies", "/tmp/", "")
	flags.StringVar(&want.table, "table", "tls_mgm", "")
	flags.StringVar(&want.sockets, "sockets", "127.0.0.1:5061", "")
	if flags.Parse(args[1:]) != nil || flags.NArg() > 0 {
		return errUsage
	}
	if want.version == "" && !want.script {
		want.version = usualVersion
	}
	if err := s.addOpenSIPSUser(); err != nil {
		return err
	}
	service := want.fake()
	if program, err := exec.LookPath("opensips"); err != nil {
		if _, err := s.host.run("ln", "--symbolic", "--force", "/usr/bin/fakeopensips", "/usr/sbin/opensips"); err != nil {
			return err
		}
		if err := s.host.write("/etc/opensips/version", []byte(cmp.Or(want.version, usualVersion)), "0644", "root"); err != nil {
			return err
		}
		ts.Logf("[the fake of OpenSIPS %s]", cmp.Or(want.version, usualVersion))
	} else if service, err = s.realOpenSIPS(ts, want, program); err != nil {
		return err
	}
	if err := s.host.write(want.file, []byte(want.configuration()), "0644", "root"); err != nil {
		return err
	}
	name, instance, ok := strings.Cut(want.unit, "@")
	if ok {
		name += "@"
		service = strings.ReplaceAll(service, "/"+instance+".cfg", "/%i.cfg")
	}
	if err := s.host.write("/etc/systemd/system/"+name+".service", fmt.Appendf(nil, opensipsUnit, want.runtime(), service), "0644", "root"); err != nil {
		return err
	}
	if _, err := s.host.run("systemctl", "daemon-reload"); err != nil {
		return err
	}
	_, err := s.host.run("systemctl", "restart", want.unit)
	return err
}

// runtime returns the name of its directory in /run.
func (want opensipsFlags) runtime() string { return strings.ReplaceAll(want.unit, "@", "-") }

func (s *scenario) addOpenSIPSUser() error {
	_, err := s.host.run("systemd-sysusers", "--inline", "u opensips - - /var/lib/opensips")
	return err
}

// fake returns the command line that starts the fake.
func (want opensipsFlags) fake() string {
	flags := []string{"-f", want.file, "-reply-dir=" + want.replies, "-fifo=" + want.fifo, "-socket=" + want.socket, "-http=" + want.http}
	if !want.script {
		flags = append(flags, "-database="+want.url)
	}
	return "Type=notify\nExecStart=/usr/sbin/opensips " + strings.Join(flags, " ")
}

// realOpenSIPS copies this machine's OpenSIPS into the host.
func (s *scenario) realOpenSIPS(ts *testscript.TestScript, want opensipsFlags, program string) (service string, err error) {
	program, err = filepath.EvalSymlinks(program)
	if err != nil {
		return "", err
	}
	modules, err := filepath.Glob(filepath.Join(filepath.Dir(program), "../lib*/opensips/modules"))
	if err != nil || len(modules) == 0 {
		return "", fmt.Errorf("no modules beside %s (%v)", program, err)
	}
	for from, to := range map[string]string{program: "/usr/sbin/opensips", modules[0] + "/.": opensipsModules} {
		if _, err := s.host.run("mkdir", "-p", filepath.Dir(to)); err != nil {
			return "", err
		}
		if _, err := output("cp", "--recursive", "--remove-destination", from, s.host.path(to)); err != nil {
			return "", err
		}
	}
	text, err := s.host.run("/usr/sbin/opensips", "-V")
	if err != nil {
		return "", err
	}
	version := regexp.MustCompile(`(\d+)\.\d+\.[\w.-]+`).FindStringSubmatch(text)
	if version == nil {
		return "", fmt.Errorf("opensips -V says %q", text)
	}
	if major, _, _ := strings.Cut(want.version, "."); want.version != "" && major != version[1] {
		s.Skipf("this is about OpenSIPS %s, and the real one of this machine is %s", major, version[0])
	}
	ts.Logf("[the real OpenSIPS %s]", version[0])
	return fmt.Sprintf(realService, want.runtime(), want.file), nil
}

const opensipsModules = "/usr/lib/opensips/modules"

// configuration returns the text of an opensips.cfg.
func (want opensipsFlags) configuration() string {
	var text strings.Builder
	text.WriteString("log_level=3\nudp_workers=1\ntcp_workers=1\nmpath=\"" + opensipsModules + "/\"\n")
	sockets := strings.Split(want.sockets, ",")
	for _, socket := range sockets {
		text.WriteString("socket=tls:" + socket + "\n")
	}
	module := func(name string, params ...string) {
		fmt.Fprintf(&text, "loadmodule \"%s.so\"\n", name)
		for i := 0; i+1 < len(params); i += 2 {
			fmt.Fprintf(&text, "modparam(\"%s\", \"%s\", \"%s\")\n", name, params[i], params[i+1])
		}
	}
	module("proto_tls")
	module("tls_openssl")
	module("mi_fifo", "fifo_name", want.fifo, "reply_dir", want.replies)
	if want.socket != "" {
		module("mi_datagram", "socket_name", want.socket)
	}
	if host, port, ok := strings.Cut(want.http, ":"); ok {
		module("httpd", "ip", host)
		fmt.Fprintf(&text, "modparam(\"httpd\", \"port\", %s)\n", port)
		module("mi_http")
	}
	if want.script {
		module("tls_mgm")
		for i, socket := range sockets {
			nth := []string{"", "2"}[i]
			address := socket
			if len(sockets) == 1 {
				address = "*"
			}
			fmt.Fprintf(&text, "modparam(\"tls_mgm\", \"server_domain\", \"%s\")\n", want.domain+nth)
			for _, of := range [][2]string{
				{"match_ip_address", address}, {"match_sip_domain", "*"}, {"tls_method", "TLSv1_2-TLSv1_3"}, {"verify_cert", "0"}, {"require_cert", "0"},
				{"certificate", "/etc/opensips/tls" + nth + "/fullchain.pem"}, {"private_key", "/etc/opensips/tls" + nth + "/privkey.pem"},
			} {
				fmt.Fprintf(&text, "modparam(\"tls_mgm\", \"%s\", \"[%s]%s\")\n", of[0], want.domain+nth, of[1])
			}
		}
	} else {
		scheme, _, _ := strings.Cut(want.url, ":")
		module("db_" + scheme)
		module("tls_mgm", "db_url", want.url, "db_table", want.table)
	}
	text.WriteString("route {\n\texit;\n}\n")
	return text.String()
}
