package primary

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/natstest"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/segment"
)

// bed is a primary on fakes: what it runs on is there to be looked at and to be broken.
type bed struct {
	nc      *nats.Conn
	disk    *disk.Memory
	objects objstore.Store
	seq     *fakeSequencer
	cfg     Config
	shards  int
}

func newBed(t testing.TB) *bed {
	t.Helper()
	b := &bed{nc: natstest.Connect(t, natstest.Server(t)), disk: disk.NewMemory(), seq: newFakeSequencer(), shards: 2,
		cfg: Config{ID: "p1", Epoch: 3, SegmentsDir: "data/segments", SealInterval: time.Millisecond}}
	b.openObjects(t)
	return b
}

func (b *bed) openObjects(t testing.TB) {
	t.Helper()
	objects, err := objstore.OpenDir(context.Background(), b.disk, "objects")
	if err != nil {
		t.Fatal(err)
	}
	b.objects = objects
}

func (b *bed) service(t testing.TB) *Service {
	t.Helper()
	s, err := New(b.cfg, Deps{
		Conn: b.nc, FS: b.disk, Objects: b.objects, Sequencer: b.seq, Catalog: fakeCatalog{testSchema(t)},
		Shards: b.shards, Logger: quiet, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// send gives the primary a group without NATS in between.
func send(s *Service, frame []byte) mailbox {
	m := make(mailbox, 2)
	s.take("g1", frame, m)
	return m
}

// object reads what the object store has of a record, and checks that it is a whole segment.
func (b *bed) object(t testing.TB, r record) []byte {
	t.Helper()
	id := api.SegmentID{Node: r.node, Epoch: r.epoch, Sequence: r.group.Segment}
	body, _, err := b.objects.Get(context.Background(), id.Key())
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		t.Fatal(err)
	}
	whole, err := segment.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatalf("segment %s: %v", id, err)
	}
	if _, err := whole.Verify(); err != nil || whole.ID() != id {
		t.Fatalf("segment %s: %v", id, err)
	}
	frame, err := segment.ReadGroup(bytes.NewReader(data), r.group.Offset, r.group.Length, r.group.CRC)
	if err != nil {
		t.Fatalf("segment %s: %v", id, err)
	}
	return frame
}

// TestI2_AcknowledgedGroupsAreInTheObjectStore sends groups of several tables over NATS from several senders.
func TestI2_AcknowledgedGroupsAreInTheObjectStore(t *testing.T) {
	b := newBed(t)
	s := b.service(t)
	stop := run(t, s)
	listening(t, b.nc, s)
	const senders, each = 4, 25
	var mu sync.Mutex
	frames := make(map[string][]byte) // by table and TxID
	var wg sync.WaitGroup
	for k := range senders {
		wg.Go(func() {
			table := fmt.Sprint("cpu", k%3)
			for i := range each {
				frame := frameOf(t, table, uint64(k*each+i+1), 10+i)
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				hdr := nats.Header{api.HeaderSender: []string{fmt.Sprint("gateway", k)}}
				msg, err := bus.Request(ctx, b.nc, s.deps.Subjects.PrimaryWrite("p1"), hdr, frame)
				cancel()
				if err != nil {
					t.Errorf("write: %v", err)
					return
				}
				a, err := api.ParseGroupAnswer(msg.Data)
				if err != nil || a.Err != nil || len(a.Writes) != 1 {
					t.Errorf("answer %+v: %v", a, err)
					return
				}
				mu.Lock()
				frames[fmt.Sprint(table, a.Writes[0].TxID)] = frame
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if l := s.Load(); l.Senders < senders || l.Fraction != 0 || l.FreeBytes != 64<<20 {
		t.Errorf("load %+v", l)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	records := b.seq.all()
	if len(frames) != senders*each || len(records) != senders*each {
		t.Fatalf("%d answers, %d records", len(frames), len(records))
	}
	for _, r := range records {
		if want := frames[fmt.Sprint(r.table, r.txid)]; !bytes.Equal(b.object(t, r), want) {
			t.Fatalf("%s %d: other bytes in the object store", r.table, r.txid)
		}
		id := api.SegmentID{Node: "p1", Epoch: 3, Sequence: r.group.Segment}
		if _, err := b.disk.Stat(segment.Path(b.cfg.SegmentsDir, id)); err != nil {
			t.Fatalf("the node's own copy: %v", err)
		}
	}
}

// TestI3_LostAnswersAreAskedForAgainUnchanged loses the first three answers of each request.
func TestI3_LostAnswersAreAskedForAgainUnchanged(t *testing.T) {
	b := newBed(t)
	b.shards = 1
	var attempts [][]byte
	b.seq.before = func(_ int, r *api.CommitRequest) error {
		attempts = append(attempts, api.AppendCommitRequest(nil, r))
		if len(attempts)%4 != 0 {
			return errLost
		}
		return nil
	}
	s := b.service(t)
	stop := run(t, s)
	first, second := send(s, frameOf(t, "cpu", 1, 5)), send(s, frameOf(t, "cpu", 2, 5))
	for i, m := range []mailbox{first, second} {
		if r := m.wait(t); r.err != nil || r.answer.Writes[0].TxID != uint64(i+1) {
			t.Fatalf("answer %d: %+v", i, r)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for i := range attempts {
		if !bytes.Equal(attempts[i], attempts[i/4*4]) {
			t.Fatalf("attempt %d differs from attempt %d", i, i/4*4)
		}
	}
}

// TestI6_FencedPrimaryAcknowledgesNothing: the sequencer's word alone ends the epoch.
func TestI6_FencedPrimaryAcknowledgesNothing(t *testing.T) {
	b := newBed(t)
	b.seq.before = func(int, *api.CommitRequest) error { return api.Errorf(api.Fenced, "epoch 3 of p1 is fenced") }
	s := b.service(t)
	stop := run(t, s)
	for i := range 3 {
		if r := send(s, frameOf(t, "cpu", uint64(i+1), 5)).wait(t); r.err == nil || r.err.Name != api.Unavailable {
			t.Fatalf("answer %+v", r)
		}
	}
	ended(t, s)
	if err := stop(); !errors.Is(err, ErrFenced) {
		t.Fatalf("Run: %v", err)
	}
	if l := s.Load(); l.FreeBytes != 0 {
		t.Fatalf("load %+v", l)
	}
}

// TestI7_PastTheBoundSendersAreToldToSlowDown holds commits back until the bound is reached.
func TestI7_PastTheBoundSendersAreToldToSlowDown(t *testing.T) {
	b := newBed(t)
	release := make(chan struct{})
	b.seq.before = func(int, *api.CommitRequest) error { <-release; return nil }
	b.cfg.AdmissionBytes = api.GroupBytesMax
	s := b.service(t)
	stop := run(t, s)
	frame := frameOf(t, "cpu", 1, 200_000)
	fit := int(b.cfg.AdmissionBytes) / len(frame)
	if fit < 1 || fit > 20 {
		t.Fatalf("frame of %d bytes does not suit the test", len(frame))
	}
	var admitted []mailbox
	for range fit {
		admitted = append(admitted, send(s, frame))
	}
	if r := send(s, frame).wait(t); r.err == nil || r.err.Name != api.Overloaded || r.err.RetryAfterMS == 0 {
		t.Fatalf("answer past the bound: %+v", r)
	}
	if l := s.Load(); l.FreeBytes != b.cfg.AdmissionBytes-int64(fit*len(frame)) {
		t.Fatalf("load %+v", l)
	}
	close(release)
	for _, m := range admitted {
		if r := m.wait(t); r.err != nil {
			t.Fatal(r.err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// TestI8_BadGroupsAreRefusedAndHarmNoOther names what is wrong; the group after it is taken.
func TestI8_BadGroupsAreRefusedAndHarmNoOther(t *testing.T) {
	b := newBed(t)
	s := b.service(t)
	stop := run(t, s)
	good := frameOf(t, "cpu", 1, 5)
	arrow := arrowOf(t, "cpu", 5)
	with := func(change func(h *api.GroupHeader)) []byte {
		h := header(t, "cpu", 2, 5)
		change(&h)
		return segment.AppendGroup(nil, &h, arrow)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	for _, c := range []struct {
		name   string
		frame  []byte
		code   api.Name
		reason string
	}{
		{"nothing", nil, api.Invalid, "too few"},
		{"cut short", good[:len(good)-1], api.Invalid, "length"},
		{"flipped bit", flipped, api.Invalid, "checksum"},
		{"too large", make([]byte, api.GroupBytesMax+1), api.TooLarge, "larger"},
		{"unknown fingerprint", with(func(h *api.GroupHeader) { h.Fingerprint[9] ^= 1 }), api.Invalid, "fingerprint"},
		{"bad table", with(func(h *api.GroupHeader) { h.Table = "a b" }), api.Invalid, "table name"},
		{"another schema", with(func(h *api.GroupHeader) { h.Fingerprint = testSchema(t).Fingerprint(2) }), api.Invalid, ""},
		{"row count", with(func(h *api.GroupHeader) { h.Writes[0].Rows = 6 }), api.Invalid, ""},
		{"no identity", with(func(h *api.GroupHeader) { h.ID = api.ProducerSeq{} }), api.Invalid, "neither the group nor its write 0"},
		{"a key for one write of two", with(func(h *api.GroupHeader) {
			h.ID, h.Writes = api.ProducerSeq{}, []api.WriteMeta{{Rows: 2, Key: "k"}, {Rows: 3}}
		}), api.Invalid, "neither the group nor its write 1"},
		{"rows that only add up", with(func(h *api.GroupHeader) {
			h.Writes = []api.WriteMeta{{Rows: 2}, {Rows: 4}}
		}), api.Invalid, "has 5 rows, the group says 6"},
		{"no Arrow", segment.AppendGroup(nil, ptr(header(t, "cpu", 2, 5)), nil), api.Invalid, ""},
	} {
		r := send(s, c.frame).wait(t)
		if r.err == nil || r.err.Name != c.code || !strings.Contains(r.err.Message, c.reason) {
			t.Errorf("%s: answer %+v, want %s with %q", c.name, r, c.code, c.reason)
		}
	}
	if r := send(s, good).wait(t); r.err != nil {
		t.Errorf("a good group: %v", r.err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// blockedCatalog answers when it is released.
type blockedCatalog struct {
	release chan struct{}
	err     error
}

func (c blockedCatalog) Resolve(ctx context.Context, _ string, _ api.Fingerprint) (api.Schema, error) {
	select {
	case <-c.release:
		return api.Schema{}, c.err
	case <-ctx.Done():
		return api.Schema{}, ctx.Err()
	}
}

// TestI7_FullCheckQueueIsOverloadedAtOnce: checkers that wait for a schema do not make the subscription wait. When the
// sequencer does not tell the schema, nobody knows whether the group is good: 503.
func TestI7_FullCheckQueueIsOverloadedAtOnce(t *testing.T) {
	b := newBed(t)
	s := b.service(t)
	catalog := blockedCatalog{release: make(chan struct{}), err: fmt.Errorf("schema: %w", bus.ErrUnknown)}
	s.deps.Catalog = catalog
	stop := run(t, s)
	frame := frameOf(t, "cpu", 1, 1)
	answers := make(mailbox, 3*checksMax)
	var overloaded reply
	for range 2 * checksMax {
		s.take("g1", frame, answers)
	}
	if overloaded = answers.wait(t); overloaded.err == nil || overloaded.err.Name != api.Overloaded {
		t.Fatalf("answer %+v", overloaded)
	}
	close(catalog.release)
	counts := map[api.Name]int{api.Overloaded: 1}
	for range 2*checksMax - 1 {
		r := answers.wait(t)
		if r.err == nil {
			t.Fatalf("answer %+v", r)
		}
		counts[r.err.Name]++
	}
	if counts[api.Unavailable] < checksMax || counts[api.Unavailable]+counts[api.Overloaded] != 2*checksMax {
		t.Fatalf("answers %v", counts)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if l := s.Load(); l.Fraction != 0 {
		t.Fatalf("load %+v", l)
	}
}

func ptr[T any](v T) *T { return &v }

// TestDrainFinishesWhatIsAdmitted: new groups get 503 at once, over NATS too; admitted ones their answer.
func TestDrainFinishesWhatIsAdmitted(t *testing.T) {
	b := newBed(t)
	asked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b.seq.before = func(int, *api.CommitRequest) error {
		once.Do(func() { close(asked) })
		<-release
		return nil
	}
	s := b.service(t)
	stop := run(t, s)
	listening(t, b.nc, s)
	admitted := send(s, frameOf(t, "cpu", 1, 5))
	<-asked
	done := make(chan error)
	go func() { done <- stop() }()
	frame := frameOf(t, "cpu", 2, 5)
	for { // until the drain has begun, groups are taken
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		_, err := bus.Request(ctx, b.nc, s.deps.Subjects.PrimaryWrite("p1"), nil, frame)
		cancel()
		if api.IsName(err, api.Unavailable) {
			break
		}
		if !errors.Is(err, bus.ErrUnknown) {
			t.Fatalf("while it drains: %v", err)
		}
	}
	close(release)
	if r := admitted.wait(t); r.err != nil {
		t.Fatalf("the admitted group: %v", r.err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err := bus.Request(ctx, b.nc, s.deps.Subjects.PrimaryWrite("p1"), nil, frame)
	if !errors.Is(err, bus.ErrNoResponders) {
		t.Fatalf("after Run: %v", err)
	}
}

// TestDrainIsBounded: a sequencer that never answers does not keep the process.
func TestDrainIsBounded(t *testing.T) {
	b := newBed(t)
	b.cfg.DrainFor = 10 * time.Millisecond
	asked := make(chan struct{}, 100)
	b.seq.before = func(int, *api.CommitRequest) error { asked <- struct{}{}; return bus.ErrNoResponders }
	s := b.service(t)
	stop := run(t, s)
	m := send(s, frameOf(t, "cpu", 1, 5))
	<-asked
	if err := stop(); !errors.Is(err, ErrDrainOver) {
		t.Fatal(err)
	}
	if r := m.wait(t); r.err == nil || r.err.Name != api.Unavailable {
		t.Fatalf("answer %+v", r)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	b := newBed(t)
	good := b.cfg
	for name, change := range map[string]func(c *Config){
		"id":        func(c *Config) { c.ID = "P 1" },
		"epoch":     func(c *Config) { c.Epoch = 0 },
		"folder":    func(c *Config) { c.SegmentsDir = "" },
		"in flight": func(c *Config) { c.InFlight = -1 },
		"admission": func(c *Config) { c.AdmissionBytes = 1000 },
		"segment":   func(c *Config) { c.SegmentBytesMax = api.GroupBytesMax },
		"interval":  func(c *Config) { c.SealInterval = -1 },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg, Deps{Conn: b.nc, FS: b.disk, Objects: b.objects, Sequencer: b.seq,
			Catalog: fakeCatalog{}, Shards: 1, Logger: quiet}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := New(good, Deps{}); err == nil {
		t.Error("no dependencies: no error")
	}
}

func TestSendersAreCountedOverASecond(t *testing.T) {
	var s senders
	for i := range 2 * sendersMax {
		s.heard(fmt.Sprint(i), 0)
	}
	if n := s.count(time.Second); n != sendersMax {
		t.Fatalf("%d senders, the memory is for %d", n, sendersMax)
	}
	s.heard("late", 1500*time.Millisecond)
	if n := s.count(2 * time.Second); n != 1 {
		t.Fatalf("%d senders after the window", n)
	}
}
