package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

const (
	idleConnections = 10_000
	// idleBytesMax is what a connection that says nothing may cost the process, the embedded NATS server included.
	idleBytesMax = 128 << 10
)

// TestI7_TenThousandIdleConnections: they cost little, writes go on beside them, and it is all given back.
func TestI7_TenThousandIdleConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: 10,000 connections to another process")
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < idleConnections+1000 {
		t.Skipf("SKIPPED: %d files may be open, %d are needed: ulimit -n 20000 (%v)", files.Cur, idleConnections+1000, err)
	}
	up := start(t, "up", asBraid, "up", "--data", t.TempDir(), "--nats", "127.0.0.1:0", "--http", "127.0.0.1:0", "--json")
	gateway, server := up.get("http"), strings.TrimPrefix(up.get("nats"), "nats://")
	write := func(row int) {
		t.Helper()
		r, err := http.Post(gateway+"/write", "", strings.NewReader(fmt.Sprintf("cpu a=%di %d", row, row)))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusNoContent || r.Header.Get("Braid-TxID") != strconv.Itoa(row) {
			t.Fatalf("write %d: status %d, TxID %s", row, r.StatusCode, r.Header.Get("Braid-TxID"))
		}
	}
	write(1)
	before := resident(t, gateway)
	open := make([]net.Conn, idleConnections)
	var dialers sync.WaitGroup
	for d := range 8 {
		dialers.Go(func() {
			for i := d; i < len(open); i += 8 {
				c, err := idle(server)
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				open[i] = c
			}
		})
	}
	dialers.Wait()
	if t.Failed() {
		return
	}
	for row := range 20 {
		write(row + 2)
	}
	with := resident(t, gateway)
	for _, c := range open {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	write(22)
	t.Logf("resident memory: %.0f MB before, %.0f MB with %d idle NATS connections, %.1f kB each", before/1e6, with/1e6,
		idleConnections, (with-before)/idleConnections/1e3)
	if with-before > idleConnections*idleBytesMax {
		t.Errorf("a connection costs %.0f bytes", (with-before)/idleConnections)
	}
	http.DefaultClient.CloseIdleConnections()
}

// idle opens a NATS connection that says no more than it has to.
func idle(server string) (net.Conn, error) {
	c, err := net.Dial("tcp", server)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, "CONNECT {\"verbose\":false}\r\nPING\r\n"); err != nil {
		return nil, err
	}
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(line, "PONG") {
			return c, nil
		}
	}
}

// resident is the process's resident memory, in bytes.
func resident(t *testing.T, gateway string) float64 {
	t.Helper()
	r, err := http.Get(gateway + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "process_resident_memory_bytes "); ok {
			bytes, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return bytes
		}
	}
	t.Fatal("the process does not say how much memory it has")
	return 0
}
