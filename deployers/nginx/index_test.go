package nginx

import (
	"reflect"
	"testing"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
)

// TestIndexed wants those servers to be found that a plan's files may be used by,
// and each listener once, as of its first server.
func TestIndexed(t *testing.T) {
	listen := listener{host: "192.0.2.1", port: 443, last: 443, tls: true}
	server := func(where, certificate, key string, listens ...listener) serverBlock {
		return serverBlock{where: where, pairs: []pairFiles{{certificate, key}}, listens: listens}
	}
	read := indexed([]serverBlock{
		server("a:1", "/a.pem", "/a.key", listen),
		server("a:2", "/b.pem", "/b.key", listen, listener{host: "192.0.2.1", port: 443, last: 443, udp: true}),
		server("a:3", "/$ssl_server_name.pem", "/c.key"),
		server("a:4", "/c.pem", "/a.key", listener{port: 443, last: 443}),
	})
	plan := deployers.Plan{Files: []deployers.File{{Path: "/a.key", Content: deployers.Key}, {Path: "/a.pem", Content: deployers.Fullchain}}}
	var where []string
	for _, number := range read.concerned(plan) {
		where = append(where, read.servers[number].where)
	}
	if want := []string{"a:1", "a:3", "a:4"}; !reflect.DeepEqual(where, want) {
		t.Errorf("concerned are %v", where)
	}
	at := read.at(endpoint.Endpoint{Host: "192.0.2.1", Port: 443})
	if len(at) != 2 || at[0].where != "a:1" || at[1].where != "a:2" || !at[1].listener.udp {
		t.Errorf("there are %+v", at)
	}
	if at := read.at(endpoint.Endpoint{Host: "192.0.2.1", Port: 444}); at != nil {
		t.Errorf("elsewhere are %+v", at)
	}
}
