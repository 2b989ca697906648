package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/cluster"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// TestVoid: a record whose only holder is lost for good is given up once its epoch is fenced and its node is known to be
// dead, and not before; the table goes on, and a repeat of the lost write is told 410.
func TestVoid(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan cluster.Up, 1), make(chan error, 1)
	go func() {
		ended <- cluster.Run(ctx, cluster.Config{DataDir: t.TempDir(), NATS: "127.0.0.1:0", HTTP: "127.0.0.1:0",
			Primaries: 1, Replicas: 1, Sequencers: 1}, slog.New(slog.DiscardHandler), func(up cluster.Up) { ready <- up })
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	up := <-ready
	nc, err := nats.Connect(up.NATS)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	write := func(key string) *api.Error {
		msg, err := nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: "ingest.cpu", Header: nats.Header{api.HeaderMsgID: {key}},
			Data: []byte("cpu usage=1i")})
		if err != nil {
			t.Fatal(err)
		}
		return bus.ReplyError(msg)
	}
	if e := write("first"); e != nil {
		t.Fatal(e)
	}
	seq := bus.NewSequencer(nc, api.Subjects{})
	lost := commitLost(t, seq)
	try := func() (string, error) {
		var out, asked bytes.Buffer
		c := voidCmd{natsFlags: natsFlags{Server: up.NATS}, Table: "cpu", TxID: 2, confirmFlag: confirmFlag{Yes: true}}
		err := c.Run(&process{ctx: ctx, log: slog.New(slog.DiscardHandler), stdout: &out, stderr: &asked})
		return out.String(), err
	}
	if out, err := try(); err == nil || !strings.Contains(err.Error(), "is not fenced") {
		t.Fatalf("void of a living epoch: %q, %v", out, err)
	}
	natstest.EventuallyNil(t, "the lost node is declared dead", func() error {
		topology, err := seq.Topology(ctx)
		if err != nil {
			return err
		}
		if n, _ := topology.Node("lost"); n.State == api.Dead { // failover was faster
			return nil
		}
		_, err = seq.FailNode(ctx, api.FailNodeRequest{ID: "lost", Epoch: lost, Version: topology.Version})
		return err
	})
	if out, err := try(); err != nil || !strings.Contains(out, "TxIDs 2 to 2 are void, 1 rows are lost") {
		t.Fatalf("void: %q, %v", out, err)
	}
	if out, err := try(); err == nil {
		t.Errorf("void again: %q", out)
	}
	if e := write("lost"); e == nil || e.Code != 410 {
		t.Errorf("a repeat of the lost write: %v", e)
	}
	if e := write("third"); e != nil {
		t.Error(e)
	}
	natstest.Eventually(t, "every node goes on", func() bool {
		a, err := seq.Pending(ctx, api.PendingRequest{})
		return err == nil && len(a.Records) == 0
	})
}

// commitLost commits TxID 2 of table cpu as held by a node that has never had a disk, and returns that node's epoch.
func commitLost(t *testing.T, seq *bus.Sequencer) (epoch uint64) {
	t.Helper()
	a, err := seq.RegisterNode(t.Context(), api.RegisterNodeRequest{ID: "lost", Role: api.Primary, Mark: "m", Attempt: "1"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := seq.Schema(t.Context(), api.SchemaRequest{Table: "cpu"})
	if err != nil {
		t.Fatal(err)
	}
	schema, err := api.NewSchema(s.Columns)
	if err != nil {
		t.Fatal(err)
	}
	h := api.GroupHeader{Table: "cpu", Fingerprint: schema.Fingerprint(schema.Len()), Durability: api.DurabilityWAL,
		Writes: []api.WriteMeta{{Rows: 1, Key: "lost"}}}
	r := api.CommitRequest{Node: "lost", Epoch: a.Epoch, Groups: []api.CommitGroup{{Segment: 1, Offset: 100, Length: 100,
		State: api.Pending, Holders: []string{"lost"}, Header: api.AppendGroupHeader(nil, &h)}}}
	answers, err := seq.Commit(t.Context(), 0, &r)
	if err != nil || !answers[0].Pending || answers[0].Writes[0].TxID != 2 {
		t.Fatalf("%+v, %v", answers, err)
	}
	return a.Epoch
}
