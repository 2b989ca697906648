package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/objstore/faulty"
	kvmemory "github.com/seed-551dd829/braid/sequencer/kv/memory"
)

// fullDisk refuses to write while full is set, as a file system without space does.
type fullDisk struct {
	disk.FS
	full *atomic.Bool
}

func (d fullDisk) Create(path string) (disk.File, error) {
	f, err := d.FS.Create(path)
	return fullFile{f, d.full}, err
}

type fullFile struct {
	disk.File
	full *atomic.Bool
}

func (f fullFile) Write(b []byte) (int, error) {
	if f.full.Load() {
		return 0, &fs.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}
	return f.File.Write(b)
}

// failing is a cluster whose nodes' disks and object store fail when they are told to.
type failing struct {
	t     *testing.T
	dir   string
	env   Env
	full  map[string]*atomic.Bool // by node
	away  atomic.Bool             // the object store, for everybody
	cut   map[string]*atomic.Bool // a node from the object store
	users *users                  // of the NATS server; a node's is its id
	slow  atomic.Int64            // what a put into it takes, in nanoseconds
	nc    *nats.Conn
	stack *stack
	ended map[string]<-chan error // by node
	http  string                  // of the gateway
}

func newFailing(t *testing.T, nodes ...string) *failing {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	f := &failing{t: t, dir: t.TempDir(), full: map[string]*atomic.Bool{}, cut: map[string]*atomic.Bool{},
		ended: map[string]<-chan error{}, stack: newStack(), users: startUsers(t, nodes)}
	var err error
	f.env = Env{Logger: log, Registry: NewRegistry(), Connect: f.users.connect("anybody", log)}
	if f.nc, err = f.env.Connect("test"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.nc.Close)
	store := kvmemory.New(kvmemory.Options{Shards: 1})
	f.service("sequencer", func(ctx context.Context, ready func(Ready)) error {
		return runSequencer(ctx, SequencerConfig{ID: "s1"}, store, f.env, ready)
	})
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := f.stack.stop(); err != nil {
			t.Error(err)
		}
	})
	for _, id := range nodes {
		f.full[id], f.cut[id] = new(atomic.Bool), new(atomic.Bool)
		f.node(id)
	}
	f.service("gateway", func(ctx context.Context, ready func(Ready)) error {
		return RunGateway(ctx, GatewayConfig{HTTP: "127.0.0.1:0"}, f.env, func(r Ready) { f.http = r.HTTP; ready(r) })
	})
	return f
}

func (f *failing) service(name string, run func(context.Context, func(Ready)) error) {
	f.t.Helper()
	err := f.stack.startReady(context.Background(), name, func(ctx context.Context, ready func()) error {
		return run(ctx, func(Ready) { ready() })
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// node starts a primary, or a replica if its id begins with r. One that fails is no failure of the stack.
func (f *failing) node(id string) {
	f.t.Helper()
	out := make(chan error, 1)
	f.ended[id] = out
	env, role := f.env, api.Primary
	if id[0] == 'r' {
		role = api.Replica
	}
	env.Registry, env.FS = NewRegistry(), fullDisk{disk.OS, f.full[id]}
	env.Connect = f.users.connect(id, env.Logger)
	env.Objects = func(s objstore.Store) objstore.Store {
		return faulty.New(s, func(faulty.Call) faulty.Fault {
			if f.away.Load() || f.cut[id].Load() {
				return faulty.Fault{Kind: faulty.Before}
			}
			return faulty.Fault{Delay: time.Duration(f.slow.Load())}
		}, faulty.Options{})
	}
	f.service(id, func(ctx context.Context, ready func(Ready)) error {
		err := RunNode(ctx, NodeConfig{
			ID: id, Role: role, DataDir: filepath.Join(f.dir, id), Objects: "dir:" + filepath.Join(f.dir, "objects"),
			HTTP: "127.0.0.1:0", SealInterval: time.Millisecond,
		}, env, ready)
		out <- err
		<-ctx.Done()
		return nil
	})
}

// write sends a row under a key, and returns its TxID or the error.
func (f *failing) write(subject, key string) (txid string, refusal *api.Error) {
	f.t.Helper()
	row := fmt.Sprintf("cpu key=%q 1", key)
	msg, err := f.nc.RequestMsg(&nats.Msg{Subject: subject, Header: nats.Header{api.HeaderMsgID: {key}}, Data: []byte(row)},
		20*time.Second)
	if err != nil {
		f.t.Fatal(err)
	}
	return msg.Header.Get(api.HeaderTxID), bus.ReplyError(msg)
}

func (f *failing) accepted(subject, key, txid string) {
	f.t.Helper()
	if got, err := f.write(subject, key); err != nil || got != txid {
		f.t.Fatalf("write %s is TxID %s, %v; want %s", key, got, err, txid)
	}
}

func (f *failing) refused(subject, key, piece string) {
	f.t.Helper()
	txid, err := f.write(subject, key)
	if err == nil || err.Name != api.Unavailable || err.Code != 503 || !strings.Contains(err.Message, piece) {
		f.t.Fatalf("write %s is TxID %q, %v; want unavailable with %q", key, txid, err, piece)
	}
}

// holds asserts that the table has the rows of these keys, in this order, as soon as a node has applied them.
func (f *failing) holds(keys ...string) {
	f.t.Helper()
	want := ""
	for _, k := range keys {
		want += fmt.Sprintf("{\"timestamp\":1,\"key\":%q}\n", k)
	}
	for end := time.Now().Add(20 * time.Second); ; {
		body := f.get("http://" + f.http + "/tables/cpu")
		if body == want {
			return
		}
		if time.Now().After(end) {
			f.t.Fatalf("the table has %s, want %s", body, want)
		}
		pause := time.NewTimer(5 * time.Millisecond)
		<-pause.C
	}
}

// get returns what an address answers, whatever its status.
func (f *failing) get(url string) string {
	f.t.Helper()
	r, err := http.Get(url)
	if err != nil {
		f.t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		f.t.Fatal(err)
	}
	return string(body)
}

// fails asserts that a node ends, and why.
func (f *failing) fails(id, piece string) {
	f.t.Helper()
	select {
	case err := <-f.ended[id]:
		if err == nil || !strings.Contains(err.Error(), piece) {
			f.t.Fatalf("node %s ended with %v, want %q", id, err, piece)
		}
	case <-time.After(20 * time.Second):
		f.t.Fatalf("node %s did not end", id)
	}
}

// TestI8_AFullDisk: its primary ends and says why, and its writers hear 503; everybody else writes through the other
// one. With no primary left writers hear 503; with space and a restart everything that was acknowledged is there, and
// what was sent again under its key is there once.
func TestI8_AFullDisk(t *testing.T) {
	t.Parallel()
	f := newFailing(t, "p1", "p2")
	f.accepted("primary.p1.ingest.cpu", "a", "1")
	f.full["p1"].Store(true)
	f.refused("primary.p1.ingest.cpu", "b", "p1")
	f.fails("p1", "no space left on device")
	f.accepted("primary.p2.ingest.cpu", "b", "2")
	f.accepted("ingest.cpu", "c", "3")
	f.full["p2"].Store(true)
	f.refused("ingest.cpu", "d", "unknown")
	f.fails("p2", "no space left on device")
	f.refused("ingest.cpu", "d", "no primary is live")
	f.full["p1"].Store(false)
	f.node("p1")
	f.accepted("ingest.cpu", "b", "2")
	f.accepted("ingest.cpu", "d", "4")
	f.accepted("ingest.cpu", "e", "5")
	f.holds("a", "b", "c", "d", "e")
}

// TestI8_AnObjectStoreThatIsAway: writers wait, and hear 503 with an outcome that is unknown; when it is back, all goes
// on by itself, and a write that is sent again is there once.
func TestI8_AnObjectStoreThatIsAway(t *testing.T) {
	t.Parallel()
	f := newFailing(t, "p1", "p2")
	f.accepted("ingest.cpu", "a", "1")
	f.away.Store(true)
	refused := make(chan *api.Error)
	for range 2 {
		go func() {
			msg, err := f.nc.RequestMsg(&nats.Msg{Subject: "ingest.cpu", Header: nats.Header{api.HeaderMsgID: {"b"}},
				Data: []byte(`cpu key="b" 1`)}, 20*time.Second)
			if err != nil {
				refused <- api.Errorf(api.Invalid, "%v", err)
				return
			}
			refused <- bus.ReplyError(msg)
		}()
	}
	for range 2 {
		if e := <-refused; e == nil || e.Name != api.Unavailable || !strings.Contains(e.Message, "unknown") {
			t.Fatalf("told %v", e)
		}
	}
	f.away.Store(false)
	f.accepted("ingest.cpu", "b", "2")
	f.accepted("ingest.cpu", "c", "3")
	f.holds("a", "b", "c")
	var topology api.Topology
	msg, err := f.nc.Request(api.Subjects{}.TopologyGet(), nil, 10*time.Second)
	if err == nil {
		err = json.Unmarshal(msg.Data, &topology)
	}
	if p1, _ := topology.Node("p1"); err != nil || p1.State != api.Live {
		t.Fatalf("%v %+v", err, topology)
	}
}
