//go:build unix

package processes

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"
)

// echo answers every line with itself, until the end of the test.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }() // ends with the test's connections
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return l.Addr().String()
}

func proxied(t *testing.T) *Proxy {
	t.Helper()
	p, err := NewProxy(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func dial(t *testing.T, p *Proxy) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, bufio.NewReader(c)
}

func say(t *testing.T, c net.Conn, line string) {
	t.Helper()
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	if line, err := r.ReadString('\n'); err != nil || line != want+"\n" {
		t.Fatalf("heard %q, %v, want %q", line, err, want)
	}
}

// silent says that nothing comes, and no end either, for as long as a cut would have to leak within.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(make([]byte, 1))
	if e, ok := err.(net.Error); n > 0 || !ok || !e.Timeout() {
		t.Fatalf("read %d bytes, %v through a cut link", n, err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
}

// TestACutLinkIsSilentAndLosesNothing: neither end hears anything, not even an end, until it is whole again.
func TestACutLinkIsSilentAndLosesNothing(t *testing.T) {
	p := proxied(t)
	old, fromOld := dial(t, p)
	say(t, old, "one")
	hear(t, fromOld, "one")
	p.Cut()
	say(t, old, "two")
	fresh, fromFresh := dial(t, p)
	say(t, fresh, "three")
	silent(t, old)
	silent(t, fresh)
	p.Mend()
	hear(t, fromOld, "two")
	hear(t, fromFresh, "three")
}

// TestACutLinkCanBeClosed, with what hangs in it.
func TestACutLinkCanBeClosed(t *testing.T) {
	p := proxied(t)
	c, from := dial(t, p)
	say(t, c, "one")
	hear(t, from, "one")
	p.Cut()
	say(t, c, "two")
	dial(t, p)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(from); err != nil {
		t.Logf("the closed link ended with %v", err)
	}
}

// TestADelayedLinkIsLateAndNotSlow: many answers under way at once are each late once.
func TestADelayedLinkIsLateAndNotSlow(t *testing.T) {
	const delay = 100 * time.Millisecond
	p := proxied(t)
	p.SetDelay(delay)
	c, from := dial(t, p)
	start := time.Now()
	say(t, c, "one")
	hear(t, from, "one")
	if took := time.Since(start); took < delay {
		t.Fatalf("an answer after %s", took)
	}
}
