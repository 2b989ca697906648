package primary

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/segment"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func testSchema(t testing.TB) api.Schema {
	t.Helper()
	s, err := api.NewSchema([]api.Column{
		{Name: api.TimestampColumn, Type: api.Timestamp}, {Name: "host", Type: api.Tag}, {Name: "usage", Type: api.Int64},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fakeCatalog knows one schema, for every table.
type fakeCatalog struct{ schema api.Schema }

func (c fakeCatalog) Resolve(_ context.Context, table string, f api.Fingerprint) (api.Schema, error) {
	if p, ok := c.schema.Prefix(f); ok {
		return p, nil
	}
	return api.Schema{}, api.Errorf(api.Invalid, "table %s has no schema with fingerprint %s", table, f)
}

// arrowOf encodes rows rows of the test schema.
func arrowOf(t testing.TB, table string, rows int) []byte {
	t.Helper()
	b := columnar.NewBatch(table, columnar.Budget())
	for i := range rows {
		host, e1 := b.Column([]byte("host"), api.Tag, i+1)
		if e1 != nil {
			t.Fatal(e1)
		}
		host.PutTag(i, fmt.Appendf(nil, "host_%d", i%100))
		usage, e2 := b.Column([]byte("usage"), api.Int64, i+1)
		if e2 != nil {
			t.Fatal(e2)
		}
		usage.PutWord(i, uint64(i)*0x9e3779b97f4a7c15>>20)
		b.EndRow(int64(i) * 1e9)
	}
	if e := b.Finish(); e != nil {
		t.Fatal(e)
	}
	arrow, err := columnar.Encode(nil, testSchema(t), []*columnar.Batch{b})
	if err != nil {
		t.Fatal(err)
	}
	return arrow
}

// header is the header of a group with one write and the identity (g1, table, sequence).
func header(t testing.TB, table string, sequence uint64, rows int) api.GroupHeader {
	s := testSchema(t)
	return api.GroupHeader{
		Table: table, Fingerprint: s.Fingerprint(s.Len()),
		ID:     api.ProducerSeq{Producer: "g1", Epoch: 1, Sequence: sequence},
		Writes: []api.WriteMeta{{Rows: uint32(rows)}},
	}
}

func frameOf(t testing.TB, table string, sequence uint64, rows int) []byte {
	t.Helper()
	h := header(t, table, sequence, rows)
	return segment.AppendGroup(nil, &h, arrowOf(t, table, rows))
}

// fakeSequencer gives dense TxIDs, once for each identity, and keeps every record. before is asked ahead of each
// attempt: an error of it is the answer, and errLost has the request decided and its answer lost.
type fakeSequencer struct {
	mu      sync.Mutex
	heads   map[string]uint64
	first   map[string]api.GroupAnswer
	records []record
	before  func(shard int, r *api.CommitRequest) error
	seen    func(shard int, r *api.CommitRequest)
}

type record struct {
	table string
	txid  uint64
	group api.CommitGroup
	node  string
	epoch uint64
}

var errLost = fmt.Errorf("the answer was lost: %w", bus.ErrUnknown)

func newFakeSequencer() *fakeSequencer {
	return &fakeSequencer{heads: make(map[string]uint64), first: make(map[string]api.GroupAnswer)}
}

func (s *fakeSequencer) Commit(
	_ context.Context, shard int, r *api.CommitRequest,
) ([]api.GroupAnswer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.before != nil {
		if err = s.before(shard, r); err != nil && !errors.Is(err, errLost) {
			return nil, err
		}
	}
	// What travels is bytes, so that what the core keeps and what is decided are two things.
	sent, parseErr := api.ParseCommitRequest(api.AppendCommitRequest(nil, r))
	if parseErr != nil {
		return nil, api.Errorf(api.Invalid, "%v", parseErr)
	}
	answers := make([]api.GroupAnswer, len(sent.Groups))
	for i := range sent.Groups {
		if answers[i], parseErr = s.decide(&sent, &sent.Groups[i]); parseErr != nil {
			return nil, api.Errorf(api.Invalid, "%v", parseErr)
		}
	}
	if s.seen != nil {
		s.seen(shard, r)
	}
	if err != nil {
		return nil, err
	}
	return answers, nil
}

// Confirm makes the pending records of a segment confirmed.
func (s *fakeSequencer) Confirm(_ context.Context, id api.SegmentID) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.records {
		r := &s.records[i]
		if r.group.State == api.Pending && (api.SegmentID{Node: r.node, Epoch: r.epoch, Sequence: r.group.Segment}) == id {
			r.group.State = api.Confirmed
			n++
		}
	}
	return n, nil
}

func (s *fakeSequencer) decide(r *api.CommitRequest, g *api.CommitGroup) (api.GroupAnswer, error) {
	h, err := api.ParseGroupHeader(g.Header)
	if err != nil {
		return api.GroupAnswer{}, err
	}
	id := fmt.Sprint(h.Table, "/", h.ID.Producer, "/", h.ID.Sequence)
	if a, ok := s.first[id]; ok {
		return a, nil
	}
	a := api.GroupAnswer{Pending: g.State == api.Pending}
	s.records = append(s.records,
		record{table: h.Table, txid: s.heads[h.Table] + 1, group: *g, node: r.Node, epoch: r.Epoch})
	for range h.Writes {
		s.heads[h.Table]++
		a.Writes = append(a.Writes, api.Outcome{Verdict: api.Accepted, TxID: s.heads[h.Table]})
	}
	s.first[id] = a
	return a, nil
}

func (s *fakeSequencer) all() []record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]record(nil), s.records...)
}

// mailbox is a sender's end: the answer to one group.
type mailbox chan reply

type reply struct {
	answer api.GroupAnswer
	err    *api.Error
}

func (m mailbox) Reply(data []byte, _ nats.Header) error {
	a, err := api.ParseGroupAnswer(data)
	if err != nil {
		return err
	}
	m <- reply{answer: a}
	return nil
}

func (m mailbox) ReplyError(e *api.Error) error {
	m <- reply{err: e}
	return nil
}

// wait gets the answer; a test that waits this long has failed.
func (m mailbox) wait(t testing.TB) reply {
	t.Helper()
	select {
	case r := <-m:
		return r
	case <-time.After(30 * time.Second):
		t.Fatal("no answer after 30 s")
		return reply{}
	}
}

// run starts Run, and returns what stops it and gives its error.
func run(t testing.TB, s *Service) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() { stop() }) // a second stop is nothing
	return stop
}

// ended waits for a Run that ends by itself.
func ended(t testing.TB, s *Service) {
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(30 * time.Second):
		t.Fatal("Run has not ended after 30 s")
	}
}

// listening waits until the primary answers on the bus.
func listening(t testing.TB, nc *nats.Conn, s *Service) {
	t.Helper()
	until := time.Now().Add(30 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := bus.Request(ctx, nc, s.deps.Subjects.PrimaryWrite(s.cfg.ID), nil, []byte("?"))
		cancel()
		if api.IsName(err, api.Invalid) {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("the primary does not answer: %v", err)
		}
	}
}
