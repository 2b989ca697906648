package table

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestI4_PiecesOfAnySizeGiveTheSameDigests(t *testing.T) {
	log := commitLog(1, 5, 400)
	var want string
	for seed := range uint64(20) {
		s := open(t, disk.NewMemory())
		mustFollow(t, s, log, seed)
		if got := describe(s); want == "" {
			want = got
		} else if got != want {
			t.Fatalf("seed %d:\n%swant:\n%s", seed, got, want)
		}
	}
}

// The disk dies after each of its operations in turn. Whatever is left, applying the log again from the position
// that was found gives the tables of a run without a crash.
func TestI4_CrashAfterEveryOperation(t *testing.T) {
	log := commitLog(2, 3, 40)
	reference := disk.NewMemory()
	s := open(t, reference)
	mustFollow(t, s, log, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := describe(s)
	for n := range reference.Ops() {
		for torn := range uint64(4) {
			if got := crashed(t, log, n, torn); got != want {
				t.Fatalf("crash after %d operations, seed %d:\n%swant:\n%s", n, torn, got, want)
			}
		}
	}
}

func crashed(t *testing.T, log []api.LogRecord, ops int, torn uint64) string {
	mem := disk.NewMemory()
	mem.StopAfter(ops)
	if s, err := Open(Config{Dir: root, FS: mem, Shards: 1}); err == nil {
		// Errors are what the test is about.
		_ = follow(s, log, rand.New(rand.NewPCG(1, 2)))
		_ = s.Close()
	}
	mem.Crash(disk.Torn(torn))
	s := open(t, mem)
	mustFollow(t, s, log, torn)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := describe(s)
	s = open(t, mem)
	if after := describe(s); after != before {
		t.Fatalf("crash after %d operations: closed with\n%sopened with\n%s", ops, before, after)
	}
	return before
}

// A checkpoint that claims more than was synced would lose records after a crash. Nothing but synced bytes survives
// this one, so the position must be covered by them.
func TestI2_CheckpointClaimsOnlyWhatIsSynced(t *testing.T) {
	log := commitLog(3, 3, 60)
	mem := disk.NewMemory()
	s := open(t, mem)
	for at := 0; at < len(log); at += 10 {
		if _, err := s.Apply(0, log[at:at+10], nil); err != nil {
			t.Fatal(err)
		}
		if at == 20 {
			if err := s.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
	}
	mem.Crash()
	s = open(t, mem)
	if s.Position(0) != 30 {
		t.Fatalf("position %d after the crash, the checkpoint was at 30", s.Position(0))
	}
	reference := open(t, disk.NewMemory())
	mustFollow(t, reference, log[:30], 1)
	if got, want := describe(s), describe(reference); got != want {
		t.Fatalf("after the crash:\n%swant:\n%s", got, want)
	}
}

func TestI1_NoRecordIsAppliedOverAGap(t *testing.T) {
	log := commitLog(4, 1, 10)
	s := open(t, disk.NewMemory())
	if _, err := s.Apply(0, log[1:], nil); err == nil {
		t.Error("a log piece behind a hole was applied")
	}
	broken := slices.Clone(log)
	broken[5].First++
	done, err := s.Apply(0, broken, nil)
	if err != nil || len(done.Gaps) != 1 {
		t.Fatalf("gaps %v, error %v", done.Gaps, err)
	}
	if text := done.Gaps[0].Error(); !strings.Contains(text, "table0") ||
		!strings.Contains(text, fmt.Sprint(broken[5].First)) {
		t.Errorf("%q names neither table nor TxIDs", text)
	}
	if n, _ := s.Table("table0"); n.Applied != log[4].Last() {
		t.Errorf("applied %d, want %d", n.Applied, log[4].Last())
	}
	if at, ok := s.Stalled(0, 0); !ok || at != 6 || s.Behind(0) != 5 {
		t.Errorf("stalled at %d %v, %d behind", at, ok, s.Behind(0))
	}
	if _, err := s.Apply(0, log[5:], nil); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Stalled(0, 0); ok || s.Behind(0) != 0 {
		t.Error("still stalled after the right log came")
	}
}

func TestReadGivesTheRecordsOfARange(t *testing.T) {
	log := commitLog(5, 1, 2000)
	s := open(t, disk.NewMemory())
	mustFollow(t, s, log, 1)
	applied := log[len(log)-1].Last()
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		from := 1 + rng.Uint64N(applied+10)
		to := from + rng.Uint64N(500)
		var want []uint64
		for i := range log {
			if log[i].Last() >= from && log[i].First <= to {
				want = append(want, log[i].First)
			}
		}
		var got []uint64
		for r, err := range s.Read("table0", from, to) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r.First)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("TxIDs %d to %d: records %v, want %v", from, to, got, want)
		}
	}
}

func TestDigestAtEveryEarlierTxID(t *testing.T) {
	log := commitLog(6, 1, 600)
	s := open(t, disk.NewMemory())
	mustFollow(t, s, log, 1)
	var digest [32]byte
	at := uint64(0)
	for i := range log {
		for txid := max(at, 1); txid < log[i].Last(); txid++ {
			got, err := s.Digest("table0", txid)
			if err != nil || got.TxID != at || got.Digest != hexDigest(digest) {
				t.Fatalf("digest at %d: %+v, %v; want %x at %d", txid, got, err, digest, at)
			}
		}
		digest, at = chain(digest, &log[i]), log[i].Last()
	}
	got, err := s.Digest("table0", 0)
	if err != nil || got.TxID != at || got.Applied != at || got.Digest != hexDigest(digest) {
		t.Fatalf("digest at the end: %+v, %v", got, err)
	}
	none, err := s.Digest("nowhere", 7)
	if err != nil || none.TxID != 0 || none.Digest != strings.Repeat("0", 64) {
		t.Fatalf("digest of an absent table: %+v, %v", none, err)
	}
}

func TestReadersSeeWholeRecordsWhileRecordsAreApplied(t *testing.T) {
	log := commitLog(7, 2, 3000)
	s := open(t, disk.NewMemory())
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				next := uint64(1)
				for r, err := range s.Read("table1", 1, 1<<62) {
					if err != nil || r.First != next {
						t.Errorf("record from %d, want %d: %v", r.First, next, err)
						return
					}
					next = r.Last() + 1
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	mustFollow(t, s, log, 1)
	close(stop)
	readers.Wait()
}

// Corruption, one sentence about recovery each. In all of them the log is read again and the table ends as it was.
func TestDamagedFilesAreReadAgainFromTheLog(t *testing.T) {
	log := commitLog(8, 3, 120)
	victim := filepath.Join(root, "tables", "table1", "records")
	for _, c := range []struct {
		name   string
		damage func(m *disk.Memory) error
	}{
		{"a bit of an early entry is flipped: the table is cut there", func(m *disk.Memory) error {
			return rewrite(m, victim, func(b []byte) []byte { b[200] ^= 4; return b })
		}},
		{"a bit of the last entry is flipped: it alone is lost", func(m *disk.Memory) error {
			return rewrite(m, victim, func(b []byte) []byte { b[len(b)-1] ^= 4; return b })
		}},
		{"the file is shorter, at an entry's end or not", func(m *disk.Memory) error {
			return rewrite(m, victim, func(b []byte) []byte { return b[:len(b)/2] })
		}},
		{"the file ends in zeros", func(m *disk.Memory) error {
			return rewrite(m, victim, func(b []byte) []byte { return append(b, make([]byte, 100)...) })
		}},
		{"the header is damaged: the file is removed", func(m *disk.Memory) error {
			return rewrite(m, victim, func(b []byte) []byte { b[3] = 0; return b })
		}},
		{"the file is empty", func(m *disk.Memory) error {
			return rewrite(m, victim, func(b []byte) []byte { return nil })
		}},
		{"the file is gone", func(m *disk.Memory) error { return m.Remove(victim) }},
		{"the checkpoint is damaged: all logs are read from the start", func(m *disk.Memory) error {
			return rewrite(m, checkpointPath(root), func(b []byte) []byte { b[20]++; return b })
		}},
		{"the checkpoint is gone", func(m *disk.Memory) error { return m.Remove(checkpointPath(root)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := disk.NewMemory()
			s := open(t, mem)
			mustFollow(t, s, log, 1)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			want := describe(s)
			if err := c.damage(mem); err != nil {
				t.Fatal(err)
			}
			s = open(t, mem)
			mustFollow(t, s, log, 2)
			if got := describe(s); got != want {
				t.Fatalf("after damage:\n%swant:\n%s", got, want)
			}
		})
	}
}

func rewrite(m *disk.Memory, path string, change func([]byte) []byte) error {
	b, err := disk.ReadFile(m, path)
	if err != nil {
		return err
	}
	return m.WriteFileSync(path, change(b))
}

func TestRepairOfATableThatIsDamagedWhileItRuns(t *testing.T) {
	log := commitLog(9, 2, 200)
	mem := disk.NewMemory()
	s := open(t, mem)
	mustFollow(t, s, log, 1)
	want := describe(s)
	if err := rewrite(mem, s.find("table1").path(), func(b []byte) []byte { b[900] ^= 1; return b }); err != nil {
		t.Fatal(err)
	}
	var failed error
	for _, err := range s.Read("table1", 1, 1<<62) {
		failed = err
	}
	if failed == nil || !strings.Contains(failed.Error(), "damaged at byte") {
		t.Fatalf("reading a damaged file: %v", failed)
	}
	if err := s.Repair("table1"); err != nil {
		t.Fatal(err)
	}
	at, ok := s.Stalled(0, 0)
	if !ok || s.Behind(0) == 0 {
		t.Fatal("the table is not read again")
	}
	if _, err := s.Apply(0, log[at-1:], nil); err != nil {
		t.Fatal(err)
	}
	if got := describe(s); got != want || s.Behind(0) != 0 {
		t.Fatalf("after the repair:\n%swant:\n%s", got, want)
	}
}

func TestAppendAfterAFullDisk(t *testing.T) {
	log := commitLog(10, 2, 100)
	mem := disk.NewMemory()
	s := open(t, mem)
	if _, err := s.Apply(0, log[:50], nil); err != nil {
		t.Fatal(err)
	}
	full := true
	mem.Hook(func(op disk.Op) error {
		if op.Kind == disk.OpWrite && full {
			return syscall.ENOSPC
		}
		return nil
	})
	for range 3 {
		done, err := s.Apply(0, log[50:], nil)
		if err != nil || len(done.Failed) != 2 || !errors.Is(done.Failed[0], syscall.ENOSPC) {
			t.Fatalf("a full disk: %v, %v", done.Failed, err)
		}
		if all := s.Standing(0); len(all) != 2 || !errors.Is(all[0].Why, syscall.ENOSPC) || s.Behind(0) != 50 {
			t.Fatalf("standing: %+v, %d records behind", all, s.Behind(0))
		}
	}
	full = false
	if _, err := s.Apply(0, log[50:], nil); err != nil {
		t.Fatal(err)
	}
	if all := s.Standing(0); len(all) != 0 || s.Behind(0) != 0 {
		t.Fatalf("standing: %+v, %d records behind", all, s.Behind(0))
	}
	reference := open(t, disk.NewMemory())
	mustFollow(t, reference, log, 2)
	if got, want := describe(s), describe(reference); got != want {
		t.Fatalf("after the disk was full:\n%swant:\n%s", got, want)
	}
}

func TestI7_OpenFilesAreBounded(t *testing.T) {
	log := commitLog(11, 60, 600)
	mem := disk.NewMemory()
	s, err := Open(Config{Dir: root, FS: mem, Shards: 1, FilesMax: 5})
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(log); at += 30 {
		if _, err := s.Apply(0, log[at:at+30], nil); err != nil {
			t.Fatal(err)
		}
		if n := s.files.recent.Len(); n > 5 {
			t.Fatalf("%d files are open", n)
		}
	}
	want := describe(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mem.Crash()
	if got := describe(open(t, mem)); got != want {
		t.Fatalf("after closing:\n%swant:\n%s", got, want)
	}
}

func TestFolderNames(t *testing.T) {
	long := strings.Repeat("!", api.NameBytesMax)
	names := []string{"cpu", "CPU", "a.b", "a%b", "a%25b", "ä", "%", "a:b?c|d", long, long[1:] + "?", "a~b",
		"CON", "-", "con\u00e9", strings.Repeat("ü", 63)}
	seen := map[string]string{}
	for _, name := range names {
		folder := folderName(name)
		if other, twice := seen[folder]; twice {
			t.Errorf("%q and %q have the same folder %q", name, other, folder)
		}
		seen[folder] = name
		if len(folder) > 255 || folder == "." || folder == ".." || strings.ContainsAny(folder, "/\x00") {
			t.Errorf("%q has the folder %q", name, folder)
		}
	}
	s, mem := (*Store)(nil), disk.NewMemory()
	s = open(t, mem)
	for i, name := range names {
		r := commitLog(1, 1, 1)[0]
		r.Table, r.Index = name, uint64(i+1)
		if _, err := s.Apply(0, []api.LogRecord{r}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s = open(t, mem); len(s.Tables()) != len(names) {
		t.Errorf("%d of %d tables are there again", len(s.Tables()), len(names))
	}
}

func TestAnotherClustersFolderIsRefused(t *testing.T) {
	mem := disk.NewMemory()
	s := open(t, mem)
	mustFollow(t, s, commitLog(1, 1, 3), 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: root, FS: mem, Shards: 16}); err == nil || !strings.Contains(err.Error(), "shards") {
		t.Fatalf("opened with another number of shards: %v", err)
	}
}
