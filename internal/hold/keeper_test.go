package hold

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/objstore/faulty"
	"github.com/seed-551dd829/braid/internal/segment"
)

// bed is a holder r1 on a disk that can crash, with a registry and an object store that do as they are told.
type bed struct {
	t       *testing.T
	disk    *disk.Memory
	objects *objstore.Memory
	fault   faulty.Fault // of every request to the object store
	k       *Keeper
	now     time.Duration
	limits  Config

	// The registry.
	states   map[api.SegmentID]*api.SegmentStateAnswer
	confirms int
	asked    error // what it answers instead
}

func newBed(t *testing.T) *bed {
	b := &bed{t: t, disk: disk.NewMemory(), objects: objstore.NewMemory(),
		states: make(map[api.SegmentID]*api.SegmentStateAnswer)}
	b.start()
	return b
}

// start begins a process on the disk as it is.
func (b *bed) start() {
	b.t.Helper()
	cfg := b.limits
	cfg.ID, cfg.SegmentsDir = "r1", "/data/segments"
	var err error
	b.k, err = NewKeeper(cfg, Deps{
		FS: b.disk, Sequencer: b, Logger: slog.New(slog.DiscardHandler),
		Objects: faulty.New(b.objects, func(faulty.Call) faulty.Fault { return b.fault }, faulty.Options{}),
	}, func() time.Duration { return b.now }, func(f func(context.Context)) { f(b.t.Context()) })
	if err != nil {
		b.t.Fatal(err)
	}
	b.k.strays.wanted = false // but where a test is about it
}

func (b *bed) state(id api.SegmentID) *api.SegmentStateAnswer {
	if b.states[id] == nil {
		b.states[id] = new(api.SegmentStateAnswer)
	}
	return b.states[id]
}

func (b *bed) SegmentState(_ context.Context, id api.SegmentID) (api.SegmentStateAnswer, error) {
	return *b.state(id), b.asked
}

func (b *bed) Confirm(ctx context.Context, id api.SegmentID) (int, error) {
	if _, err := b.objects.Stat(ctx, id.Key()); err != nil {
		b.t.Errorf("segment %s is confirmed and not in the object store", id)
	}
	n := len(b.state(id).Unconfirmed)
	b.state(id).Unconfirmed = nil
	b.confirms += n
	return n, b.asked
}

func (b *bed) Pending(context.Context, api.PendingRequest) (a api.PendingAnswer, err error) {
	for id, s := range b.states {
		for range s.Unconfirmed {
			if s.Fenced {
				a.Records = append(a.Records, api.PendingRecord{PendingPlace: api.PendingPlace{Segment: id}, Fenced: true})
			}
		}
	}
	return a, b.asked
}

type answer struct {
	data []byte
	err  *api.Error
}

func (a *answer) ReplyJSON(v any, _ nats.Header) (err error) {
	a.data, err = json.Marshal(v)
	return err
}

func (a *answer) ReplyError(e *api.Error) error {
	a.err = e
	return nil
}

// ask is an Ask that reaches this holder alone.
func (b *bed) ask(_ context.Context, _ string, request []byte) ([]byte, error) {
	var a answer
	b.k.Take(bytes.Clone(request), &a)
	if a.err != nil {
		return nil, a.err
	}
	return a.data, nil
}

func (b *bed) send(id api.SegmentID, data []byte) error {
	return Ask(b.ask).Send(b.t.Context(), "r1", id, bytes.NewReader(data), int64(len(data)))
}

func (b *bed) mustSend(id api.SegmentID, data []byte) {
	b.t.Helper()
	if err := b.send(id, data); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) tickAt(at time.Duration) {
	b.now = at
	b.k.Tick()
}

// copied and own say whether the holder has its copy, and the node a file of its own.
func (b *bed) copied(id api.SegmentID) bool {
	return b.exists(segment.HeldPath("/data/segments", id))
}

func (b *bed) own(id api.SegmentID) bool { return b.exists(segment.Path("/data/segments", id)) }

func (b *bed) exists(path string) bool {
	_, err := b.disk.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.t.Fatal(err)
	}
	return err == nil
}

func (b *bed) stored(id api.SegmentID) bool {
	_, err := b.objects.Stat(b.t.Context(), id.Key())
	return err == nil
}

func (b *bed) put(id api.SegmentID, data []byte) {
	if err := b.objects.Put(b.t.Context(), id.Key(), objstore.Bytes(data)); err != nil {
		b.t.Fatal(err)
	}
}

func segmentOf(t *testing.T, id api.SegmentID, size int) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := segment.NewWriter(&file, id)
	if err != nil {
		t.Fatal(err)
	}
	var print api.Fingerprint
	frame, mark := segment.BeginGroup(nil, &api.GroupHeader{Table: "cpu", Durability: api.DurabilityWAL,
		Fingerprint: print.Extend(api.Column{Name: api.TimestampColumn, Type: api.Timestamp}),
		ID:          api.ProducerSeq{Producer: "g1", Epoch: 1, Sequence: id.Sequence + 1},
		Writes:      []api.WriteMeta{{Rows: 1}}})
	frame = append(frame, bytes.Repeat([]byte{7}, size)...)
	if _, err := w.Append(segment.FinishGroup(frame, mark)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func name(sequence uint64) api.SegmentID {
	return api.SegmentID{Node: "p1", Epoch: 3, Sequence: sequence}
}

// TestI2_WholeOutlivesEveryCrash takes the power away after each disk operation of receiving a segment: if the holder
// said that it has it, its next process has it, every byte; else it has it or nothing.
func TestI2_WholeOutlivesEveryCrash(t *testing.T) {
	for _, size := range []int{100, api.HoldPieceBytes + 100} {
		data := segmentOf(t, name(1), size)
		for n := 0; ; n++ {
			b := newBed(t)
			b.disk.StopAfter(n)
			err := b.send(name(1), data)
			b.disk.Crash(disk.Torn(uint64(n)))
			b.start()
			if h := b.k.core.held[name(1)]; err == nil && (h == nil || !h.whole) {
				t.Fatalf("after %d operations: said to be held, and gone", n)
			}
			if kept, e := disk.ReadFile(b.disk, b.k.path(name(1))); e == nil && !bytes.Equal(kept, data) {
				t.Fatalf("after %d operations: another file has the name", n)
			}
			if err != nil {
				b.mustSend(name(1), data) // a second attempt meets whatever the first has left
				continue
			}
			if n < 5 {
				t.Fatalf("only %d operations", n)
			}
			break
		}
	}
}

// TestI9_RuleForACopy: all that a look can find.
func TestI9_RuleForACopy(t *testing.T) {
	for _, stored := range []bool{false, true} {
		for _, fenced := range []bool{false, true} {
			for _, pending := range []bool{false, true} {
				for _, unknown := range []bool{false, true} {
					f := finding{stored: stored, unknown: unknown && !stored}
					if f.Fenced = fenced; pending {
						f.Unconfirmed = []uint64{1}
					}
					got := judge(f)
					goes := got == discard || got == settle && stored
					if may := stored || fenced && !pending; goes != may {
						t.Errorf("%+v: %d, the copy may go: %v", f, got, may)
					}
					if got == settle && !stored && (!pending || f.unknown) {
						t.Errorf("%+v: settled", f)
					}
				}
			}
		}
	}
}

// TestI2_FencedPrimary: its holders upload and confirm at once, and only then let go. The copy becomes the node's own.
func TestI2_FencedPrimary(t *testing.T) {
	b := newBed(t)
	data := segmentOf(t, name(1), 100)
	b.mustSend(name(1), data)
	s := b.state(name(1))
	s.Unconfirmed = []uint64{1, 2}
	b.tickAt(time.Second)
	if b.stored(name(1)) || !b.copied(name(1)) {
		t.Fatal("a living primary's segment is its own to upload")
	}
	s.Fenced = true
	b.k.Topology(&api.Topology{Nodes: []api.Node{{ID: "p1", Epoch: 3, State: api.Dead}}})
	b.tickAt(time.Second + time.Millisecond)
	if !b.stored(name(1)) || b.confirms != 2 {
		t.Errorf("stored: %v, %d records confirmed", b.stored(name(1)), b.confirms)
	}
	if b.copied(name(1)) || !b.own(name(1)) {
		t.Errorf("copied: %v, own: %v", b.copied(name(1)), b.own(name(1)))
	}
}

// TestI9_NothingGoesWhileItMayBeNeeded: neither while the epoch lives and no record names the segment yet, nor while the
// registry or the object store do not answer; and an operator's look has no more rights.
func TestI9_NothingGoesWhileItMayBeNeeded(t *testing.T) {
	tests := map[string]func(*bed, *api.SegmentStateAnswer){
		"the epoch lives, no record yet": func(*bed, *api.SegmentStateAnswer) {},
		"the registry is away": func(b *bed, s *api.SegmentStateAnswer) {
			s.Fenced, b.asked = true, errors.New("away")
		},
		"the object store is away": func(b *bed, s *api.SegmentStateAnswer) {
			s.Fenced, s.Unconfirmed, b.fault = true, []uint64{1}, faulty.Fault{Kind: faulty.Before}
		},
	}
	for what, arrange := range tests {
		b := newBed(t)
		b.mustSend(name(1), segmentOf(t, name(1), 100))
		arrange(b, b.state(name(1)))
		for at := range 20 {
			b.tickAt(time.Duration(at) * time.Minute)
			_, _ = Ask(b.ask).Settle(t.Context(), "r1", name(1))
		}
		if !b.copied(name(1)) || b.confirms > 0 {
			t.Errorf("%s: copied %v, %d confirmed", what, b.copied(name(1)), b.confirms)
		}
	}
}

// TestDrop: a primary's word lets a copy go; it becomes the node's own file.
func TestDrop(t *testing.T) {
	b := newBed(t)
	b.mustSend(name(1), segmentOf(t, name(1), 100))
	for range 2 { // the second is a repeat
		if err := Ask(b.ask).Drop(t.Context(), "r1", name(1)); err != nil {
			t.Fatal(err)
		}
	}
	if b.copied(name(1)) || !b.own(name(1)) || b.k.core.bytes != 0 {
		t.Errorf("copied: %v, own: %v, %d bytes", b.copied(name(1)), b.own(name(1)), b.k.core.bytes)
	}
}

// TestReturningHolder: after a restart it looks what became of what it holds: void is dropped, unneeded too, what is in
// the object store becomes its own.
func TestReturningHolder(t *testing.T) {
	b := newBed(t)
	for n := range uint64(4) {
		b.mustSend(name(n), segmentOf(t, name(n), 100))
		b.state(name(n)).Fenced = true
	}
	b.state(name(0)).Voided = []uint64{1}
	b.put(name(2), segmentOf(t, name(2), 100))
	b.state(name(2)).Unconfirmed = []uint64{7}
	b.state(name(3)).Unconfirmed = []uint64{8}
	b.disk.Crash()
	b.start()
	if len(b.k.core.held) != 4 {
		t.Fatalf("%d copies after the restart", len(b.k.core.held))
	}
	b.tickAt(time.Millisecond)
	for n, own := range []bool{false, false, true, true} {
		id := name(uint64(n))
		if b.copied(id) || b.own(id) != own || b.stored(id) != own {
			t.Errorf("segment %d: copied %v, own %v, stored %v", n, b.copied(id), b.own(id), b.stored(id))
		}
	}
	if b.confirms != 2 {
		t.Errorf("%d confirmed", b.confirms)
	}
}

// TestI7_HoldingIsBounded: past its bounds a holder refuses, and has room again when something has gone.
func TestI7_HoldingIsBounded(t *testing.T) {
	data := segmentOf(t, name(1), 1000)
	b := &bed{t: t, disk: disk.NewMemory(), objects: objstore.NewMemory(), limits: Config{BytesMax: int64(2*len(data) + 10)},
		states: make(map[api.SegmentID]*api.SegmentStateAnswer)}
	b.start()
	for n := range uint64(2) {
		b.mustSend(name(n), segmentOf(t, name(n), 1000))
	}
	if err := b.send(name(2), segmentOf(t, name(2), 1000)); !api.IsName(err, api.Overloaded) {
		t.Errorf("past the bound: %v", err)
	}
	if err := Ask(b.ask).Drop(t.Context(), "r1", name(0)); err != nil {
		t.Fatal(err)
	}
	b.mustSend(name(2), segmentOf(t, name(2), 1000))
	if n := len(b.k.core.held); n != 2 {
		t.Errorf("%d copies", n)
	}
}

// TestI8_WhatIsNotASegmentIsNotHeld: damaged, cut, of another name, or said to be longer than it is.
func TestI8_WhatIsNotASegmentIsNotHeld(t *testing.T) {
	good := segmentOf(t, name(1), 1000)
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for what, data := range map[string][]byte{
		"flipped": flipped, "cut": good[:len(good)-1], "another": segmentOf(t, name(2), 1000), "nothing": {1},
	} {
		b := newBed(t)
		if err := b.send(name(1), data); !api.IsName(err, api.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
		if len(b.k.core.held) != 0 || b.k.core.bytes != 0 || b.k.core.open != 0 || len(b.k.files) != 0 {
			t.Errorf("%s: %+v", what, b.k.core)
		}
		b.mustSend(name(1), good)
	}
}

// TestPiecesRepeated: a piece that comes twice does no harm, one out of order is refused, a beginning begins anew, and
// what does not go on is given up.
func TestPiecesRepeated(t *testing.T) {
	b := newBed(t)
	data := segmentOf(t, name(1), 3000)
	piece := func(offset, n int) error {
		_, err := b.ask(t.Context(), "", api.AppendHoldRequest(nil, &api.HoldRequest{Kind: api.HoldPiece, Segment: name(1),
			Offset: uint64(offset), Total: uint64(len(data)), Data: data[offset : offset+n]}))
		return err
	}
	if err := piece(100, 50); !api.IsName(err, api.Invalid) {
		t.Errorf("a piece without those before it: %v", err)
	}
	for _, at := range []int{0, 1000, 1000, 0, 1000, 2000} {
		if err := piece(at, 1000); err != nil {
			t.Errorf("piece at %d: %v", at, err)
		}
	}
	b.tickAt(quietMax + time.Second)
	if len(b.k.core.held) != 0 || len(b.k.files) != 0 || b.k.core.open != 0 {
		t.Error("a segment that does not arrive any more is kept")
	}
	b.mustSend(name(1), data)
}

// TestStrays: a pending record of a fenced epoch whose segment is in the object store, or in this node's own files, is
// confirmed by whoever stands at it.
func TestStrays(t *testing.T) {
	b := newBed(t)
	mine := api.SegmentID{Node: "r1", Epoch: 2, Sequence: 9}
	for _, id := range []api.SegmentID{name(1), name(2), mine} {
		*b.state(id) = api.SegmentStateAnswer{Fenced: true, Unconfirmed: []uint64{id.Sequence}}
	}
	b.put(name(1), segmentOf(t, name(1), 10))
	path := segment.Path("/data/segments", mine)
	if err := b.disk.MkdirAll("/data/segments/r1/2"); err != nil {
		t.Fatal(err)
	}
	if err := b.disk.WriteFileSync(path, segmentOf(t, mine, 10)); err != nil {
		t.Fatal(err)
	}
	b.k.strays.wanted = true
	b.tickAt(time.Second)
	if b.confirms != 2 || !b.stored(mine) || !b.own(mine) || b.stored(name(2)) {
		t.Errorf("%d confirmed, own segment stored %v and here %v", b.confirms, b.stored(mine), b.own(mine))
	}
	b.put(name(2), segmentOf(t, name(2), 10))
	b.tickAt(time.Second + straysEvery)
	if b.confirms != 3 {
		t.Error("what was left is not looked for again")
	}
	if a, err := Ask(b.ask).Settle(t.Context(), "r1", name(5)); err != nil || a.Held || a.Stored {
		t.Errorf("a segment that is nowhere: %+v, %v", a, err)
	}
}
