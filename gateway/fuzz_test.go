package gateway

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/seed-551dd829/braid/internal/api"
)

// FuzzUnpack: a packed payload is refused in few words, or unpacks within the limit; and gzip to what the standard
// library says.
func FuzzUnpack(f *testing.F) {
	var zipped bytes.Buffer
	for range 2 {
		w := gzip.NewWriter(&zipped)
		if _, err := io.WriteString(w, "cpu,host=a usage=1i\n"); err != nil {
			f.Fatal(err)
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
	}
	w, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(zipped.Bytes(), true)
	f.Add(w.EncodeAll(bytes.Repeat([]byte("cpu usage=1i\n"), 300), nil), false)
	const limit = 4096
	u := newUnpacker(limit)
	f.Fuzz(func(t *testing.T, data []byte, gz bool) {
		how := zstandard
		if gz {
			how = gzipped
		}
		got, refusal := u.unpack(data, how)
		if refusal != nil && (refusal.Code != 400 && refusal.Code != 413 || len(refusal.Message) > api.MessageBytesMax) {
			t.Fatalf("told %v", refusal)
		}
		if len(got) > limit {
			t.Fatalf("%d bytes", len(got))
		}
		if !gz || len(data) == 0 {
			return
		}
		want, err := reference(data, limit)
		switch {
		case refusal != nil && refusal.Code == 413:
			if int64(len(want)) <= limit && err == nil {
				t.Fatalf("%d bytes are too large", len(want))
			}
		case refusal != nil && reservedFlags(data): // the standard library does not look at them
		case (refusal == nil) != (err == nil) || err == nil && !bytes.Equal(got, want):
			t.Fatalf("unpacked %q, %v; the standard library says %q, %v", got, refusal, want, err)
		}
	})
}

// reservedFlags says whether a gzip member in data may have flags that RFC 1952 reserves, and for which it demands an error.
func reservedFlags(data []byte) bool {
	for {
		_, rest, found := bytes.Cut(data, []byte{0x1f, 0x8b, 8})
		if !found || len(rest) == 0 {
			return false
		}
		if rest[0]&0xe0 != 0 {
			return true
		}
		data = rest
	}
}

func reference(data []byte, limit int64) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, limit+1))
}

// FuzzHeartbeats: whatever heartbeats and topologies say, routing goes on, and its bytes are counted.
func FuzzHeartbeats(f *testing.F) {
	beat, err := json.Marshal(api.Heartbeat{ID: "p1", Role: api.Primary, State: api.Live, Epoch: 3, Load: 0.5, FreeBytes: 1 << 20})
	if err != nil {
		f.Fatal(err)
	}
	topology, err := json.Marshal(api.Topology{Version: 9, Shards: 1, Nodes: []api.Node{{ID: "p1", Role: api.Primary,
		State: api.Live, Epoch: 3, HTTP: "h:1", StandsInFor: "p2"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(beat, topology, "p1", 100)
	f.Add([]byte(`{"id":"p1","role":"primary","state":"live","load":-1e308,"free_bytes":-1,"senders":-1}`), topology, "", 0)
	f.Add([]byte(`{"role":"primary","state":"live","epoch":3}`),
		[]byte(`{"version":9,"nodes":[{"role":"primary","state":"live","epoch":3}]}`), "", 1)
	f.Fuzz(func(t *testing.T, beat, topology []byte, only string, size int) {
		r, now := newRouter(1000), time.Unix(1000, 0)
		// Known and heard beforehand, so that there is somebody to be harmed.
		r.setTopology(api.Topology{Version: 1, Nodes: []api.Node{{ID: "p1", Role: api.Primary, State: api.Live, Epoch: 1}}})
		r.heard(api.Heartbeat{ID: "p1", Role: api.Primary, State: api.Live, Epoch: 1, FreeBytes: 1000, Senders: 1}, now)
		var top api.Topology
		if json.Unmarshal(topology, &top) == nil {
			r.setTopology(top)
		}
		var h api.Heartbeat
		if json.Unmarshal(beat, &h) == nil {
			r.heard(h, now)
		}
		size = max(size, 0) % 2000
		c, found := r.choose(now, only, size)
		if found == chosen {
			if only != "" && c.ID != only {
				t.Fatalf("%s was chosen, not %s", c.ID, only)
			}
			r.send(c.ID, size)
			r.answered(c.ID, size)
			if n := r.account(c.ID).open; n != 0 {
				t.Fatalf("%d bytes open", n)
			}
		}
		if e := r.refusal(now, only); e != nil && (e.Code != 503 || len(e.Message) > api.MessageBytesMax+10) {
			t.Fatalf("told %v", e)
		}
		if node, ok := r.view.Reader(now); ok && node.ID == "" {
			t.Fatalf("read from %+v", node)
		}
	})
}
