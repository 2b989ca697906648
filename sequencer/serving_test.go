package sequencer

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
	"github.com/seed-551dd829/braid/sequencer/kv/memory"
)

const servedShards = 16

// servedBy returns how many instances listen to each shard's commits.
func servedBy(t *testing.T, s *server.Server) string {
	t.Helper()
	var counts strings.Builder
	for shard := range servedShards {
		z, err := s.Subsz(&server.SubszOptions{Subscriptions: true, Test: api.Subjects{}.Commit(shard)})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(&counts, z.Total)
	}
	return counts.String()
}

var servedOnce = strings.Repeat("1", servedShards)

// TestShardsMoveWithTheInstances: several instances share the shards, one that comes gets its part, those of one that
// says goodbye or dies go to the others, and TxIDs stay dense whoever gives them.
func TestI1_ShardsMoveWithTheInstances(t *testing.T) {
	s := natstest.Server(t)
	nc := natstest.Connect(t, s)
	store := memory.New(memory.Options{Shards: servedShards})
	c := &cluster{t: t, nc: nc, seq: bus.NewSequencer(nc, api.Subjects{})}
	conns, stops := map[string]*nats.Conn{}, map[string]func() error{}
	start := func(id string) {
		conns[id] = natstest.Connect(t, s)
		stops[id] = startService(t, conns[id], Config{ID: id}, store)
	}
	start("a")
	a, err := c.seq.RegisterNode(c.ctx(), api.RegisterNodeRequest{ID: "p1", Role: api.Primary, Mark: "m", Attempt: "1"})
	if err != nil {
		t.Fatal(err)
	}
	c.epoch = a.Epoch
	if got := servedBy(t, s); got != servedOnce {
		t.Errorf("one instance alone: shards are served by %s", got)
	}
	prints := map[string]api.Fingerprint{}
	for i := range servedShards {
		table := fmt.Sprint("t", i)
		prints[table] = c.grow(table)
	}
	committed := 0
	commit := func() {
		t.Helper()
		for table, print := range prints {
			c.commitOne(keyed(table, print, fmt.Sprint(committed)))
		}
		committed++
	}
	commit()
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"two more start", func() { start("b"); start("c") }},
		{"one says goodbye", func() {
			if err := stops["a"](); err != nil {
				t.Error(err)
			}
		}},
		{"one dies", func() { conns["b"].Close() }},
		{"another starts", func() { start("d") }},
	} {
		step.do()
		commit()
		natstest.Eventually(t, step.what+": each shard is served once", func() bool { return servedBy(t, s) == servedOnce })
		commit()
	}
	tables, err := c.seq.Tables(c.ctx(), api.TablesRequest{})
	if err != nil || len(tables.Tables) != servedShards {
		t.Fatalf("%d tables, %v", len(tables.Tables), err)
	}
	for _, table := range tables.Tables {
		if table.Head != uint64(committed) {
			t.Errorf("head of %s is %d after %d commits", table.Name, table.Head, committed)
		}
	}
}

// commitOne commits a group as a primary does: again, unchanged, until there is an answer.
func (c *cluster) commitOne(g api.CommitGroup) {
	c.t.Helper()
	h, err := api.ParseGroupHeader(g.Header)
	if err != nil {
		c.t.Fatal(err)
	}
	r := api.CommitRequest{Node: "p1", Epoch: c.epoch, Groups: []api.CommitGroup{g}}
	natstest.Eventually(c.t, "a commit in "+h.Table, func() bool {
		attempt, cancel := context.WithTimeout(c.t.Context(), time.Second)
		defer cancel()
		answers, err := c.seq.Commit(attempt, api.Shard(h.Table, servedShards), &r)
		if err != nil {
			return false
		}
		if len(answers) != 1 || answers[0].Err != nil {
			c.t.Fatalf("%+v", answers)
		}
		return true
	})
}
