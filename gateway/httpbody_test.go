package gateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/gateway"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// raw opens a connection to a server and sends what is there of a request.
func raw(t *testing.T, s *httptest.Server, query string, length int, body []byte) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	head := fmt.Sprintf("POST /write%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", query, length)
	if _, err := c.Write(append([]byte(head), body...)); err != nil {
		t.Fatal(err)
	}
	return c
}

func status(t *testing.T, c net.Conn) int {
	t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	return r.StatusCode
}

// TestI7_ARefusedBodyIsReadToItsEnd: whoever is still sending when it is decided that his request is refused hears why.
func TestI7_ARefusedBodyIsReadToItsEnd(t *testing.T) {
	r := newCluster(t, "p1").start(gateway.Config{HeldBytesMax: 8 << 20})
	s := r.serve()
	body := bytes.Repeat([]byte{'#'}, 7<<20)
	if code := status(t, raw(t, s, "?precision=bad", len(body), body)); code != http.StatusBadRequest {
		t.Errorf("status %d", code)
	}
	half := raw(t, s, "", len(body), body[:len(body)/2]) // has its room while it arrives
	natstest.Eventually(t, "its room is taken", func() bool { return r.gauge("braid_gateway_held_bytes") == float64(len(body)) })
	if code := status(t, raw(t, s, "", len(body), body)); code != http.StatusTooManyRequests {
		t.Errorf("without room: status %d", code)
	}
	if _, err := half.Write(body[len(body)/2:]); err != nil {
		t.Fatal(err)
	}
	if code := status(t, half); code != http.StatusNoContent {
		t.Errorf("status %d", code)
	}
	natstest.Eventually(t, "the room is given back", func() bool {
		return status(t, raw(t, s, "", len(body), body)) == http.StatusNoContent
	})
}

// TestI7_ABodyThatTricklesInLosesItsRoom: in time, with an error.
func TestI7_ABodyThatTricklesInLosesItsRoom(t *testing.T) {
	r := newCluster(t, "p1").start(gateway.Config{HeldBytesMax: 8 << 20, BodyTimeout: 50 * time.Millisecond})
	s := r.serve()
	if code := status(t, raw(t, s, "", 7<<20, []byte("cpu"))); code != http.StatusBadRequest {
		t.Errorf("status %d", code)
	}
	natstest.Eventually(t, "the room is given back", func() bool { return r.gauge("braid_gateway_held_bytes") == 0 })
	if code := status(t, raw(t, s, "", len(row), []byte(row))); code != http.StatusNoContent {
		t.Errorf("the next one: status %d", code)
	}
}
