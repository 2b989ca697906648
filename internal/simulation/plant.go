package simulation

import (
	"context"
	"slices"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/sim"
	"github.com/seed-551dd829/braid/primary"
	"github.com/seed-551dd829/braid/replicator"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

func (b Bug) puts(n *node, o objstore.Store) objstore.Store {
	switch b {
	case CommitBeforeDurable:
		return lazyStore{o, n.p}
	case DropUnnamed:
		return droppingStore{o, n.w}
	}
	return o
}

// droppingStore takes an object away that no record names some time after its put, whether or not its primary is
// fenced: it may be about to commit it, and a put that it has given up may still land.
type droppingStore struct {
	objstore.Store
	w *world
}

func (s droppingStore) Put(ctx context.Context, key string, body objstore.Body) error {
	s.w.e.After(s.w.e.Between(0, 2*time.Second), func() {
		if !slices.ContainsFunc(s.w.records, func(r api.LogRecord) bool { return r.Segment.Key() == key }) {
			s.w.e.Trace("trimmer", "drops %s", key)
			s.w.objects.Lose(key)
		}
	})
	return s.Store.Put(ctx, key, body)
}

// lazyStore says that an object is stored before it is.
type lazyStore struct {
	objstore.Store
	p *sim.Process
}

func (s lazyStore) Put(_ context.Context, key string, body objstore.Body) error {
	s.p.Go(func(ctx context.Context) { _ = s.Store.Put(ctx, key, body) })
	return nil
}

func (b Bug) disk(f disk.FS) disk.FS {
	switch b {
	case SkipSync:
		return carelessFS{f, func(disk.File) error { return nil }}
	case GoOnAfterSync:
		return carelessFS{f, func(f disk.File) error { _ = f.Sync(); return nil }}
	}
	return f
}

// carelessFS syncs files in its own way.
type carelessFS struct {
	disk.FS
	sync func(disk.File) error
}

func (c carelessFS) Create(path string) (disk.File, error) {
	f, err := c.FS.Create(path)
	if err != nil {
		return nil, err
	}
	return carelessFile{f, c.sync}, nil
}

type carelessFile struct {
	disk.File
	sync func(disk.File) error
}

func (f carelessFile) Sync() error { return f.sync(f.File) }

func (b Bug) commits(n *node, a asker) primary.Sequencer {
	switch b {
	case AckBeforeCommit:
		return hastySequencer{a}
	case UnknownIsFailure:
		return deletingSequencer{a, n}
	case ConfirmFirst:
		return eagerSequencer{a}
	case FenceByClock:
		return clockSequencer{a, n}
	}
	return a
}

// hastySequencer answers a commit with what it will be, and sends it later.
type hastySequencer struct{ asker }

func (s hastySequencer) Commit(ctx context.Context, shard int, r *api.CommitRequest) ([]api.GroupAnswer, error) {
	parsed, err := s.w.core.ParseRequest(api.AppendCommitRequest(nil, r), shard)
	if err != nil {
		return nil, err
	}
	answers, err := s.w.foresee(shard, parsed)
	if err != nil {
		return nil, err
	}
	s.p.Go(func(ctx context.Context) {
		s.p.Sleep(s.w.patience())
		_, _ = s.asker.Commit(ctx, shard, r)
	})
	return answers, nil
}

// deletingSequencer deletes the segments of a commit without an answer.
type deletingSequencer struct {
	asker
	n *node
}

func (s deletingSequencer) Commit(ctx context.Context, shard int, r *api.CommitRequest) ([]api.GroupAnswer, error) {
	answers, err := s.asker.Commit(ctx, shard, r)
	if err != nil {
		for _, g := range r.Groups {
			s.w.objects.Lose(api.SegmentID{Node: r.Node, Epoch: r.Epoch, Sequence: g.Segment}.Key())
		}
	}
	return answers, err
}

func (b Bug) register(
	n *node, a asker,
) func(context.Context, api.RegisterNodeRequest) (api.RegisterNodeAnswer, error) {
	if b == ReuseEpoch && n.epoch > 0 {
		return func(ctx context.Context, _ api.RegisterNodeRequest) (api.RegisterNodeAnswer, error) {
			t, err := a.Topology(ctx)
			return api.RegisterNodeAnswer{Epoch: n.epoch, Topology: t}, err
		}
	}
	return a.RegisterNode
}

// log is the sequencer as a node reads logs from it.
func (b Bug) log(n *node, a asker) replicator.Sequencer {
	switch b {
	case ApplyOutOfOrder:
		return changedLog{a, 0, swapNeighbours}
	case IgnoreMask:
		return changedLog{a, 0, func(records []api.LogRecord) {
			for i := range records {
				records[i].Mask = nil
			}
		}}
	case ApplyPending:
		return changedLog{a, 0, func(records []api.LogRecord) {
			for i := range records {
				records[i].State = api.Confirmed
			}
		}}
	case RecoverBehind, RecoverBeyond:
		if n.starts > 1 {
			return changedLog{a, map[Bug]int{RecoverBehind: -1, RecoverBeyond: 1}[b], func([]api.LogRecord) {}}
		}
	}
	return a
}

// changedLog reads records that are some places away from those that were asked for, and changes them.
type changedLog struct {
	asker
	shift  int
	change func([]api.LogRecord)
}

func (l changedLog) Log(ctx context.Context, shard int, q api.LogRequest) (api.LogAnswer, error) {
	if int(q.From)+l.shift < 1 {
		return l.asker.Log(ctx, shard, q)
	}
	q.From = uint64(int(q.From) + l.shift)
	a, err := l.asker.Log(ctx, shard, q)
	for i := range a.Records {
		a.Records[i].Index = uint64(int(a.Records[i].Index) - l.shift)
	}
	a.Head = uint64(max(0, int(a.Head)-l.shift))
	l.change(a.Records)
	return a, err
}

// swapNeighbours exchanges what neighbours of one table hold, where they have as many TxIDs.
func swapNeighbours(records []api.LogRecord) {
	for i := 1; i < len(records); i++ {
		a, b := &records[i-1], &records[i]
		if a.Table == b.Table && a.Count() == b.Count() {
			index, first := a.Index, a.First
			*a, *b = *b, *a
			b.Index, b.First, a.Index, a.First = a.Index, a.First, index, first
			i++
		}
	}
}

// registration is the transaction's function as the bug has it.
func (b Bug) registration(
	w *world, f func(kv.Txn, api.RegisterNodeRequest) (api.RegisterNodeAnswer, error),
) func(kv.Txn, api.RegisterNodeRequest) (api.RegisterNodeAnswer, error) {
	switch b {
	case EpochRestarts:
		return restarting(f)
	case NoFencing, FenceByClock:
	default:
		return f
	}
	return func(t kv.Txn, r api.RegisterNodeRequest) (api.RegisterNodeAnswer, error) {
		keep := &recordingTxn{Txn: t}
		a, err := f(keep, r)
		for _, s := range keep.sets {
			if s.key[0] == nodeKind {
				w.registrations[[2]any{r.ID, a.Epoch}] = s
			}
		}
		return a, err
	}
}

// Kinds of the store's keys, as docs/formats/store.md has them.
const (
	epochKind  = 0x02
	nodeKind   = 0x04
	answerKind = 0x32
	plainKind  = 0x40
)

type set struct{ key, value []byte }

// recordingTxn remembers what is set.
type recordingTxn struct {
	kv.Txn
	sets []set
}

func (t *recordingTxn) Set(key, value []byte) {
	t.sets = append(t.sets, set{append([]byte(nil), key...), value})
	t.Txn.Set(key, value)
}

// transaction is a commit's as the bug has it; node and epoch are of its first request.
func (b Bug) transaction(w *world, t kv.Txn, node string, epoch uint64) kv.Txn {
	switch b {
	case NoFencing, FenceByClock:
		return unfencedTxn{t, w.registrations[[2]any{node, epoch}]}
	case ForgetIdentity:
		return forgetfulTxn{t, true}
	case ForgetRefusal:
		return forgetfulTxn{t, false}
	}
	return t
}

// unfencedTxn sees a node as it was when it registered under the epoch that commits.
type unfencedTxn struct {
	kv.Txn
	old set
}

func (t unfencedTxn) Get(key []byte) ([]byte, error) {
	if string(key) == string(t.old.key) {
		return t.old.value, nil
	}
	return t.Txn.Get(key)
}

// forgetfulTxn does not find answers, or does not keep those that refuse.
type forgetfulTxn struct {
	kv.Txn
	all bool
}

func (t forgetfulTxn) Get(key []byte) ([]byte, error) {
	if t.all && key[0] == plainKind {
		return nil, nil
	}
	return t.Txn.Get(key)
}

func (t forgetfulTxn) Range(begin, end []byte, limit int, reverse bool) ([]kv.Pair, error) {
	if t.all && begin[0] == answerKind {
		return nil, nil
	}
	return t.Txn.Range(begin, end, limit, reverse)
}

func (t forgetfulTxn) Set(key, value []byte) {
	refusal := key[0] == answerKind && len(value) > 1 && api.Verdict(value[1]) == api.RefusedConflict
	if !refusal || t.all {
		t.Txn.Set(key, value)
	}
}

// again runs a commit's function when the store asks for it again: with the bug, what the first run has written is
// written again, without a look at what has changed.
func (b Bug) again(f func(kv.Txn) error) func(kv.Txn) error {
	if b != ReuseTxIDs {
		return f
	}
	var first []set
	return func(t kv.Txn) error {
		if first != nil {
			for _, s := range first {
				t.Set(s.key, s.value)
			}
			return nil
		}
		keep := &recordingTxn{Txn: t}
		err := f(keep)
		first = keep.sets
		return err
	}
}

// settled is up to where a client says that it waits for nothing.
func (b Bug) settled(id api.ProducerSeq) uint64 {
	if b == SettleEarly {
		return id.Sequence - 1
	}
	return id.Settled
}

// floor is the highest sequence that a client's new process believes to have been taken: with the bug, the last one was
// sent before it was written down. open is the highest without an answer.
func (b Bug) floor(floor, open uint64) uint64 {
	if b == ReuseSequence && floor > open {
		return floor - 1
	}
	return floor
}

// answer is what the sender of a frame is told.
func (b Bug) answer(w *world, frame []byte, a api.GroupAnswer) api.GroupAnswer {
	if b != WrongDuplicate || a.Err != nil {
		return a
	}
	if w.repeated[string(frame)]++; w.repeated[string(frame)] > 1 {
		for i := range a.Writes {
			if a.Writes[i].Verdict == api.Accepted {
				a.Writes[i].TxID++
			}
		}
	}
	return a
}

// outboxID is a write's identity as an outbox with the bug sends it.
func (b Bug) outboxID(id api.ProducerSeq) api.ProducerSeq {
	switch b {
	case OutboxSettlesEarly:
		id.Settled = id.Sequence - 1
	case SequenceReused:
		id.Sequence, id.Settled = id.Sequence&(1<<32-1), id.Settled&(1<<32-1)
	}
	return id
}

// outboxDisk is an application's disk.
func (b Bug) outboxDisk(f disk.FS) disk.FS {
	if b == OutboxSkipsSync {
		return carelessAppends{f}
	}
	return f
}

// carelessAppends does not sync files that grow.
type carelessAppends struct{ disk.FS }

func (c carelessAppends) OpenAppend(path string) (disk.File, error) {
	f, err := c.FS.OpenAppend(path)
	if err != nil {
		return nil, err
	}
	return carelessFile{f, func(disk.File) error { return nil }}, nil
}
