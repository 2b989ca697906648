package cluster

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/bearer"
)

// served is a port of a process, with a handler that echoes bodies.
func served(t *testing.T, h HTTP) string {
	t.Helper()
	env := Env{Logger: slog.New(slog.DiscardHandler), Registry: NewRegistry(), HTTP: h}
	l, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- env.serve(ctx, l, env.mux(func() error { return nil }, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(w, r.Body); err != nil {
				panic(http.ErrAbortHandler)
			}
		})))
	}()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil && err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// TestTokensOfAPort: with tokens, nothing but the two questions how it is goes without one.
func TestTokensOfAPort(t *testing.T) {
	tokens, err := bearer.Parse("read,write 0123456789abcdef0123456789")
	if err != nil {
		t.Fatal(err)
	}
	at := "http://" + served(t, HTTP{Tokens: tokens})
	for _, c := range []struct {
		method, path, token string
		want                int
	}{
		{"GET", "/healthz", "", 200}, {"GET", "/readyz", "", 200}, {"GET", "/metrics", "", 200},
		{"GET", "/tables", "", 401}, {"POST", "/write", "", 401}, {"GET", "/segments/p1/1/1", "", 401},
		{"GET", "//tables", "", 401}, {"GET", "/healthz/../tables", "", 401}, {"POST", "/healthz", "", 401},
		{"GET", "/tables", "wrong-6789abcdef0123456789", 401}, {"GET", "/tables", "0123456789abcdef0123456789", 200},
	} {
		r, err := http.NewRequest(c.method, at+c.path, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		bearer.Set(r, c.token)
		client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		a, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != c.want && !(c.want == 401 && a.StatusCode == http.StatusTemporaryRedirect) {
			t.Errorf("%s %s with token %q: %d, want %d", c.method, c.path, c.token, a.StatusCode, c.want)
		}
	}
}

// TestI7_HeadOfARequest: a head that is too long is refused before all of it is there.
func TestI7_HeadOfARequest(t *testing.T) {
	c, err := net.Dial("tcp", served(t, HTTP{}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nX: %s", strings.Repeat("x", headerBytesMax+8<<10))
	a, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if a.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", a.StatusCode)
	}
}

// deadlines notes when a connection's deadlines are.
type deadlines struct {
	http.ResponseWriter
	reads, writes []time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.reads = append(d.reads, at)
	return nil
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.writes = append(d.writes, at)
	return nil
}

func (d *deadlines) Write(b []byte) (int, error) { return len(b), nil }
func (d *deadlines) Header() http.Header         { return http.Header{} }

// TestI7_DeadlinesMove: every piece of an answer has its time, and so has a body that nobody reads.
func TestI7_DeadlinesMove(t *testing.T) {
	d := new(deadlines)
	h := patient(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			if _, err := w.Write([]byte("piece")); err != nil {
				t.Error(err)
			}
		}
	}))
	r, err := http.NewRequest("GET", "/", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	h.ServeHTTP(d, r)
	if len(d.reads) != 1 || d.reads[0].Before(before.Add(bodyTimeout)) {
		t.Errorf("read deadlines %v", d.reads)
	}
	if len(d.writes) != 5 { // at the beginning, with each piece, at the end
		t.Errorf("write deadlines %v", d.writes)
	}
	for _, at := range d.writes {
		if at.Before(before.Add(sendTimeout)) {
			t.Errorf("a piece has until %v only", at)
		}
	}
}
