package system

import (
	"fmt"
	"strings"

	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/system/bench"
)

// dead measures what looks at 200 endpoints of which 5 do not answer any more,
// against the time for which one handshake waits for an answer.
func (b *bencher) dead() (rows []bench.Row) {
	const size, lost = 200, 5
	h := b.boot()
	web := manyTarget{name: "web", lineage: "*.web.example", probe: "127.0.0.1", listens: map[string]string{}}
	for name := range many(size - lost) {
		web.listens[name] = "127.0.0.1:443"
	}
	targets, doctor := []manyTarget{web}, "doctor --target web"
	var die []string
	for n := range lost {
		// At first the address (RFC 5737) is the host's own; then whatever is sent to it
		// vanishes at the other end of a cable.
		name, lineage, address := fmt.Sprintf("lost%d", n), fmt.Sprintf("lost%d.example", n), fmt.Sprintf("192.0.2.%d", n+1)
		targets = append(targets, manyTarget{name, lineage, address, map[string]string{lineage: address + ":443"}})
		doctor += " --target " + name
		b.do(h, "ip address add "+address+"/32 dev lo")
		die = append(die, "ip address del "+address+"/32 dev lo", "ip route add "+address+" dev cable",
			"ip neighbour add "+address+" lladdr 02:00:00:00:00:01 dev cable nud permanent")
	}
	b.manyServers(h, newAuthority(b), targets...)
	b.do(h, append([]string{"ip link add cable type veth peer name end", "ip link set cable up", "ip link set end up"}, die...)...)

	timeout := []float64{ms(probe.Limit)}
	commands := []string{"status", "deploy", doctor}
	var each []func() sample
	for _, command := range commands {
		each = append(each, func() sample {
			return b.time(h, []int{0, 1, 2, 5, 6}, append([]string{"certlatch"}, strings.Fields(command)...)...)
		})
	}
	for i, s := range inTurns(rounds, each...) {
		name, _, _ := strings.Cut(commands[i], " ")
		rows = append(rows, bench.NewRow(name+" of 200 endpoints, 5 of them dead", "ms", wall(s)).Against("one timeout", timeout).AtMost(1.1))
	}
	return rows
}
