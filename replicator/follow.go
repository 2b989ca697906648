package replicator

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/table"
)

// shard is the loop around one shard's core.
type shard struct {
	index int
	core  *core // of the loop alone
	hints *hints

	// For everybody else, who must not wait for a disk to know it.
	lag      atomic.Uint64                    // core.lag
	standing atomic.Pointer[[]table.Standing] // as the tables had it after the last step
	lagging  atomic.Pointer[[]table.Lag]      // the same, tablesShown at most
	pending  atomic.Bool                      // a table stands at a pending record
}

func newShard(index int, cfg coreConfig, position uint64, now time.Time) *shard {
	sh := &shard{index: index, core: newCore(cfg, position, now), hints: newHints()}
	sh.lag.Store(sh.core.lag())
	sh.standing.Store(new([]table.Standing))
	sh.lagging.Store(new([]table.Lag))
	return sh
}

// poke wakes the loop. It never blocks.
func (sh *shard) poke(h Hint) { sh.hints.add(h) }

// subscribe listens to the hints that logs have grown. A hint that is lost is made up for by polling.
func (s *Service) subscribe() (unsubscribe func(), err error) {
	f, err := bus.NewFollower(s.deps.Conn, s.deps.Logger, s.deps.Registerer)
	if err != nil {
		return nil, err
	}
	var stops []func() error
	unsubscribe = func() {
		for _, stop := range stops {
			if err := stop(); err != nil {
				s.deps.Logger.Warn("hints are still listened to", "error", err)
			}
		}
	}
	for _, sh := range s.shards {
		stop, err := f.Follow(s.deps.Subjects.Commits(sh.index), func(data []byte) error {
			h, err := parseHint(data)
			sh.poke(h)
			return err
		})
		if err != nil {
			unsubscribe()
			return nil, err
		}
		stops = append(stops, stop)
	}
	return unsubscribe, nil
}

// looks asks again and again how far all logs go, which makes up for hints that were lost.
func (s *Service) looks(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.PollInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.look(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// look asks once and hints at the answer. While there is none, each shard reads its log by itself, half as often, and
// says why that fails.
func (s *Service) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	heads, err := s.deps.Sequencer.Heads(ctx)
	if err != nil || len(heads) != len(s.shards) {
		return
	}
	for i, head := range heads {
		s.shards[i].poke(Hint{Head: head, Looked: true})
	}
}

// follow reads and applies a shard's log until ctx ends.
func (s *Service) follow(ctx context.Context, sh *shard) error {
	for ctx.Err() == nil {
		if s.advance(ctx, sh) {
			s.progressed()
		} else {
			s.rest(ctx, sh)
		}
	}
	return nil
}

// advance takes what was hinted at, and does what is due; false if nothing is.
func (s *Service) advance(ctx context.Context, sh *shard) bool {
	if h, ok := sh.hints.take(); ok {
		s.hinted(sh, h)
	}
	r, ok := sh.core.due(s.now())
	if ok {
		s.step(ctx, sh, r)
		s.tell(sh)
	}
	return ok
}

// tell shows everybody where the shard stands.
func (s *Service) tell(sh *shard) {
	sh.lag.Store(sh.core.lag())
	standing := s.tables.Standing(sh.index)
	sh.standing.Store(&standing)
	lagging := s.tables.Lagging(sh.index, tablesShown)
	sh.lagging.Store(&lagging)
	sh.pending.Store(s.tables.Pending(sh.index))
}

// Pending says whether a table stands at a record whose segment is not in the object store yet. It never waits.
func (s *Service) Pending() bool {
	for _, sh := range s.shards {
		if sh.pending.Load() {
			return true
		}
	}
	return false
}

// rest waits for a hint, or until something is due.
func (s *Service) rest(ctx context.Context, sh *shard) {
	timer := time.NewTimer(time.Until(sh.core.wake()))
	defer timer.Stop()
	select {
	case <-sh.hints.signal:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (s *Service) hinted(sh *shard, h Hint) {
	sh.core.hint(s.now(), h)
	sh.lag.Store(sh.core.lag()) // reading the log may hang: it is known already that there is more
	if at, ok := s.tables.Stalled(sh.index, 0); ok && !h.Looked {
		sh.core.damaged(s.now(), at, s.behind(sh.index))
		s.tell(sh)
	}
}

// logTimeout bounds one reading of a log.
const logTimeout = 5 * time.Second

// step reads one piece of the log and applies it.
func (s *Service) step(ctx context.Context, sh *shard, r request) {
	answer, err := s.read(ctx, sh.index, r)
	if err != nil {
		s.trouble(ctx, sh, "log", err)
		sh.core.failed(s.now(), r)
		return
	}
	sh.core.answered(s.now(), r, answer.Head, len(answer.Records))
	if len(answer.Records) == 0 {
		return
	}
	held := s.gather(ctx, sh, answer.Records)
	if ctx.Err() != nil {
		return
	}
	done, err := s.tables.Apply(sh.index, answer.Records, held)
	if err != nil {
		s.trouble(ctx, sh, "apply", err)
		sh.core.failed(s.now(), r)
		return
	}
	s.count(sh, done)
	s.waits.wake(answer.Records)
	sh.core.applied(s.now(), r, s.progress(sh.index, answer.Records))
}

func (s *Service) read(ctx context.Context, shard int, r request) (api.LogAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	answer, err := s.deps.Sequencer.Log(ctx, shard, api.LogRequest{From: r.from, Limit: r.limit})
	if err != nil {
		return answer, err
	}
	if answer.Head+1 < r.from {
		// Going on would give TxIDs a second time.
		return answer, fmt.Errorf("log of shard %d ends at %d, but this node has applied %d: "+
			"is its folder of another cluster, or has the sequencer's store lost data?", shard, answer.Head, r.from-1)
	}
	if n := len(answer.Records); n > 0 && answer.Records[0].Index != r.from {
		return answer, fmt.Errorf("log of shard %d was asked for from %d, the answer begins at %d",
			shard, r.from, answer.Records[0].Index)
	}
	return answer, nil
}

// trouble logs the first failure of a row of them, and counts all.
func (s *Service) trouble(ctx context.Context, sh *shard, operation string, err error) {
	if ctx.Err() != nil {
		return
	}
	s.metrics.errors.WithLabelValues(operation).Inc()
	if sh.core.failures == 0 {
		s.deps.Logger.Warn("replication of a shard stands, trying again", "shard", sh.index,
			"operation", operation, "error", err)
	}
}

func (s *Service) count(sh *shard, done table.Applied) {
	s.metrics.records.Add(float64(done.Records))
	s.metrics.txids.Add(float64(done.TxIDs))
	s.metrics.rows.Add(float64(done.Rows))
	for _, gap := range done.Gaps {
		s.metrics.gaps.Inc()
		s.deps.Logger.Error("TxIDs are missing, reading the log again", "shard", sh.index, "table", gap.Table,
			"txid", gap.Applied, "error", gap)
	}
	for _, err := range done.Failed {
		s.metrics.errors.WithLabelValues("append").Inc()
		s.deps.Logger.Error("table cannot be written, it stands", "shard", sh.index, "error", err)
	}
}

func (s *Service) progress(shard int, records []api.LogRecord) progress {
	p := progress{position: s.tables.Position(shard), behind: s.behind(shard)}
	p.lowest, _ = s.tables.Stalled(shard, 0)
	p.ahead, _ = s.tables.Stalled(shard, records[len(records)-1].Index+1)
	return p
}

// behind is how many records below the position are not applied, not less than one for each table that stands: records
// that were pending when they were passed are not counted, though they may be confirmed now.
func (s *Service) behind(shard int) uint64 {
	return max(s.tables.Behind(shard), uint64(len(s.tables.Standing(shard))))
}

// gather sees to it that the bytes of the records are here, and marks those whose bytes cannot be had now. Segments
// are fetched beside each other; a piece is as large as its records, not as its segments, so it needs little memory.
func (s *Service) gather(ctx context.Context, sh *shard, records []api.LogRecord) (held []error) {
	need := make(map[api.SegmentID][]*api.LogRecord)
	var order []api.SegmentID
	for i := range records {
		r := &records[i]
		if r.State != api.Confirmed || r.Last() <= s.tables.AppliedTxID(r.Table) {
			continue
		}
		if need[r.Segment] == nil {
			order = append(order, r.Segment)
		}
		need[r.Segment] = append(need[r.Segment], r)
	}
	failed := make([]error, len(order))
	s.each(len(order), func(i int) { failed[i] = s.segments.ensure(ctx, order[i], need[order[i]]) })
	return s.hold(ctx, sh, records, order, failed)
}

// sideBySide calls f for 0 to n-1, some at a time.
func (s *Service) sideBySide(n int, f func(i int)) {
	var g errgroup.Group
	g.SetLimit(2 * s.segments.workers)
	for i := range n {
		g.Go(func() error {
			f(i)
			return nil
		})
	}
	_ = g.Wait() // f has no error
}

// hold says of each record why its bytes cannot be had; nil if all can.
func (s *Service) hold(
	ctx context.Context, sh *shard, records []api.LogRecord, order []api.SegmentID, failed []error,
) []error {
	missing := make(map[api.SegmentID]error)
	var first api.SegmentID
	for i, err := range failed {
		if err != nil && len(missing) == 0 {
			first = order[i]
		}
		if err != nil {
			missing[order[i]] = err
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if ctx.Err() == nil {
		// One line for the whole piece: when the object store is away, every segment of it is.
		s.deps.Logger.Warn("segments cannot be had, their tables wait", "shard", sh.index, "segments", len(missing),
			"segment", first.String(), "error", missing[first])
	}
	held := make([]error, len(records))
	for i := range records {
		if err := missing[records[i].Segment]; err != nil && records[i].State == api.Confirmed {
			held[i] = err
			s.metrics.held.Inc()
		}
	}
	return held
}
