package conformance_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// TestI7_HundredMegabytes: NATS refuses them, in the client or by cutting who sends them all the same; over HTTP it is
// 413, long before they have arrived. Nobody else notices.
func TestI7_HundredMegabytes(t *testing.T) {
	t.Parallel()
	const size = 100 << 20
	table := fresh()
	ok(t, write(t, table, table+" a=1i 1"), table, 1, 1)
	if err := nc.Publish("ingest."+table, make([]byte, size)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("the client says %v", err)
	}
	server, err := url.Parse(up.NATS)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := net.Dial("tcp", server.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if _, err := fmt.Fprintf(raw, "CONNECT {\"verbose\":false}\r\nPUB ingest.%s %d\r\n", table, size); err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(raw); err != nil || !strings.Contains(string(said), "Maximum Payload Violation") {
		t.Errorf("the server says %q, %v", said, err)
	}
	for _, length := range []int64{size, -1} {
		r, err := http.NewRequest("POST", up.HTTP+"/write", io.LimitReader(zeros{}, size))
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = length
		got, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(got.Body)
		got.Body.Close()
		if err != nil || got.StatusCode != 413 || !strings.Contains(string(body), `"too_large"`) {
			t.Errorf("length %d: %d %s %v", length, got.StatusCode, body, err)
		}
	}
	ok(t, write(t, table, table+" a=2i 1"), table, 2, 1)
	if got := rows(t, table, 2); len(got) != 2 {
		t.Errorf("rows %q", got)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// TestI7_BombsTakeLittleMemory: what a few megabytes claim to unpack to is never allocated. (Not parallel: it counts
// what the whole process allocates.)
func TestI7_BombsTakeLittleMemory(t *testing.T) {
	const mostMB = 6 * 64 // the limit, grown to by doubling
	comment := bytes.Repeat([]byte{'#'}, 64<<20)
	zstdFrame, gzipMember := zstded(comment), gzipped(comment)
	for name, c := range map[string]struct {
		encoding string
		data     []byte
	}{
		"zstd, 60 GB": {"zstd", bytes.Repeat(zstdFrame, 7<<20/len(zstdFrame))},
		"gzip, 6 GB":  {"gzip", bytes.Repeat(gzipMember, 100)},
	} {
		table := fresh()
		before := allocatedBytes()
		a := send(t, "ingest."+table, headers("Content-Encoding", c.encoding), c.data)
		took := (allocatedBytes() - before) >> 20
		refused(t, a, 413, "too_large", "unpacks")
		if took > mostMB {
			t.Errorf("%s: %d MB were allocated for a payload of %d kB", name, took, len(c.data)>>10)
		}
		t.Logf("%s: %d kB, %d MB allocated", name, len(c.data)>>10, took)
		absent(t, table)
	}
}

func allocatedBytes() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
