package primary

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
)

// TestI2_FailedDiskAcknowledgesNothing: what the disk refuses ends the primary, and nothing is committed.
func TestI2_FailedDiskAcknowledgesNothing(t *testing.T) {
	for _, kind := range []disk.OpKind{disk.OpCreate, disk.OpWrite, disk.OpSync, disk.OpRename} {
		t.Run(string(kind), func(t *testing.T) {
			b := newBed(t)
			b.disk.Hook(func(op disk.Op) error {
				if op.Kind == kind && strings.HasSuffix(op.Path, openSuffix) {
					return syscall.EIO
				}
				return nil
			})
			s := b.service(t)
			stop := run(t, s)
			if r := send(s, frameOf(t, "cpu", 1, 5)).wait(t); r.err == nil || r.err.Name != api.Unavailable {
				t.Fatalf("answer %+v", r)
			}
			ended(t, s)
			if err := stop(); !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "p1/3/1") {
				t.Fatalf("Run: %v", err)
			}
			if n := len(b.seq.all()); n != 0 {
				t.Fatalf("%d records", n)
			}
		})
	}
}

// TestI2_FullDiskAcknowledgesNothing fills the disk in the middle of a segment.
func TestI2_FullDiskAcknowledgesNothing(t *testing.T) {
	b := newBed(t)
	s := b.service(t)
	stop := run(t, s)
	if r := send(s, frameOf(t, "cpu", 1, 5)).wait(t); r.err != nil {
		t.Fatal(r.err)
	}
	b.disk.SetCapacity(100_000)
	if r := send(s, frameOf(t, "cpu", 2, 100_000)).wait(t); r.err == nil || r.err.Name != api.Unavailable {
		t.Fatalf("answer %+v", r)
	}
	ended(t, s)
	if err := stop(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Run: %v", err)
	}
	if n := len(b.seq.all()); n != 1 {
		t.Fatalf("%d records", n)
	}
}

// flaky fails puts: before their effect, or after it.
type flaky struct {
	objstore.Store
	puts  atomic.Int64
	fails int64
}

func (f *flaky) Put(ctx context.Context, key string, body objstore.Body) error {
	n := f.puts.Add(1)
	if n%2 == 0 || n > f.fails {
		if err := f.Store.Put(ctx, key, body); err != nil {
			return err
		}
	}
	if n <= f.fails {
		return errors.New("connection reset")
	}
	return nil
}

// TestI2_PutsAreRepeatedUntilTheyAreKnown: also a put that had its effect and said otherwise.
func TestI2_PutsAreRepeatedUntilTheyAreKnown(t *testing.T) {
	b := newBed(t)
	b.objects = &flaky{Store: b.objects, fails: 5}
	s := b.service(t)
	stop := run(t, s)
	if r := send(s, frameOf(t, "cpu", 1, 5)).wait(t); r.err != nil || r.answer.Writes[0].TxID != 1 {
		t.Fatalf("answer %+v", r)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	b.object(t, b.seq.all()[0])
}

// TestI9_OtherBytesUnderASegmentsNameStopThePrimary: nothing is overwritten, and nobody goes on as if it were.
func TestI9_OtherBytesUnderASegmentsNameStopThePrimary(t *testing.T) {
	b := newBed(t)
	id := api.SegmentID{Node: "p1", Epoch: 3, Sequence: 1}
	if err := b.objects.Put(context.Background(), id.Key(), objstore.Bytes([]byte("another's"))); err != nil {
		t.Fatal(err)
	}
	s := b.service(t)
	stop := run(t, s)
	if r := send(s, frameOf(t, "cpu", 1, 5)).wait(t); r.err == nil || r.err.Name != api.Unavailable {
		t.Fatalf("answer %+v", r)
	}
	ended(t, s)
	if err := stop(); !errors.Is(err, objstore.ErrDifferent) {
		t.Fatalf("Run: %v", err)
	}
}

// TestRefusedRequestStopsThePrimary: what the sequencer cannot read now it never will.
func TestRefusedRequestStopsThePrimary(t *testing.T) {
	b := newBed(t)
	b.seq.before = func(int, *api.CommitRequest) error { return api.Errorf(api.Invalid, "unknown version 1") }
	s := b.service(t)
	stop := run(t, s)
	if r := send(s, frameOf(t, "cpu", 1, 5)).wait(t); r.err == nil || r.err.Name != api.Unavailable {
		t.Fatalf("answer %+v", r)
	}
	ended(t, s)
	if err := stop(); !api.IsName(err, api.Invalid) || !strings.Contains(err.Error(), "one version") {
		t.Fatalf("Run: %v", err)
	}
}
