package generic

import (
	"cmp"
	"net/netip"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
)

// haproxyRun is how an HAProxy is started, as far as it says which configuration that
// reads (management.txt section 3 of 3.0).
type haproxyRun struct {
	dir   string   // -C: what paths are relative to
	files []string // -f, absolute: files, or directories of *.cfg

	unsure bool // not all of them may be known
}

// haproxyDefaults are the files from which the units of packages have the variables of
// ExecStart (EnvironmentFile= in Debian's and Fedora's haproxy.service).
func haproxyDefaults() []string { return []string{"/etc/default/haproxy", "/etc/sysconfig/haproxy"} }

// haproxyOf returns the HAProxy that runs, or else the one that the unit would start.
func haproxyOf(f deployers.Facts) haproxyRun {
	argv := f.Argv
	if argv == nil {
		argv = expanded(f.Unit.ExecStart, haproxyVariables(f))
	}
	run := haproxyRun{dir: "/"}
	for n, word := range argv {
		switch {
		case n+1 == len(argv):
		case word == "-C":
			run.dir = filepath.Join("/", argv[n+1])
		case word == "-f":
			run.files = append(run.files, argv[n+1])
		case word == "--":
			run.files = append(run.files, argv[n+1:]...)
		}
	}
	named := len(run.files)
	run.files = slices.DeleteFunc(run.files, func(name string) bool { return name == "" }) // not to be believed
	run.unsure = named > len(run.files)
	if len(run.files) == 0 {
		run.files = []string{haproxyConfig}
	}
	for i, name := range run.files {
		run.files[i] = run.resolve("", name)
	}
	return run
}

// haproxyConfig is the configuration of Debian's and Fedora's packages.
const haproxyConfig = "/etc/haproxy/haproxy.cfg"

// haproxyVariables returns the variables of the unit's ExecStart.
func haproxyVariables(f deployers.Facts) map[string]string {
	variables := map[string]string{"CONFIG": haproxyConfig}
	for _, path := range haproxyDefaults() {
		for _, text := range f.Texts[path] {
			for line := range strings.Lines(text.Content) {
				if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
					variables[name] = strings.Trim(value, `"'`)
				}
			}
		}
	}
	return variables
}

// expanded returns a command with its variables, of which one that is a word of its own
// becomes as many as it has (systemd.service(5), "Command lines").
func expanded(command []string, variables map[string]string) []string {
	var argv []string
	for _, word := range command {
		if name, is := strings.CutPrefix(word, "$"); is {
			argv = append(argv, strings.Fields(variables[strings.Trim(name, "{}")])...)
			continue
		}
		argv = append(argv, word)
	}
	return argv
}

func (r haproxyRun) resolve(base, name string) string {
	switch {
	case path.IsAbs(name):
		return path.Clean(name)
	case base != "":
		return path.Join(r.dir, base, name)
	}
	return path.Join(r.dir, name)
}

// test returns HAProxy's own test of what it runs with.
func (r haproxyRun) test() []string {
	argv := []string{"haproxy", "-c", "-q"}
	if r.dir != "/" {
		argv = append(argv, "-C", r.dir)
	}
	for _, name := range r.files {
		argv = append(argv, "-f", name)
	}
	return argv
}

// globs returns what its configuration is read from: files, and those of directories.
func (r haproxyRun) globs() []string {
	var all []string
	for _, name := range r.files {
		all = append(all, name, path.Join(name, "*.cfg"))
	}
	return all
}

// haproxyBind is an address at which HAProxy serves TLS.
type haproxyBind struct {
	where, says string // for people
	scheme      string
	address     netip.AddrPort // its address may be unspecified
	files       []haproxyFile
	unprobed    string // why it cannot be probed; empty: it can
}

// haproxyFile is a certificate that a bind takes, and the names that it is for: nil are
// those in it.
type haproxyFile struct {
	path  string
	names []string
}

// haproxyReader reads configurations (configuration.txt of 3.0: sections 2, 4.2, 5.1).
type haproxyReader struct {
	haproxyRun
	facts   deployers.Facts
	mode    string // of the section
	usual   string // of defaults
	section string
	crtBase string
	store   haproxyStore       // of the section
	blocks  []haproxyCondition // of .if, the outermost first
	stored  map[string]string
	binds   []haproxyBind
	lists   []string // that were asked for
	unread  []string // what could not be read, for people
}

// haproxyStore is a crt-store section: its name, and what its paths are relative to
// (configuration.txt section 3.11).
type haproxyStore struct{ name, base string }

// readHAProxy reads what an HAProxy runs with; ok: there is anything to read.
func readHAProxy(f deployers.Facts) (r haproxyReader, ok bool) {
	r = haproxyReader{haproxyRun: haproxyOf(f), facts: f, usual: "tcp", stored: map[string]string{}}
	for _, glob := range r.globs() {
		for _, text := range f.Texts[glob] {
			ok = true
			number := 0
			r.blocks = nil // each is closed in its file
			for line := range strings.Lines(text.Content) {
				number++
				if words := haproxyWords(line); len(words) > 0 {
					r.line(text.Path+":"+strconv.Itoa(number), words)
				}
			}
		}
	}
	return r, ok
}

func (r *haproxyReader) line(where string, words []string) {
	sections := []string{"global", "defaults", "frontend", "listen", "backend", "peers", "crt-store", "cache", "resolvers", "userlist", "program", "mailers", "ring", "http-errors", "log-forward", "fcgi-app", "traces"}
	argument := ""
	if len(words) > 1 {
		argument = words[1]
	}
	unsure, skipped := r.condition(where, words)
	switch {
	case skipped:
	case unsure != "" && slices.Contains([]string{"crt-base", "load"}, words[0]), words[0] == "ssl-f-use":
		r.unread = append(r.unread, where+": "+cmp.Or(unsure, "ssl-f-use is not read"))
	case slices.Contains(sections, words[0]):
		r.section, r.mode, r.store = words[0], r.usual, haproxyStore{name: argument}
	case words[0] == "mode":
		r.mode = argument
		if r.section == "defaults" {
			r.usual = argument
		}
	case slices.Contains([]string{"bind", "crt-base", "load"}, words[0]) && slices.ContainsFunc(words, func(word string) bool { return strings.Contains(word, "$") }):
		r.unread = append(r.unread, where+": a variable of the environment stands there, so it is not known what it comes to")
	case words[0] == "load" && r.section == "crt-store":
		r.load(words[1:])
	case words[0] == "crt-base" && r.section == "crt-store":
		r.store.base = argument
	case words[0] == "crt-base" && r.section == "global":
		r.crtBase = argument
	case words[0] == "bind" && argument != "" && slices.Contains(words, "ssl"):
		for address := range strings.SplitSeq(argument, ",") {
			r.bind(where, address, words[2:], unsure)
		}
	}
}

// haproxyCondition is a conditional block, at one of its branches (configuration.txt
// section 2.4 of 3.0).
type haproxyCondition struct {
	where  string // of its .if
	branch verdict
	before verdict // whether one of the branches before holds
}

// verdict is whether something holds.
type verdict int

const (
	never verdict = iota
	perhaps
	always
)

// haproxyVerdict returns whether a condition holds. Of those that are no constants, most
// depend on the program that runs or on its environment.
func haproxyVerdict(condition []string) verdict {
	switch number, err := strconv.Atoi(strings.Join(condition, " ")); {
	case len(condition) == 0:
		return never
	case err != nil:
		return perhaps
	case number == 0:
		return never
	}
	return always
}

// condition reads a line as one about conditional blocks, if it is. It returns why it is
// not sure that the line counts, and reports whether it is passed over.
func (r *haproxyReader) condition(where string, words []string) (unsure string, skipped bool) {
	last := len(r.blocks) - 1
	switch word := words[0]; {
	case word == ".if":
		r.blocks = append(r.blocks, haproxyCondition{where: where, branch: haproxyVerdict(words[1:])})
	case word == ".endif" && last >= 0:
		r.blocks = r.blocks[:last]
	case (word == ".elif" || word == ".else") && last >= 0:
		block := &r.blocks[last]
		block.before = max(block.before, block.branch)
		block.branch = always
		if word == ".elif" {
			block.branch = haproxyVerdict(words[1:])
		}
		block.branch = min(block.branch, always-block.before)
	}
	for _, block := range r.blocks {
		switch block.branch {
		case never:
			return "", true
		case perhaps:
			unsure = "it stands below the .if of " + block.where + ", and whether that holds is not known"
		}
	}
	return unsure, strings.HasPrefix(words[0], ".")
}

// load reads what a crt-store loads, which binds name by @STORE/ALIAS, or by the file.
func (r *haproxyReader) load(parameters []string) {
	var file, alias string
	for n := 0; n+1 < len(parameters); n += 2 {
		switch parameters[n] {
		case "crt":
			file = parameters[n+1]
		case "alias":
			alias = parameters[n+1]
		}
	}
	base := r.store.base
	if base == "" {
		base = r.crtBase
	}
	for _, name := range []string{alias, file} {
		if name != "" {
			r.stored["@"+r.store.name+"/"+name] = r.resolve(base, file)
		}
	}
}

// file returns the path of a certificate that a bind or list names.
func (r *haproxyReader) file(name string) string {
	if path, ok := r.stored[name]; ok {
		return path
	}
	return r.resolve(r.crtBase, name)
}

// bind reads an address of a bind line with its parameters. Where it is not sure that
// the line counts, unsure says why.
func (r *haproxyReader) bind(where, address string, parameters []string, unsure string) {
	b := haproxyBind{where: where, says: address, scheme: "tls", unprobed: unsure}
	if r.mode == "http" {
		b.scheme = "https"
	}
	for n, word := range parameters {
		value := ""
		if n+1 < len(parameters) {
			value = parameters[n+1]
		}
		switch word {
		case "crt", "default-crt":
			b.files = append(b.files, haproxyFile{path: r.file(value)})
		case "crt-list":
			b.files = append(b.files, r.list(r.resolve("", value))...)
		case "accept-proxy":
			b.unprobed = "it wants the PROXY protocol first"
		}
	}
	var ok bool
	if b.address, ok = haproxyAddress(address); !ok {
		b.unprobed = "it is none of TCP that could be read"
	}
	r.binds = append(r.binds, b)
}

// list reads a crt-list: a file, perhaps options in brackets, and names for which it is,
// or not (configuration.txt section 5.1, crt-list).
func (r *haproxyReader) list(name string) []haproxyFile {
	r.lists = append(r.lists, name)
	var files []haproxyFile
	for _, text := range r.facts.Texts[name] {
		for line := range strings.Lines(text.Content) {
			before, rest, options := strings.Cut(line, "[")
			if options {
				_, rest, _ = strings.Cut(rest, "]")
			}
			words := haproxyWords(before + " " + rest)
			if len(words) == 0 {
				continue
			}
			file := haproxyFile{path: r.file(words[0])}
			for _, filter := range words[1:] {
				if endpoint.IsHost(strings.ToLower(filter)) {
					file.names = append(file.names, strings.ToLower(filter))
				}
			}
			files = append(files, file)
		}
	}
	return files
}

// haproxyAddress reads an address of a bind line; ok: it is one of TCP.
func haproxyAddress(text string) (at netip.AddrPort, ok bool) {
	for _, family := range []string{"ipv4@", "ipv6@", "tcp4@", "tcp6@", "tcp@"} {
		text = strings.TrimPrefix(text, family)
	}
	cut := strings.LastIndex(text, ":")
	if cut < 0 {
		return at, false
	}
	host, port := strings.Trim(text[:cut], "[]"), text[cut+1:]
	first, _, _ := strings.Cut(port, "-")
	number, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return at, false
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case host == "" || host == "*":
		addr = netip.IPv4Unspecified()
	case err != nil:
		return at, false
	}
	return netip.AddrPortFrom(addr, uint16(number)), true
}

// haproxyWords splits a line into words, without a comment (configuration.txt section
// 2.2: quotes, and backslashes before single characters).
func haproxyWords(line string) []string {
	var words []string
	var word strings.Builder
	var quote byte
	begun := false
	end := func() {
		if begun {
			words = append(words, word.String())
		}
		word.Reset()
		begun = false
	}
	for n := 0; n < len(line); n++ {
		c := line[n]
		switch {
		case quote == 0 && c == '#':
			end()
			return words
		case quote == 0 && strings.IndexByte(" \t\r\n", c) >= 0:
			end()
		case quote == 0 && (c == '"' || c == '\''):
			quote, begun = c, true
		case c == quote && quote != 0:
			quote = 0
		case c == '\\' && quote != '\'' && n+1 < len(line):
			n++
			word.WriteByte(line[n])
			begun = true
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	end()
	return words
}

// haproxyFiles is what is known of the configuration of HAProxy.
type haproxyFiles struct{}

func (haproxyFiles) wants(wants *deployers.Wants, f *deployers.Facts) {
	wants.Argv = true
	wants.Texts = append(wants.Texts, haproxyDefaults()...)
	if _, asked := f.Texts[haproxyDefaults()[0]]; !asked {
		return
	}
	read, ok := readHAProxy(*f)
	wants.Texts = slices.Concat(wants.Texts, read.globs(), read.lists)
	if ok {
		wants.Ports = read.ports()
	}
}

// ports returns the ports at which TLS is served.
func (r haproxyReader) ports() []uint16 {
	var ports []uint16
	for _, b := range r.binds {
		if b.address.IsValid() {
			ports = append(ports, b.address.Port())
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// describe puts into a plan what HAProxy runs with: its test, who takes the files, and
// where that can be seen.
func (haproxyFiles) describe(plan *deployers.Plan, f *deployers.Facts) {
	read, ok := readHAProxy(*f)
	usual := presets()["haproxy"].test
	switch started := read.test(); {
	case slices.Equal(plan.Test.Command, usual):
		plan.Test.Command = started
		if !slices.Equal(started, usual) {
			plan.Fine(deployers.Configuration, "HAProxy is started with %s, so that is what is read and tested", strings.Join(read.files, " and "))
		}
	case !slices.Equal(plan.Test.Command, started) && len(plan.Test.Command) > 0:
		plan.Warn(deployers.Configuration, "leave test out, or let it be "+strings.Join(started, " "), "HAProxy is started with %s, and the target's test is %s", strings.Join(read.files, " and "), strings.Join(plan.Test.Command, " "))
	}
	if !ok {
		if !slices.ContainsFunc(plan.Files, func(file deployers.File) bool { return file.Content == deployers.Combined }) {
			plan.Warn(deployers.Configuration, "set combined, unless its configuration names them apart", "haproxy usually reads certificate and key from one file")
		}
		return
	}
	for _, what := range read.unread {
		plan.Warn(deployers.Configuration, "write probes for what it is for", "%s", what)
	}
	var probes, named []endpoint.Endpoint
	var others []deployers.Taken
	var unprobed string
	used, probed := false, false
	for _, b := range read.binds {
		at := slices.IndexFunc(b.files, func(file haproxyFile) bool { return writes(*plan, file.path) })
		if at < 0 {
			for _, file := range b.files {
				others = append(others, deployers.Taken{Where: b.where, File: file.path})
			}
			continue
		}
		used = true
		file := b.files[at]
		plan.Names = deployers.Distinct(append(plan.Names, file.names...))
		plan.Fine(deployers.Configuration, "%s: %s takes %s", b.where, b.says, file.path)
		if b.unprobed != "" {
			unprobed = b.where + ": " + b.says + " is not probed: " + b.unprobed
			plan.Warn(deployers.Serving, "write a probe where it can be seen", "%s", unprobed)
			continue
		}
		probed = true
		probes = append(probes, b.probes(file, f.Listeners)...)
		named = append(named, b.probes(file, []netip.AddrPort{b.address})...)
	}
	if !used {
		plan.TakesElsewhere(read.isWhole(*plan), "let crt or crt-list name "+haproxyWants(*plan)+", or the target's combined what they name",
			"HAProxy's configuration names none of the target's files", others...)
		return
	}
	if plan.Found {
		if len(probes) == 0 && f.Unit.Running() {
			probes = named // it has not been reloaded since, or only a moment ago: its workers start after the job
		}
		plan.Probes = deployers.Distinct(probes)
		if !probed {
			plan.Unprobed = unprobed
		}
	}
}

// isWhole reports whether all of the configuration was read, and none of its words means a
// file of a plan: a certificate of a client, or one of a bundle, which crt names without its
// ending (configuration.txt section 3.1, ssl-load-extra-files).
func (r haproxyReader) isWhole(plan deployers.Plan) bool {
	for _, list := range r.lists {
		if len(r.facts.Texts[list]) == 0 {
			return false
		}
	}
	for _, texts := range r.facts.Texts {
		for _, text := range texts {
			for line := range strings.Lines(text.Content) {
				for _, word := range haproxyWords(line) {
					means := r.file(word)
					if slices.ContainsFunc(plan.Files, func(f deployers.File) bool { return f.IsAt(means) || strings.HasPrefix(f.Path, means+".") }) {
						return false
					}
				}
			}
		}
	}
	return r.unread == nil && !r.unsure
}

// writes reports whether a plan writes a certificate that HAProxy takes by a path: that
// of a file, or of a directory of which all are taken.
func writes(plan deployers.Plan, path string) bool {
	return slices.ContainsFunc(plan.Files, func(f deployers.File) bool {
		return (f.Content == deployers.Combined || f.Content == deployers.Fullchain) && (f.IsAt(path) || filepath.Dir(f.Path) == path)
	})
}

// haproxyWants returns the path of the file that HAProxy can take alone, or else that of
// the certificate.
func haproxyWants(plan deployers.Plan) string {
	for _, content := range []deployers.Content{deployers.Combined, deployers.Fullchain} {
		for _, file := range plan.Files {
			if file.Content == content {
				return file.Path
			}
		}
	}
	return "them"
}

// mostNames is how many names of one file are probed at one address.
const mostNames = 10

// probes returns those of a bind's listeners, under the names that a file is for.
func (b haproxyBind) probes(file haproxyFile, listeners []netip.AddrPort) []endpoint.Endpoint {
	names := file.names[:min(len(file.names), mostNames)]
	if len(names) == 0 {
		names = []string{""}
	}
	var probes []endpoint.Endpoint
	for _, listener := range listeners {
		same := b.address.Addr().IsUnspecified() || listener.Addr().Unmap() == b.address.Addr().Unmap()
		if listener.Port() != b.address.Port() || !same {
			continue
		}
		for _, name := range names {
			probes = append(probes, endpoint.At(b.scheme, listener, name))
		}
	}
	return probes
}

// haproxyTaken is a file with a certificate that a bind takes: one that it names, or one
// of a directory.
type haproxyTaken struct {
	deployers.Text
	names []string // that a crt-list has for it
	key   string   // the file that its key is in
}

// taken returns what a bind takes. Of a directory those are all but what belongs to
// others of them, and the key is in a file with .key added to the name where it does not
// stand with the certificate (configuration.txt of 3.0 section 5.1, crt, and section 3.1,
// ssl-load-extra-files).
func (b haproxyBind) taken(f *deployers.Facts) (all []haproxyTaken) {
	for _, file := range b.files {
		below := f.Texts[path.Join(file.path, "*")]
		texts := slices.Clone(f.Texts[file.path])
		for _, text := range below {
			if !strings.HasPrefix(path.Base(text.Path), ".") && !slices.Contains([]string{".key", ".issuer", ".ocsp", ".sctl"}, path.Ext(text.Path)) {
				texts = append(texts, text)
			}
		}
		if texts == nil && below == nil { // it is not there yet
			texts = []deployers.Text{{Path: file.path}}
		}
		for _, text := range texts {
			taken := haproxyTaken{text, file.names, text.Path}
			isBeside := func(t deployers.Text) bool { return t.Path == text.Path+".key" }
			if slices.ContainsFunc(slices.Concat(below, f.Texts[text.Path+".key"]), isBeside) && !holdsKey(text.Content) {
				taken.key = text.Path + ".key"
			}
			all = append(all, taken)
		}
	}
	return all
}

func (haproxyFiles) asks(wants *deployers.Wants, f *deployers.Facts) {
	read, _ := readHAProxy(*f)
	for _, b := range read.binds {
		for _, file := range b.files {
			wants.Texts = append(wants.Texts, file.path, file.path+".key", path.Join(file.path, "*"))
		}
	}
}

func (haproxyFiles) discover(d *deployers.Discovery, f *deployers.Facts) {
	*d = deployers.Discovery{
		Role: "edge", Labels: []string{"www", "web", "edge"},
		Certificate: "/etc/haproxy/{lineage}.fullchain.pem", Key: "/etc/haproxy/{lineage}.privkey.pem", Combined: "/etc/haproxy/{lineage}.pem",
		Lines: []string{"crt {certificate}"},
	}
	read, ok := readHAProxy(*f)
	for _, b := range read.binds {
		taken := b.taken(f)
		for _, file := range taken {
			use := deployers.Use{Where: b.where, Certificate: file.Path, Key: file.key, Names: file.names, Twin: file.hasTwin(taken)}
			use.InDirectory = !slices.ContainsFunc(b.files, func(named haproxyFile) bool { return named.path == file.Path })
			if b.unprobed != "" {
				use.Note = b.says + " of " + b.where + " is not probed: " + b.unprobed + "."
			} else {
				use.Probes = b.probes(haproxyFile{names: file.names}, f.Listeners)
			}
			d.Add(use)
		}
	}
	for _, what := range read.unread {
		d.AddUnknown("HAProxy: " + what)
	}
	switch {
	case !ok:
		d.AddUnknown("HAProxy's " + strings.Join(read.files, " and ") + " cannot be read")
	case len(read.binds) == 0:
		d.AddUnknown("HAProxy serves without TLS: no bind of " + strings.Join(read.files, " and ") + " has ssl crt FILE")
	}
}

// hasTwin reports whether another file has a certificate for the same names with a key of
// another type.
func (h haproxyTaken) hasTwin(all []haproxyTaken) bool {
	names, family := namesOf(h.Text)
	return slices.ContainsFunc(all, func(other haproxyTaken) bool {
		same, its := namesOf(other.Text)
		return names != nil && its != family && slices.Equal(names, same)
	})
}
