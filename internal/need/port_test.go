package need

import (
	"fmt"
	"net"
	"testing"
)

func TestPort(t *testing.T) {
	var first int
	t.Run("one test", func(t *testing.T) {
		first = Port(t)
		if second := Port(t); second == first {
			t.Errorf("port %d was given twice", second)
		}
	})
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if got := Port(t); got == first {
		t.Errorf("port %d was given, where something listens", got)
	}
}
