package conformance_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// bomb is n bytes of one line protocol row's string, packed.
func bomb(table string, n int, pack func(...[]byte) []byte) []byte {
	const step = 1 << 20
	parts := [][]byte{[]byte(table + ` s="`)}
	for range n / step {
		parts = append(parts, bytes.Repeat([]byte{'a'}, step))
	}
	return pack(append(parts, []byte(`" 1`))...)
}

// TestI7_SizeLimits: 8 MB as it arrives, 64 MB unpacked (found while unpacking, however it is
// packed), 4 MB as a group: 413 past each, never a part of a write.
func TestI7_SizeLimits(t *testing.T) {
	t.Parallel()
	noise := func(table string, rows int) []byte {
		r := rand.New(rand.NewPCG(1, 2))
		var b bytes.Buffer
		for i := range rows {
			fmt.Fprintf(&b, "%s v=%di %d\n", table, r.Int64(), i)
		}
		return b.Bytes()
	}
	joined := func(parts ...[]byte) []byte { return gzipped(bytes.Join(parts, nil)) }
	joinedZ := func(parts ...[]byte) []byte { return zstded(bytes.Join(parts, nil)) }
	for name, c := range map[string]struct {
		encoding string
		data     func(table string) []byte
		fits     bool
		piece    string
	}{
		"gzip bomb":             {"gzip", func(s string) []byte { return bomb(s, 65<<20, joined) }, false, "unpacks"},
		"gzip bomb in members":  {"gzip", func(s string) []byte { return bomb(s, 65<<20, gzipped) }, false, "unpacks"},
		"zstd bomb":             {"zstd", func(s string) []byte { return bomb(s, 65<<20, joinedZ) }, false, "unpacks"},
		"zstd bomb in frames":   {"zstd", func(s string) []byte { return bomb(s, 65<<20, zstded) }, false, "unpacks"},
		"zstd bomb of 2 GB":     {"zstd", func(s string) []byte { return bytes.Repeat(zstded(make([]byte, 64<<20)), 32) }, false, "unpacks"},
		"a group over 4 MB":     {"zstd", func(s string) []byte { return zstded(noise(s, 600_000)) }, false, "encoded"},
		"two groups' worth":     {"gzip", func(s string) []byte { return gzipped(halves(noise(s, 600_000))...) }, false, "encoded"},
		"a large write":         {"", func(s string) []byte { return noise(s, 200_000) }, true, ""},
		"much that packs small": {"zstd", func(s string) []byte { return zstded([]byte(strings.Repeat(s+" v=1i 1\n", 500_000))) }, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table := fresh()
			data := c.data(table)
			if c.fits && len(data) > 8<<20 || !c.fits && len(data) > 8<<20 {
				t.Fatalf("the payload has %d bytes, which is another test", len(data))
			}
			h := headers("Nats-Msg-Id", "k")
			if c.encoding != "" {
				h["Content-Encoding"] = []string{c.encoding}
			}
			a := send(t, "ingest."+table, h, data)
			if c.fits {
				if a.code != 0 || a.Results[0].TxID != 1 {
					t.Fatalf("told %s", a.raw)
				}
				return
			}
			refused(t, a, 413, "too_large", c.piece)
			absent(t, table)
			if a := post(t, "", data, "Content-Encoding", c.encoding); a.status != 413 || a.Name != "too_large" {
				t.Fatalf("over HTTP: %d %s", a.status, a.raw)
			}
			// The smaller write may have the same key.
			ok(t, write(t, table, table+" v=1i 1", "Nats-Msg-Id", "k"), table, 1, 1)
		})
	}
	table := fresh()
	if a := post(t, "", []byte(table+` s="`+strings.Repeat("a", 8<<20)+`"`)); a.status != 413 || a.Name != "too_large" {
		t.Errorf("a body over 8 MB: %d %s", a.status, a.raw)
	}
	absent(t, table)
	if got := nc.MaxPayload(); got < 8<<20 {
		t.Errorf("NATS takes %d bytes", got)
	}
}

// TestI7_ChosenPrimary: one that is not there, or that is a replica, is 503 within a second; one
// that lives takes the write itself.
func TestI7_ChosenPrimary(t *testing.T) {
	t.Parallel()
	table := fresh()
	for _, id := range []string{"p9", "r1", "NOBODY", "p1x", "日本"} {
		for _, subject := range []string{"primary." + id + ".ingest", "primary." + id + ".ingest." + table} {
			start := time.Now()
			a := send(t, subject, nil, []byte(table+" a=1i 1"))
			refused(t, a, 503, "unavailable", id)
			if took := time.Since(start); took > time.Second {
				t.Errorf("%s answered after %s", subject, took)
			}
		}
	}
	if r := fetch(t, up.HTTP, "/tables/"+table); r.status != 404 {
		t.Errorf("status %d", r.status)
	}
	ok(t, write(t, table, table+" a=1i", "Braid-Durability", "wal"), table, 1, 1)
	ok(t, write(t, table, table+" a=1i", "Braid-Durability", "object"), table, 2, 1)
}

// metric is the sum of a metric's series whose labels contain label.
func metric(t testing.TB, name, label string) (sum float64) {
	t.Helper()
	for line := range strings.Lines(fetch(t, up.HTTP, "/metrics").body) {
		series, value, found := strings.Cut(strings.TrimSpace(line), " ")
		if found && strings.HasPrefix(series, name+"{") && strings.Contains(series, label) {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += v
		}
	}
	return sum
}

// TestI8_PlainPublish: it is stored; its failures are counted by code. (Not parallel: it counts.)
func TestI8_PlainPublish(t *testing.T) {
	table := fresh()
	publish := func(subject, data string, h nats.Header) {
		t.Helper()
		if err := nc.PublishMsg(&nats.Msg{Subject: subject, Data: []byte(data), Header: h}); err != nil {
			t.Fatal(err)
		}
	}
	publish("ingest."+table, table+" a=1i 1", nil)
	if got := rows(t, table, 1); len(got) != 1 {
		t.Fatalf("rows %q", got)
	}
	const counter = "braid_gateway_publish_errors_total"
	for code, f := range map[string]func(){
		"400": func() { publish("ingest."+table, table+" a=x", nil) },
		"409": func() { publish("ingest."+table, table+" a=1i", headers("Braid-Expected-TxID", "7")) },
		"503": func() { publish("primary.p9.ingest."+table, table+" a=1i", nil) },
		"413": func() { publish("ingest", string(bomb(table, 65<<20, zstded)), headers("Content-Encoding", "zstd")) },
	} {
		before := metric(t, counter, `code="`+code+`"`)
		f()
		natstest.Eventually(t, code+" is counted", func() bool { return metric(t, counter, `code="`+code+`"`) == before+1 })
	}
	// A request with one bad table of two counts one.
	before := metric(t, counter, `code="400"`)
	publish("ingest", table+" a=1i 2\n"+table+"x a=y\n", nil)
	natstest.Eventually(t, "one of two is counted", func() bool { return metric(t, counter, `code="400"`) == before+1 })
	if got := rows(t, table, 2); len(got) != 2 {
		t.Fatalf("rows %q", got)
	}
}

// TestI8_EmptyTokens: a subject with an empty token never reaches a table, and is not silent. The
// client library or the server may refuse it before Braid sees it.
func TestI8_EmptyTokens(t *testing.T) {
	t.Parallel()
	table := fresh()
	for _, subject := range []string{"ingest." + table + "..b", "ingest..", "primary.p1.ingest." + table + "..b"} {
		msg, err := nc.RequestMsg(&nats.Msg{Subject: subject, Data: []byte(table + "..b a=1i")}, time.Second)
		if err == nil && msg.Header.Get("Nats-Service-Error-Code") != "400" {
			t.Errorf("%s: %v %s", subject, msg.Header, msg.Data)
		}
	}
}

// TestI4_RowsKeepTheRequestsOrder: nothing sorts them, and no small writes that are merged mix.
func TestI4_RowsKeepTheRequestsOrder(t *testing.T) {
	t.Parallel()
	table := fresh()
	const writers, each, batch = 8, 12, 7
	var at sync.Map // TxID to the write's name
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				var b strings.Builder
				for r := range batch {
					fmt.Fprintf(&b, "%s,w=w%d i=%di,r=%di %d\n", table, w, i, r, (batch-r)*1000)
				}
				a := send(t, "ingest."+table, nil, []byte(b.String()))
				if a.code != 0 || a.Results[0].Rows != batch {
					t.Errorf("told %s", a.raw)
					return
				}
				if _, twice := at.LoadOrStore(a.Results[0].TxID, fmt.Sprintf(`"w":"w%d","i":%d,`, w, i)); twice {
					t.Errorf("TxID %s was given twice", a.txid)
				}
			}
		})
	}
	all.Wait()
	lines := strings.Split(strings.TrimSpace(read(t, table, writers*each, "txid=1").body), "\n")
	if len(lines) != writers*each*batch {
		t.Fatalf("%d rows", len(lines))
	}
	for i, line := range lines {
		txid, r := uint64(i/batch+1), i%batch
		name, known := at.Load(txid)
		want := fmt.Sprintf(`{"timestamp":%d,"txid":%d,%v"r":%d}`, (batch-r)*1000, txid, name, r)
		if !known || line != want {
			t.Fatalf("row %d is %s, want %s", i, line, want)
		}
	}
}
