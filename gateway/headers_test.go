package gateway_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/gateway"
	"github.com/seed-551dd829/braid/internal/api"
)

// producer returns the four headers of an identity.
func producer(id, epoch, sequence, settled string) nats.Header {
	return nats.Header{
		"Braid-Producer": {id}, "Braid-Producer-Epoch": {epoch}, "Braid-Sequence": {sequence},
		"Braid-Settled": {settled},
	}
}

func without(h nats.Header, name string) nats.Header {
	delete(h, name)
	return h
}

func with(h nats.Header, name, value string) nats.Header {
	h[name] = []string{value}
	return h
}

func zipped(parts ...string) string {
	var b bytes.Buffer
	for _, p := range parts {
		w := gzip.NewWriter(&b)
		w.Write([]byte(p))
		w.Close()
	}
	return b.String()
}

func zstded(parts ...string) string {
	w, _ := zstd.NewWriter(nil)
	out := ""
	for _, p := range parts {
		out += string(w.EncodeAll([]byte(p), nil))
	}
	return out
}

// TestI8_Headers: every header rule of the wire. message is part of the error; "" is accepted.
func TestI8_Headers(t *testing.T) {
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{})
	h := func(nameValue ...string) nats.Header {
		out := nats.Header{}
		for i := 0; i < len(nameValue); i += 2 {
			out[nameValue[i]] = append(out[nameValue[i]], nameValue[i+1])
		}
		return out
	}
	const ingest, many = "ingest.cpu", "ingest"
	for i, c := range []struct {
		subject string
		header  nats.Header
		data    string
		code    int
		message string
	}{
		{ingest, h("Content-Type", "text/plain"), row, 0, ""},
		{ingest, h("Content-Type", "Text/Plain; charset=utf-8"), row, 0, ""},
		{ingest, h("Content-Type", ""), row, 0, ""},
		{ingest, h("content-type", "application/json"), row, 400, "Content-Type"},
		{ingest, h("Content-Type", "text/csv"), row, 400, `"text/csv"`},
		{ingest, h("Content-Type", "application/x-ndjson"), `{"usage":1}`, 0, ""},
		{ingest, h("Content-Encoding", "br"), row, 400, `"br"`},
		{ingest, h("Content-Encoding", "identity"), row, 0, ""},
		{ingest, h("Content-Encoding", "gzip, gzip"), row, 400, "Content-Encoding"},
		{ingest, h("Content-Encoding", "GZIP"), zipped(row), 0, ""},
		{ingest, h("Content-Encoding", "gzip"), row, 400, "not gzip"},
		{ingest, h("Content-Encoding", "gzip"), zipped(row)[:20], 400, "damaged gzip"},
		{ingest, h("Content-Encoding", "gzip"), zipped(row) + "tail", 400, "damaged gzip"},
		{ingest, h("Content-Encoding", "gzip"), zipped("cpu,host=a us", "age=1i 1\n", row), 0, ""},
		{ingest, h("Content-Encoding", "zstd"), zstded(row), 0, ""},
		{ingest, h("Content-Encoding", "zstd"), zstded("cpu,host=a us", "age=1i 1\n"), 0, ""},
		{ingest, h("Content-Encoding", "zstd"), row, 400, "damaged zstd"},
		{ingest, h("Content-Encoding", "zstd"), zstded(row)[:15], 400, "damaged zstd"},
		{ingest, h("Content-Encoding", "gzip"), zipped(""), 400, "no row"},
		{ingest, h("Content-Encoding", "gzip"), "", 400, "no row"},
		{ingest, h("Content-Encoding", "zstd"), "", 400, "no row"},
		{ingest, nil, "", 400, "no row"},
		{many, nil, "\n# nothing\n", 400, "no row"},

		{ingest, h("Braid-Table", "cpu"), row, 0, ""},
		{ingest, h("Braid-Table", "mem"), row, 400, "the subject says cpu"},
		{ingest, h("Braid-Table", ""), row, 400, "Braid-Table"},
		{ingest, h("Braid-Table", "a b"), row, 400, "Braid-Table"},
		{many, h("Braid-Table", "cpu"), row, 0, ""},
		{many, h("Braid-Table", "mem"), row, 400, "mem"},
		{many, h("Braid-Table", "cpu", "Content-Type", "application/x-ndjson"), `{"usage":1}`, 0, ""},
		{many, h("Content-Type", "application/x-ndjson"), `{"usage":1}`, 400, "Braid-Table"},
		{ingest, nil, "mem x=1i 1\n", 400, "mem"},
		{"ingest.a.b", nil, "a.b x=1i 1\n", 0, ""},

		{ingest, h("Braid-Expected-TxID", "x"), row, 400, "Braid-Expected-TxID"},
		{ingest, h("Braid-Expected-TxID", ""), row, 400, "Braid-Expected-TxID"},
		{ingest, h("Braid-Expected-TxID", "-1"), row, 400, "Braid-Expected-TxID"},
		{ingest, h("Braid-Expected-TxID", "1.0"), row, 400, "Braid-Expected-TxID"},
		{ingest, h("Braid-Expected-TxID", "18446744073709551616"), row, 400, "Braid-Expected-TxID"},
		{ingest, h("Braid-Expected-TxID", "1", "Braid-Expected-TxID", "1"), row, 400, "more than once"},
		{ingest, h("Braid-Expected-TxID", "1", "braid-expected-txid", "1"), row, 400, "more than once"},
		{ingest, h("braid-expected-txid", "99999"), row, 409, "expected TxID 99999"},
		{many, h("Braid-Expected-TxID", "0"), "new1 x=1i\nnew2 x=1i\n", 400, "rows of 2"},
		{many, h("Braid-Expected-TxID", "0"), "new3 x=1i\nnew3 x=2i\n", 0, ""},

		{ingest, h("Braid-Durability", "object"), row, 0, ""},
		{ingest, h("Braid-Durability", "disk"), row, 400, `"disk"`},
		{ingest, h("Braid-Durability", "wal"), row, 0, ""},

		{ingest, h("Nats-Msg-Id", strings.Repeat("k", 255)), row, 0, ""},
		{ingest, h("Nats-Msg-Id", strings.Repeat("k", 256)), row, 400, "256 bytes"},
		{ingest, with(producer("p", "1", "2", "1"), "Nats-Msg-Id", "k"), row, 400, "two identities"},

		{ingest, producer("p", "1", "2", "1"), row, 0, ""},
		{ingest, without(producer("p", "1", "2", "1"), "Braid-Producer"), row, 400, "Braid-Producer is missing"},
		{ingest, without(producer("p", "1", "2", "1"), "Braid-Producer-Epoch"), row, 400, "Epoch is missing"},
		{ingest, without(producer("p", "1", "2", "1"), "Braid-Sequence"), row, 400, "Sequence is missing"},
		{ingest, without(producer("p", "1", "2", "1"), "Braid-Settled"), row, 400, "Settled is missing"},
		{ingest, producer("a.b", "1", "2", "1"), row, 400, "producer id"},
		{ingest, producer("", "1", "2", "1"), row, 400, "producer id"},
		{ingest, producer("p", "0", "2", "1"), row, 400, "epoch"},
		{ingest, producer("p", "x", "2", "1"), row, 400, "Braid-Producer-Epoch"},
		{ingest, producer("p", "1", "0", "0"), row, 400, "begin at 1"},
		{ingest, producer("p", "1", "2", "2"), row, 400, "not below"},
		{ingest, producer("p", "1", "2", "y"), row, 400, "Braid-Settled"},
		{ingest, producer("p", "1", "1026", "2"), row, 0, ""},
		{ingest, producer("p", "1", "1027", "2"), row, 429, "more than 1024 above settled"},
		{ingest, producer("p", "1", "18446744073709551615", "0"), row, 429, "above settled"},

		{ingest, h("Braid-Expectd-TxID", "1"), row, 400, "Braid-Expectd-TxID"},
		{ingest, h("X-Trace", "1", "Nats-Expected-Stream", "x"), row, 0, ""},
	} {
		name := fmt.Sprintf("%d %s %v", i, c.subject, c.header)
		msg := r.request(c.subject, c.header, []byte(c.data))
		got := msg.Header.Get(api.HeaderErrorCode)
		switch {
		case c.code == 0 && got != "":
			t.Errorf("%s: refused: %s", name, msg.Data)
		case c.code != 0 && got != fmt.Sprint(c.code):
			t.Errorf("%s: code %q, not %d: %s", name, got, c.code, msg.Data)
		case c.code != 0 && !strings.Contains(msg.Header.Get(api.HeaderError), c.message):
			t.Errorf("%s: error %q does not say %q", name, msg.Header.Get(api.HeaderError), c.message)
		}
	}
	for _, name := range c.tableNames() {
		if name != "cpu" && name != "a.b" && name != "new3" {
			t.Errorf("a refused request left the table %s", name)
		}
	}
}

// TestI7_PayloadLimits: past them it is 413, and a small payload that claims to be huge is never
// unpacked whole.
func TestI7_PayloadLimits(t *testing.T) {
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{RequestBytesMax: 100_000, UnpackedBytesMax: 200_000})
	big := strings.Repeat(row, 10_000) // 220 kB
	for name, send := range map[string]func() *api.Error{
		"plain": func() *api.Error { return r.refused("ingest.cpu", nil, big) },
		"gzip": func() *api.Error {
			return r.refused("ingest.cpu", nats.Header{"Content-Encoding": {"gzip"}}, zipped(big))
		},
		"gzip in members": func() *api.Error {
			return r.refused("ingest.cpu", nats.Header{"Content-Encoding": {"gzip"}}, zipped(big[:110_000], big[110_000:]))
		},
		"zstd": func() *api.Error {
			return r.refused("ingest.cpu", nats.Header{"Content-Encoding": {"zstd"}}, zstded(big))
		},
		"zstd in frames": func() *api.Error {
			return r.refused("ingest.cpu", nats.Header{"Content-Encoding": {"zstd"}}, zstded(big[:110_000], big[110_000:]))
		},
	} {
		if e := send(); e.Code != 413 || e.Name != api.TooLarge {
			t.Errorf("%s: told %v", name, e)
		}
	}
	fits := nats.Header{"Content-Encoding": {"gzip"}}
	if r.accepted("ingest.cpu", fits, zipped(big[:22*9000])) != 1 {
		t.Error("a payload under the limits")
	}
}

// TestI8_GroupTooLarge: a write whose group is over the limit is 413, is not split, and leaves no
// column.
func TestI8_GroupTooLarge(t *testing.T) {
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{})
	var b strings.Builder
	x := uint64(88172645463325252)
	for i := range 500_000 { // 4 MB of numbers that no compression makes smaller
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		fmt.Fprintf(&b, "huge v=%di %d\n", int64(x), i)
	}
	header := nats.Header{"Content-Encoding": {"zstd"}}
	packed := zstded(b.String())
	if len(packed) > api.RequestBytesMax {
		t.Fatalf("the request itself is too large: %d", len(packed))
	}
	if e := r.refused("ingest", header, packed); e.Name != api.TooLarge || e.Table != "huge" {
		t.Fatalf("told %v", e)
	}
	if names := c.tableNames(); len(names) != 0 {
		t.Fatalf("left %v", names)
	}
}
