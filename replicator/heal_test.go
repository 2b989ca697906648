package replicator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/catalog"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/natstest"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/segment"
)

// Mend makes a shelf as good as the store in it.
func (s *shelf) Mend(ctx context.Context, key string, body objstore.Body, judge objstore.Judge) error {
	if m, ok := s.Store.(objstore.Mender); ok {
		return m.Mend(ctx, key, body, judge)
	}
	return errors.ErrUnsupported
}

// rot is a world with an object store in a directory of the disk of node p1, which wrote the segments and has them
// linked there, and a node r1 with a disk of its own.
type rot struct {
	*world
	disk   *disk.Memory
	peer   *node
	id     api.SegmentID // of table cpu's only segment
	path   string        // of its file
	object string        // of its object
	good   []byte
	other  []byte // of another segment
}

const healRows = 200

func newRot(t *testing.T, linked bool) *rot {
	t.Helper()
	r := &rot{world: newWorld(t, 1), disk: disk.NewMemory()}
	dir, err := objstore.OpenDir(t.Context(), r.disk, "/objects")
	if err != nil {
		t.Fatal(err)
	}
	r.objects.Store = dir
	_, r.other = r.write(t, linked, group{"mem", []write{{rows(1, 1), false}}})
	r.id, r.good = r.write(t, linked, group{"cpu", []write{{rows(1, healRows), false}}},
		group{"cpu", []write{{rows(healRows+1, 2*healRows), false}}})
	r.path, r.object = segment.Path("/node/segments", r.id), filepath.Join("/objects", r.id.Key())
	r.peer = r.start(disk.NewMemory(), r.config("r1"))
	r.peer.wait(r.world)
	return r
}

// write does what a primary does on p1's disk.
func (r *rot) write(t *testing.T, linked bool, groups ...group) (api.SegmentID, []byte) {
	t.Helper()
	id, file, records := r.seal(groups)
	path := segment.Path("/node/segments", id)
	body := objstore.Bytes(file)
	if linked {
		body = objstore.File(r.disk, path, body.Size, body.CRC)
	}
	err := errors.Join(r.disk.MkdirAll(filepath.Dir(path)), r.disk.WriteFileSync(path, file),
		r.objects.Put(t.Context(), id.Key(), body))
	if err != nil {
		t.Fatal(err)
	}
	r.append(records)
	return id, file
}

// hide takes the peer out of the topology, until it is called with false.
func (r *rot) hide(hidden bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.nodes {
		if r.nodes[i].ID == "r1" {
			r.nodes[i].HTTP = map[bool]string{true: "", false: strings.TrimPrefix(r.peer.http.URL, "http://")}[hidden]
		}
	}
}

// inPlace changes a file's bytes as a disk does: in all its names.
func inPlace(t *testing.T, fsys disk.FS, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := disk.ReadFile(fsys, path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fsys.OpenAppend(path)
	if err != nil {
		t.Fatal(err)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.Write(change(bytes.Clone(b)))
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func (r *rot) holds(path string) error {
	b, err := disk.ReadFile(r.disk, path)
	if err == nil && !bytes.Equal(b, r.good) {
		err = fmt.Errorf("%s has %d bytes, not the good ones", path, len(b))
	}
	return err
}

// TestI9_DamageAndWhatBecomesOfIt: every damage of a segment's file, with the object good, damaged with it because it
// is the same file, or gone, with another node that has a good copy and without, found by a read or by the scrub.
//
// Where there is a good copy anywhere, rows are read, and in the end file and object are good, and two files. Where
// there is none, this table alone cannot be read and the node says so, other tables go on, and as soon as a good copy
// can be had everything is as before, without anybody's doing.
func TestI9_DamageAndWhatBecomesOfIt(t *testing.T) {
	changed := func(change func(r *rot, b []byte) []byte) func(*testing.T, *rot) {
		return func(t *testing.T, r *rot) {
			inPlace(t, r.disk, r.path, func(b []byte) []byte { return change(r, b) })
		}
	}
	for _, damage := range []struct {
		name   string
		do     func(*testing.T, *rot)
		unread bool // by a reader of rows, who needs only the groups
	}{
		{"is torn", changed(func(_ *rot, b []byte) []byte { return append(b[:len(b)/2], make([]byte, len(b)/2)...) }), false},
		{"has a flipped bit in its header", changed(func(_ *rot, b []byte) []byte { b[20] ^= 4; return b }), true},
		{"has a flipped bit in a group", changed(func(_ *rot, b []byte) []byte { b[len(b)/2] ^= 4; return b }), false},
		{"has a flipped bit in its footer", changed(func(_ *rot, b []byte) []byte { b[len(b)-20] ^= 4; return b }), true},
		{"is cut short", changed(func(_ *rot, b []byte) []byte { return b[:len(b)-300] }), false},
		{"is empty", changed(func(*rot, []byte) []byte { return nil }), false},
		{"is another segment", changed(func(r *rot, _ []byte) []byte { return r.other }), false},
		{"is gone", func(t *testing.T, r *rot) {
			if err := r.disk.Remove(r.path); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		for _, object := range []string{"good", "the same file", "gone"} {
			for _, peer := range []bool{true, false} {
				for _, scrub := range []bool{false, true} {
					name := fmt.Sprintf("file %s, object %s, peer %v, scrub %v", damage.name, object, peer, scrub)
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						r := newRot(t, object == "the same file")
						r.hide(!peer)
						damage.do(t, r)
						if object == "gone" {
							if err := r.disk.Remove(r.object); err != nil {
								t.Fatal(err)
							}
						}
						// A damaged file that shares its name with nothing leaves the object good.
						objectGood := object == "good" || object == "the same file" && damage.name == "is gone"
						r.heals(t, objectGood || peer, scrub, damage.unread)
					})
				}
			}
		}
	}
}

func (r *rot) heals(t *testing.T, copies, scrub, unread bool) {
	t.Helper()
	cfg := r.config("p1")
	cfg.RepairWait, cfg.ScrubBytes = 10*time.Second, -1
	if scrub {
		cfg.ScrubBytes, cfg.ScrubPause = 1<<40, time.Millisecond
	}
	if !copies {
		cfg.RepairWait = 20 * time.Millisecond
	}
	// Applied already, before the damage: with the tables of a node that had good files.
	n := r.startApplied(t, cfg)
	if !copies {
		r.stands(t, n, scrub, unread)
		r.hide(false)
	}
	want := rows(1, 2*healRows)
	natstest.EventuallyNil(t, "the rows are read", func() error {
		status, _, body, err := n.get("/tables/cpu")
		if err == nil && (status != http.StatusOK || body != want) {
			err = fmt.Errorf("status %d, %d bytes", status, len(body))
		}
		return err
	})
	if unread && !scrub {
		return // nothing has needed what is damaged
	}
	natstest.EventuallyNil(t, "file and object are good, and nothing is damaged any more", func() error {
		if all := n.Standing(); len(all) > 0 || n.damaged() > 0 {
			return fmt.Errorf("%d damaged, standing %v", n.damaged(), all)
		}
		return errors.Join(r.holds(r.path), r.holds(r.object))
	})
	if got := n.mustGet(t, "/tables/mem"); !strings.HasPrefix(got, rows(1, 1)) {
		t.Fatalf("table mem has %s", got)
	}
}

// startApplied starts p1 with record files that another node has made, so that it applies nothing and checks nothing.
func (r *rot) startApplied(t *testing.T, cfg Config) *node {
	t.Helper()
	for _, path := range []string{"/node/tables/cpu/records", "/node/tables/mem/records", "/node/checkpoint"} {
		natstest.EventuallyNil(t, path, func() error {
			b, err := disk.ReadFile(r.peer.fs, path)
			if err != nil {
				return err
			}
			return errors.Join(r.disk.MkdirAll(filepath.Dir(path)), r.disk.WriteFileSync(path, b))
		})
	}
	n := r.start(r.disk, cfg)
	n.wait(r.world)
	return n
}

// stands checks a node that cannot have a good copy of cpu's segment.
func (r *rot) stands(t *testing.T, n *node, scrub, unread bool) {
	t.Helper()
	if status, _, body, err := n.get("/tables/cpu"); !unread && (err != nil || status != http.StatusServiceUnavailable) {
		t.Fatalf("a table without its rows is read: status %d, %v: %.100s", status, err, body)
	}
	if scrub || !unread {
		natstest.EventuallyNil(t, "the node says that cpu stands", func() error {
			if all := n.Standing(); len(all) != 1 || all["cpu"] == nil {
				return fmt.Errorf("standing: %v", all)
			}
			if body := n.mustGet(t, "/tables"); !strings.Contains(body, `"problem":`) {
				return errors.New(body)
			}
			return nil
		})
	}
	// Whatever is there of it was not touched.
	before, _ := disk.ReadFile(r.disk, r.object)
	r.write(t, true, group{"mem", []write{{rows(2, 2), false}}})
	n.wait(r.world)
	if got := n.mustGet(t, "/tables/mem"); got != rows(1, 2) {
		t.Fatalf("the other table has %s", got)
	}
	if after, _ := disk.ReadFile(r.disk, r.object); !bytes.Equal(before, after) {
		t.Fatal("the object has changed without a good copy")
	}
}

// TestI8_AnUnreadableFolder: a folder of segments that cannot be read or written, for a while. Its table says so, the
// others go on, and everything is well by itself once the folder can be read.
func TestI8_AnUnreadableFolder(t *testing.T) {
	r := newRot(t, true)
	cfg := r.config("p1")
	cfg.RepairWait, cfg.ScrubBytes, cfg.ScrubPause = 20*time.Millisecond, 1<<40, time.Millisecond
	var closed atomic.Bool
	closed.Store(true)
	r.disk.Hook(func(op disk.Op) error {
		if closed.Load() && op.Path == r.path {
			return syscall.EACCES
		}
		return nil
	})
	n := r.startApplied(t, cfg)
	r.stands(t, n, true, false)
	closed.Store(false)
	natstest.EventuallyNil(t, "nothing stands any more", func() error {
		if all := n.Standing(); len(all) > 0 {
			return fmt.Errorf("standing: %v", all)
		}
		return nil
	})
	if got := n.mustGet(t, "/tables/cpu"); got != rows(1, 2*healRows) {
		t.Fatalf("%d bytes", len(got))
	}
}

// TestScrubRepairsRecordFilesAndCheckpoint: also what nobody reads.
func TestScrubRepairsRecordFilesAndCheckpoint(t *testing.T) {
	r := newRot(t, true)
	cfg := r.config("p1")
	cfg.ScrubBytes, cfg.ScrubPause = 1<<40, time.Millisecond
	n := r.startApplied(t, cfg)
	if err := r.disk.Remove("/node/checkpoint"); err != nil { // the one that startApplied has copied
		t.Fatal(err)
	}
	natstest.EventuallyNil(t, "the checkpoint is there again", func() error {
		_, err := r.disk.Stat("/node/checkpoint")
		return err
	})
	for _, path := range []string{"/node/tables/cpu/records", "/node/checkpoint"} {
		want, err := disk.ReadFile(r.disk, path)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.disk.WriteFileSync(path, flip(3)(bytes.Clone(want))); err != nil {
			t.Fatal(err)
		}
		natstest.EventuallyNil(t, path+" is as it was", func() error {
			got, err := disk.ReadFile(r.disk, path)
			if err == nil && !bytes.Equal(got, want) {
				err = errNotYet
			}
			return err
		})
	}
	n.wait(r.world)
	if got := n.mustGet(t, "/tables/cpu"); got != rows(1, 2*healRows) {
		t.Fatalf("%d bytes", len(got))
	}
}

// TestI9_ASoundObjectWithOtherBytesIsNotReplaced: two segments of one name can only come of an error that a person has
// to look at. Nobody decides by himself which of the two is the right one.
func TestI9_ASoundObjectWithOtherBytesIsNotReplaced(t *testing.T) {
	r := newRot(t, false)
	var other bytes.Buffer
	w, err := segment.NewWriter(&other, r.id)
	if err == nil {
		frame, _ := r.encode(group{"cpu", []write{{rows(7, 7), false}}})
		_, err = w.Append(frame)
	}
	if err == nil {
		_, err = w.Finish()
	}
	if err == nil {
		err = errors.Join(r.disk.Remove(r.object), r.objects.Put(t.Context(), r.id.Key(), objstore.Bytes(other.Bytes())))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := r.disk.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	cfg := r.config("p1")
	cfg.ScrubBytes = -1
	n := r.startApplied(t, cfg)
	if got := n.mustGet(t, "/tables/cpu"); got != rows(1, 2*healRows) { // the peer's copy is the one that was committed
		t.Fatalf("%d bytes", len(got))
	}
	if err := n.mendObject(t.Context(), r.id); !errors.Is(err, objstore.ErrDifferent) {
		t.Fatalf("mended: %v", err)
	}
	if b, err := disk.ReadFile(r.disk, r.object); err != nil || !bytes.Equal(b, other.Bytes()) {
		t.Fatalf("the object has changed: %v", err)
	}
}

// TestI9_CrashInTheMiddleOfARepair takes the power away after each operation of a repair of a file that is the object
// too. At every moment the object is the damaged one or the good one, never gone; after the next start all is well.
func TestI9_CrashInTheMiddleOfARepair(t *testing.T) {
	damage := func(b []byte) []byte { b[len(b)/2] ^= 4; return b }
	for n, done := 0, false; !done; n++ {
		r := newRot(t, true)
		inPlace(t, r.disk, r.path, damage)
		bad, err := disk.ReadFile(r.disk, r.object)
		if err != nil {
			t.Fatal(err)
		}
		cfg := r.config("p1")
		cfg.RepairWait, cfg.ScrubBytes = 10*time.Millisecond, -1
		done = r.crashed(t, cfg, n)
		r.disk.Crash(disk.Torn(uint64(n)))
		if b, err := disk.ReadFile(r.disk, r.object); err != nil || !bytes.Equal(b, bad) && !bytes.Equal(b, r.good) {
			t.Fatalf("crash after %d operations: the object has %d bytes, %v", n, len(b), err)
		}
		cfg.RepairWait, cfg.ScrubBytes, cfg.ScrubPause = 10*time.Second, 1<<40, time.Millisecond
		again := r.start(r.disk, cfg)
		again.wait(r.world)
		if got := again.mustGet(t, "/tables/cpu"); got != rows(1, 2*healRows) {
			t.Fatalf("crash after %d operations: %d bytes of rows", n, len(got))
		}
		natstest.EventuallyNil(t, "file and object are good", func() error {
			return errors.Join(r.holds(r.path), r.holds(r.object))
		})
		if err := again.stop(); err != nil {
			t.Fatal(err)
		}
		if n > 200 {
			t.Fatal("the repair does not end")
		}
	}
}

// crashed runs a node and a read on a disk that dies after n operations. It returns true if all was repaired before.
func (r *rot) crashed(t *testing.T, cfg Config, n int) bool {
	t.Helper()
	r.disk.StopAfter(n)
	end := r.disk.Ops() + n
	s, err := New(cfg, Deps{Conn: r.nc, FS: r.disk, Objects: r.objects, Sequencer: r.world,
		Catalog: catalog.New(r.schema, 100), Shards: r.shards, Logger: quiet, Topology: r.topology})
	if err != nil {
		return false // the disk died before it started
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	web := httptest.NewServer(s.Handler())
	repaired := false
	natstest.Eventually(t, "it is repaired, or the disk is dead", func() bool {
		if answer, err := http.Get(web.URL + "/tables/cpu"); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body) // the disk dies under it
			answer.Body.Close()
		}
		repaired = r.holds(r.path) == nil && r.holds(r.object) == nil && s.damaged() == 0
		return repaired || r.disk.Ops() >= end
	})
	cancel()
	err = <-ended
	web.Close()
	return repaired && err == nil
}
