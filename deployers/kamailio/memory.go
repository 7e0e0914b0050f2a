package kamailio

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// Whether a reload fits into Kamailio's shared memory, and how many more do, is
// found out here. The module tls closes every new connection during the
// handshake while less than its low_mem_threshold1 is free, and breaks those
// that are up below low_mem_threshold2 (tls_server.c of 6.0.1,
// tls_complete_init and LOW_MEM_CONNECTED_TEST), whereas tls.reload goes on
// answering "Ok". With both set to 0 TLS is served on, until nothing is free
// for anything that Kamailio does: the allocator believes the same numbers
// (q_malloc.c, qm_malloc; seen with 6.0.1 at the 33rd reload of three profiles
// with 64 MB, where the 22nd ends TLS otherwise).

// The memory that a reload takes, for each process. Measured with 6.0.1 and
// OpenSSL 3.5 for 13 to 25 processes, 1 to 10 profiles, 64 and 128 MB, RSA and
// ECDSA: a context for connections that come in took 79 to 100 KB and one for
// others 57, what is lost included; 69 MB went for 224 kB of roots in one
// profile; a connection took 105 KB.
const (
	serverContext = 101 << 10
	clientContext = 58 << 10
	rootsFactor   = 13       // of the size of the PEM file
	lostContext   = 17 << 10 // of each context, at each reload: 15.3 to 16.8 KB on average, 18.6 at most

	// memoryReserve is left for handshakes that are under way; it is more than
	// what a reload ever lost above lostContext.
	memoryReserve = 512 << 10
)

// sharedMemory is what is known of a Kamailio's shared memory.
type sharedMemory struct {
	total, free int64 // as Kamailio sees it
	threshold   int64 // of what must stay free
	unguarded   bool  // because of Kamailio as a whole, since TLS was told to use all there is
	processes   int64

	// set is what a reload takes where none of what was loaded before is given
	// back, lost what it takes in any case and for good; 0: nothing.
	set, lost int64

	// whole reports whether the next reload may take a set: the first since the
	// start keeps what was loaded before until the second, and a connection
	// keeps what was in use when it began (tls_util.c, collect_garbage).
	whole bool
}

// next returns how many bytes the next reload may take.
func (m sharedMemory) next() int64 {
	if m.whole {
		return m.set
	}
	return m.lost
}

// room returns how many bytes a reload may take.
func (m sharedMemory) room() int64 { return m.free - m.threshold - memoryReserve }

// fits reports whether the next reload leaves enough.
func (m sharedMemory) fits() bool { return m.room() >= m.next() }

// left returns how many reloads fit; nil: there is no limit.
func (m sharedMemory) left() *int {
	switch {
	case !m.fits():
		return new(int)
	case m.lost == 0:
		return nil
	}
	n := 1 + int((m.room()-m.next())/m.lost)
	return &n
}

// tooSmall reports whether not even a Kamailio that has just started has room for
// its profiles.
func (m sharedMemory) tooSmall() bool { return m.total-m.threshold-memoryReserve < m.set-m.lost }

// memory returns what the facts say of the shared memory, and reports whether
// they do. Of 6.2 and later nothing is known: their development version no
// longer keeps contexts of OpenSSL there (commit 39639d9ef7).
func (k observed) memory(f deployers.Facts) (m sharedMemory, known bool) {
	shm := replyValues(f.Answers[deployers.Query{Channel: k.channel, Method: "core.shmmem"}].Reply)
	numbers := k.version(f).numbers
	m.processes = int64(strings.Count(f.Answers[deployers.Query{Channel: k.channel, Method: "core.ps"}].Reply, "\n")+1) / 2 // two lines each
	old := numbers == nil || slices.Compare(numbers, []int{5, 7, 0}) < 0
	megabytes, _ := strconv.ParseInt(k.option(f, "-m", ""), 10, 64)
	var errs [2]error
	m.total, errs[0] = strconv.ParseInt(shm["total"], 10, 64)
	m.free, errs[1] = strconv.ParseInt(shm["free"], 10, 64)
	switch {
	case errs != [2]error{}, m.processes == 0, k.config == "":
		return m, false
	case numbers != nil && slices.Compare(numbers, []int{6, 2, 0}) >= 0:
		return m, false
	case old && (m.free < 0 || m.total < 0 || megabytes >= 2048):
		return m, false // these are numbers of 32 bits (core_cmd.c, core_shmmem)
	}
	first, second := k.threshold("low_mem_threshold1", 512<<10*m.processes), k.threshold("low_mem_threshold2", 256<<10*m.processes)
	m.threshold, m.unguarded = max(first, second, 256<<10*m.processes), first == 0 && second == 0
	servers, clients := k.contexts()
	m.set = servers*serverContext + clients*clientContext
	for _, p := range k.tls.profiles {
		for _, text := range f.Texts[k.tls.path(p, "ca_list")] {
			m.set += int64(len(text.Content)) * rootsFactor
		}
	}
	m.set *= m.processes
	m.lost = (servers + clients) * lostContext * m.processes
	if !k.loses(f) {
		m.set, m.lost = m.set-m.lost, 0
	}
	m.whole = !f.Activated.After(f.Unit.Since) || f.Unit.Since.IsZero() ||
		replyValues(f.Answers[deployers.Query{Channel: k.channel, Method: "tls.info"}].Reply)["opened_connections"] != "0"
	return m, true
}

// threshold returns a threshold of the module tls as it is set now, which may
// have changed since the start (tls_rpc.c, tls_options).
func (k observed) threshold(name string, usual int64) int64 {
	set, err := strconv.ParseInt(k.tls.modparam[name], 10, 64)
	if err != nil || set < 0 {
		return usual // tls_init.c, tls_h_mod_pre_init_f
	}
	return set
}

// contexts returns the number of OpenSSL contexts that each process gets: one
// for each profile and for the two defaults (tls_domain.c,
// tls_fix_domains_cfg).
func (k observed) contexts() (servers, clients int64) {
	defaults := map[bool]bool{}
	for _, p := range k.tls.profiles {
		if p.Server {
			servers++
		} else {
			clients++
		}
		defaults[p.Server] = defaults[p.Server] || p.Default
	}
	if !defaults[true] {
		servers++
	}
	if !defaults[false] {
		clients++
	}
	return servers, clients
}

// loses reports whether Kamailio takes memory for lost that is not: its
// allocator qm, which is the usual one, does not subtract what realloc gives
// back (q_malloc.c, qm_realloc; mended by pull request 4566 in 5.8.8, 6.0.6 and
// 6.1.0).
func (k observed) loses(f deployers.Facts) bool {
	numbers := k.version(f).numbers
	before := func(release ...int) bool { return slices.Compare(numbers, release) < 0 }
	if numbers != nil && (!before(6, 0, 6) || !before(5, 8, 8) && before(6, 0, 0)) {
		return false
	}
	return k.option(f, "-x", "qm") == "qm"
}

// option returns the value of an option that Kamailio was started with
// (main.c).
func (k observed) option(f deployers.Facts, name, usual string) string {
	arguments := strings.Split(f.Answers[deployers.Query{Channel: k.channel, Method: "core.arg"}].Reply, "\n")
	for i, argument := range arguments {
		switch value, is := strings.CutPrefix(argument, name); {
		case is && value != "":
			usual = value
		case is && i+1 < len(arguments):
			usual = arguments[i+1]
		}
	}
	return usual
}

// fewReloads is the number of reloads left at which a warning begins.
const fewReloads = 10

// checkMemory adds a check of how many reloads are left, where there is a
// limit.
func (k observed) checkMemory(plan *deployers.Plan, t deployers.Target, f deployers.Facts) {
	m, known := k.memory(f)
	if !known {
		return
	}
	switch left := m.left(); {
	case left == nil || *left == 0: // this is for the activation to say
	case *left <= fewReloads:
		plan.Warn(deployers.Reload, m.remedy(t), "its shared memory lasts for %s", m.reloads(*left))
	default:
		plan.Fine(deployers.Reload, "its shared memory lasts for %s", m.reloads(*left))
	}
}

// manyRoots is the size of a ca_list from which on it is worth a word, in bytes.
const manyRoots = 64 << 10

// checkRoots adds a check of what long lists of roots take of the shared memory: with
// the system's in one profile, 6.1.5 started and then refused every handshake.
func (k observed) checkRoots(plan *deployers.Plan, f deployers.Facts) {
	m, known := k.memory(f)
	for _, p := range k.tls.profiles {
		path := k.tls.path(p, "ca_list")
		for _, text := range f.Texts[path] {
			each := int64(len(text.Content)) * rootsFactor
			remedy := "let ca_list hold only the roots of those who have to show a certificate, or start Kamailio with more shared memory (Debian: SHM_MEMORY= in /etc/default/kamailio)"
			switch {
			case len(text.Content) < manyRoots:
			case !known:
				plan.Warn(deployers.Reload, remedy, "%s has the ca_list %s, which takes some %s of shared memory for each of its processes", p.place(), path, megabytes(each))
			case each*m.processes > m.total/4:
				plan.Warn(deployers.Reload, remedy, "%s has the ca_list %s, which takes some %s of shared memory for its %d processes, of %s", p.place(), path, megabytes(each*m.processes), m.processes, megabytes(m.total))
			default:
				plan.Fine(deployers.Reload, "%s has the ca_list %s, which takes some %s of shared memory, of %s", p.place(), path, megabytes(each*m.processes), megabytes(m.total))
			}
		}
	}
}

func (m sharedMemory) reloads(left int) string {
	one := map[bool]string{true: "reload", false: "reloads"}[left == 1]
	return fmt.Sprintf("%d more %s: %s of %s are free, each reload takes %s for good, and %s",
		left, one, megabytes(m.free), megabytes(m.total), megabytes(m.lost), m.below())
}

// short returns why a reload does not fit, for people.
func (m sharedMemory) short() string {
	return fmt.Sprintf("a reload may take %s of shared memory for its %d processes, and %s are free: %s",
		megabytes(m.next()), m.processes, megabytes(m.free), m.below())
}

// below returns what would happen with too little memory, for people.
func (m sharedMemory) below() string {
	if m.unguarded {
		return fmt.Sprintf("%s are left to Kamailio for all that it does", megabytes(m.threshold))
	}
	return fmt.Sprintf("below %s Kamailio closes every new TLS connection", megabytes(m.threshold))
}

// remedy returns what helps where shared memory is short.
func (m sharedMemory) remedy(t deployers.Target) string {
	more := "start it with more (Debian: SHM_MEMORY= in /etc/default/kamailio)"
	switch {
	case m.tooSmall():
		return more + "; a restart without that would end its TLS"
	case m.lost == 0:
		return fmt.Sprintf("restart %s when it suits, or set allow_restart: true for target %s; for good, %s", t.Unit, t.Name, more)
	}
	cure := fmt.Sprintf("restart %s when it suits, or set allow_restart: true for target %s; for good, upgrade Kamailio to 5.8.8, 6.0.6 or 6.1.0, or start it with -x tlsf, or %s",
		t.Unit, t.Name, strings.TrimPrefix(more, "start it "))
	if !m.unguarded {
		cure += "; for now, kamcmd cfg.seti tls low_mem_threshold1 0 and kamcmd cfg.seti tls low_mem_threshold2 0 let it serve on, until nothing is left at all"
	}
	return cure
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/(1<<20)) }
