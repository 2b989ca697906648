//go:build fdb

package sequencer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
	"github.com/seed-551dd829/braid/sequencer/kv/fdb"
	"github.com/seed-551dd829/braid/sequencer/kv/fdb/fdbtest"
)

// realCluster is several sequencers on one FoundationDB, of which any may be killed.
type realCluster struct {
	*cluster
	nats    *server.Server
	fdb     *fdbtest.Server
	started int
	conns   map[string]*nats.Conn
}

func startReal(t *testing.T, instances int) *realCluster {
	t.Helper()
	s := natstest.Server(t)
	nc := natstest.Connect(t, s)
	r := &realCluster{nats: s, fdb: fdbtest.Start(t), conns: map[string]*nats.Conn{},
		cluster: &cluster{t: t, nc: nc, seq: bus.NewSequencer(nc, api.Subjects{})}}
	for range instances {
		r.start()
	}
	return r
}

// start starts an instance with a connection and a store of its own, as a process has.
func (r *realCluster) start() {
	r.t.Helper()
	store, err := fdb.Open(fdb.Options{ClusterFile: r.fdb.ClusterFile})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := store.Close(); err != nil {
			r.t.Error(err)
		}
	})
	id := fmt.Sprint("s", r.started)
	r.started++
	r.conns[id] = natstest.Connect(r.t, r.nats)
	startService(r.t, r.conns[id], Config{ID: id}, store)
}

// kill cuts an instance off, in the middle of whatever it does.
func (r *realCluster) kill() {
	for id, nc := range r.conns {
		nc.Close()
		delete(r.conns, id)
		return
	}
}

// primary sends commits of its own to a table, one after the other and each unchanged until there is an answer, as a
// primary does, and returns the TxIDs that it was told. Once it is fenced it is the next process of its node: it
// registers anew, and its writer sends again what has no answer, under the same key.
func (r *realCluster) primary(
	ctx context.Context, id, table string, print api.Fingerprint,
) (told map[string]uint64, err error) {
	epoch := r.register(id)
	told = map[string]uint64{}
	shard := api.Shard(table, shardsOnFDB)
	for n := 0; ctx.Err() == nil; n++ {
		key := fmt.Sprintf("%s-%d", id, n)
		q := api.CommitRequest{Node: id, Epoch: epoch, Groups: []api.CommitGroup{keyed(table, print, key)}}
		for {
			attempt, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			answers, err := r.seq.Commit(attempt, shard, &q)
			cancel()
			if err == nil && len(answers) == 1 && answers[0].Err == nil {
				o := answers[0].Writes[0]
				if o.Verdict != api.Accepted {
					return told, fmt.Errorf("%s was answered %+v", key, o)
				}
				told[key] = o.TxID
				break
			}
			if api.IsName(err, api.Fenced) {
				epoch = r.register(id)
				q.Epoch = epoch
				continue
			}
			if e := new(api.Error); errors.As(err, &e) && e.Name != api.Unavailable && e.Name != api.Overloaded {
				return told, err
			}
		}
	}
	return told, nil
}

const shardsOnFDB = 16

// TestI1I3I6_KillsOnFoundationDB: three sequencers and four primaries that write into two tables, while fdbserver is
// killed and started again, sequencers die and are replaced, and primaries are fenced by their next process. Every commit that was answered has its own TxID, and
// the log holds each of them once, dense.
func TestI1I3I6_KillsOnFoundationDB(t *testing.T) {
	r := startReal(t, 3)
	tables := []string{"cpu", "mem"}
	prints := map[string]api.Fingerprint{}
	for _, table := range tables {
		prints[table] = r.grow(table)
	}
	work, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	var mu sync.Mutex
	told := map[string]map[string]uint64{}
	for i := range 4 {
		table := tables[i%2]
		writers.Go(func() {
			got, err := r.primary(work, fmt.Sprint("p", i), table, prints[table])
			if err != nil {
				t.Errorf("primary %d: %v", i, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if told[table] == nil {
				told[table] = map[string]uint64{}
			}
			for key, txid := range got {
				told[table][key] = txid
			}
		})
	}
	r.torment(t)
	stop()
	writers.Wait()
	for _, table := range tables {
		r.judge(table, told[table])
	}
}

// torment kills now fdbserver, now a sequencer, now a primary, and waits in between until commits go through again.
func (r *realCluster) torment(t *testing.T) {
	const seed = 1
	random := rand.New(rand.NewPCG(seed, seed))
	print := r.grow("probe")
	for i := range 12 {
		switch random.IntN(3) {
		case 0:
			r.fdb.Kill()
			r.fdb.Restart()
		case 1:
			r.kill()
			r.start()
		case 2:
			r.register(fmt.Sprint("p", random.IntN(4)))
		}
		epoch := r.register("probe")
		for n := range 50 { // and so many by each primary, about
			q := api.CommitRequest{Node: "probe", Epoch: epoch,
				Groups: []api.CommitGroup{keyed("probe", print, fmt.Sprint(i, n))}}
			natstest.Eventually(t, "a commit after a kill", func() bool {
				attempt, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				answers, err := r.seq.Commit(attempt, api.Shard("probe", shardsOnFDB), &q)
				return err == nil && answers[0].Err == nil
			})
		}
	}
}

// register starts a process of a node, which fences the one before.
func (r *realCluster) register(id string) (epoch uint64) {
	natstest.Eventually(r.t, "a registration", func() bool {
		attempt, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		a, err := r.seq.RegisterNode(attempt, api.RegisterNodeRequest{ID: id, Role: api.Primary, Mark: id,
			Attempt: fmt.Sprint(time.Now().UnixNano())})
		epoch = a.Epoch
		return err == nil
	})
	return epoch
}

// judge compares what writers of a table were told with its log.
func (r *realCluster) judge(table string, told map[string]uint64) {
	r.t.Helper()
	owners := map[uint64]string{}
	for key, txid := range told {
		if owners[txid] != "" {
			r.t.Errorf("%s: TxID %d was told to %s and %s", table, txid, owners[txid], key)
		}
		owners[txid] = key
	}
	shard := api.Shard(table, shardsOnFDB)
	head := uint64(0)
	for from := uint64(1); ; {
		a, err := r.seq.Log(r.ctx(), shard, api.LogRequest{From: from, Limit: 1000})
		if err != nil {
			r.t.Fatal(err)
		}
		for i := range a.Records {
			if rec := &a.Records[i]; rec.Table == table {
				if rec.First != head+1 || rec.Count() != 1 {
					r.t.Fatalf("%s: the log has TxID %d and %d more after %d", table, rec.First, rec.Count()-1, head)
				}
				head = rec.Last()
			}
		}
		if from += uint64(len(a.Records)); len(a.Records) == 0 {
			break
		}
	}
	if head != uint64(len(told)) {
		r.t.Errorf("%s: head %d, but %d commits were answered", table, head, len(told))
	}
	for txid := uint64(1); txid <= head; txid++ {
		if owners[txid] == "" {
			r.t.Errorf("%s: nobody was told TxID %d", table, txid)
		}
	}
	r.t.Logf("%s: %d commits", table, head)
}
