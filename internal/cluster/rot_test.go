package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// rotting is a whole cluster on a real disk, parts of which rot.
type rotting struct {
	t   *testing.T
	dir string
	up  Up
	nc  *nats.Conn
}

func newRotting(t *testing.T) *rotting {
	t.Helper()
	r := &rotting{t: t, dir: t.TempDir()}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan Up, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Config{
			DataDir: r.dir, NATS: "127.0.0.1:0", HTTP: "127.0.0.1:0", Primaries: 2, Replicas: 1, Sequencers: 1,
			SealInterval: time.Millisecond, ScrubBytes: 1 << 40, ScrubPause: 20 * time.Millisecond,
		}, slog.New(slog.DiscardHandler), func(u Up) { ready <- u })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case r.up = <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	nc, err := bus.Connect(bus.Options{InProcess: r.up.InProcess, Name: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); http.DefaultClient.CloseIdleConnections() })
	r.nc = nc
	return r
}

// write sends row n of a table through p1.
func (r *rotting) write(table string, n int) {
	r.t.Helper()
	msg, err := r.nc.Request("primary.p1.ingest."+table, fmt.Appendf(nil, "%s n=%di %d", table, n, n), 20*time.Second)
	if err == nil && bus.ReplyError(msg) != nil {
		err = bus.ReplyError(msg)
	}
	if err != nil {
		r.t.Fatalf("write %d to %s: %v", n, table, err)
	}
}

// reads asserts that a node has rows 1 to n of a table, as soon as it has applied them.
func (r *rotting) reads(node, table string, n int) {
	r.t.Helper()
	want := ""
	for i := range n {
		want += fmt.Sprintf("{\"timestamp\":%d,\"n\":%d}\n", i+1, i+1)
	}
	natstest.EventuallyNil(r.t, "rows of "+table+" on "+node, func() error {
		answer, err := http.Get(r.up.HTTP + "/tables/" + table + "?node=" + node)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err == nil && (answer.StatusCode != http.StatusOK || string(body) != want) {
			err = fmt.Errorf("status %d: %.200s", answer.StatusCode, body)
		}
		return err
	})
}

// flip changes a byte in the middle of a file, in place, and returns what the file was.
func (r *rotting) flip(path string) (good []byte) {
	r.t.Helper()
	good, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	at := len(good) / 2
	_, err = f.WriteAt([]byte{good[at] ^ 8}, int64(at))
	if err = errors.Join(err, f.Close()); err != nil {
		r.t.Fatal(err)
	}
	return good
}

func (r *rotting) becomes(path string, good []byte) {
	r.t.Helper()
	natstest.EventuallyNil(r.t, path+" is good again", func() error {
		b, err := os.ReadFile(path)
		if err == nil && !bytes.HasPrefix(b, good) { // a record file grows
			err = errors.New("it is not")
		}
		return err
	})
}

// agree asserts that all nodes have one digest of a table, as `braid verify` does.
func (r *rotting) agree(table string, txid uint64) {
	r.t.Helper()
	sums := map[string]bool{}
	for _, node := range []string{"p1", "p2", "r1"} {
		natstest.EventuallyNil(r.t, "digest of "+node, func() error {
			a, err := bus.Ask[api.DigestAnswer](r.t.Context(), r.nc, api.Subjects{}.NodeDigest(node),
				api.DigestRequest{Table: table, TxID: txid})
			switch {
			case err != nil:
				return err
			case a.TxID != txid:
				return fmt.Errorf("at TxID %d", a.TxID)
			}
			sums[a.Digest] = true
			return nil
		})
	}
	if len(sums) != 1 {
		r.t.Fatalf("digests of %s: %v", table, sums)
	}
}

// TestI9_FilesOfATableRot: every file of one table is flipped on p1's disk, where it is the object too, and so are
// p1's commit records. Rows come right from every node all the time, the scrub makes files and objects good, as two
// files, the nodes agree, and another table is written and read all the while.
func TestI9_FilesOfATableRot(t *testing.T) {
	r := newRotting(t)
	const n = 20
	for i := range n {
		r.write("rotten", i+1)
	}
	for _, node := range []string{"p1", "p2", "r1"} {
		r.reads(node, "rotten", n)
	}
	segments, err := filepath.Glob(filepath.Join(r.dir, "nodes/p1/segments/p1/*/*.seg"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("%v, %v", segments, err)
	}
	good := map[string][]byte{}
	for _, path := range segments {
		object := r.object(path)
		if a, b := stat(t, path), stat(t, object); !os.SameFile(a, b) {
			t.Fatalf("%s is no link to its object", path)
		}
		good[path] = r.flip(path)
	}
	records := filepath.Join(r.dir, "nodes/p1/tables/rotten/records")
	good[records] = r.flip(records)
	for i := range n {
		r.write("other", i+1)
		r.reads("p1", "other", i+1)
	}
	for _, node := range []string{"p1", "p2", "r1"} {
		r.reads(node, "rotten", n)
	}
	for path, bytes := range good {
		r.becomes(path, bytes)
		if path == records {
			continue
		}
		r.becomes(r.object(path), bytes)
		if a, b := stat(t, path), stat(t, r.object(path)); os.SameFile(a, b) {
			t.Errorf("%s and its object would rot together again", path)
		}
	}
	r.write("rotten", n+1)
	r.agree("rotten", n+1)
	r.agree("other", n)
}

// object is the object of one of p1's segments.
func (r *rotting) object(path string) string {
	r.t.Helper()
	key, err := filepath.Rel(filepath.Join(r.dir, "nodes/p1/segments"), path)
	if err != nil {
		r.t.Fatal(err)
	}
	return filepath.Join(r.dir, "objects/wal", key)
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// TestI9_AnObjectOfItsOwnNameStopsAPrimary: the object store has other bytes under the name of p1's next segment. The
// node ends and says so, is not routed to, and its successor goes on; nothing is acknowledged over it.
func TestI9_AnObjectOfItsOwnNameStopsAPrimary(t *testing.T) {
	f := newFailing(t, "p1", "p2")
	f.accepted("primary.p1.ingest.cpu", "a", "1")
	old, err := filepath.Glob(filepath.Join(f.dir, "objects/wal/p1/*/1.seg"))
	if err != nil || len(old) != 1 {
		t.Fatalf("%v, %v", old, err)
	}
	foreign := filepath.Join(filepath.Dir(old[0]), "2.seg")
	if err := os.WriteFile(foreign, []byte("another's"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.refused("primary.p1.ingest.cpu", "b", "p1")
	f.fails("p1", "exists with other content")
	if b, err := os.ReadFile(foreign); err != nil || string(b) != "another's" {
		t.Fatalf("the object was changed: %q, %v", b, err)
	}
	f.accepted("ingest.cpu", "b", "2") // through p2
	f.node("p1")                       // under a new epoch, whose names are free
	f.accepted("ingest.cpu", "c", "3")
	f.holds("a", "b", "c")
}
