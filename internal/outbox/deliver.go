package outbox

import (
	"context"
	"fmt"

	"github.com/seed-551dd829/braid/internal/api"
)

// deliver brings one batch of a table to the cluster.
func (b *Box) deliver(ctx context.Context, table string, lose func(error)) {
	err := b.batch(ctx, table)
	switch {
	case err == nil || ctx.Err() != nil || b.ended() != nil:
	case api.IsName(err, api.Expired) || api.IsName(err, api.Fenced):
		lose(err)
	default:
		b.deps.Logger.Error("the outbox has ended", "folder", b.cfg.Dir, "table", table, "error", err)
		b.end(err)
	}
	b.mu.Lock()
	b.running--
	b.releaseLocked(table)
	b.changedLocked()
	b.mu.Unlock()
}

// batch is the steps, each on the disk before the next: number, send, answer.
func (b *Box) batch(ctx context.Context, table string) error {
	b.mu.Lock()
	entries := b.c.batch(table, b.cfg.BatchWrites, b.cfg.BatchBytes)
	b.mu.Unlock()
	if len(entries) == 0 {
		return nil
	}
	writes, err := b.readAll(entries)
	if err != nil {
		return err
	}
	entries = entries[:len(writes)]
	load, err := b.deps.Carrier.Prepare(ctx, table, writes)
	if err != nil {
		return err
	}
	if load.Taken < 1 || load.Taken > len(entries) {
		return fmt.Errorf("table %s: %d of %d writes are prepared", table, load.Taken, len(entries))
	}
	ordinals, records := plan(table, entries[:load.Taken], load.Refused)
	if fresh := entries[0].sequence == 0; fresh && len(ordinals) > 0 {
		b.mu.Lock()
		records = append(records, b.c.number(table, ordinals))
		b.mu.Unlock()
	}
	if err := b.put(ctx, records...); err != nil {
		return err
	}
	b.settle(records)
	if len(ordinals) == 0 {
		return nil
	}
	outcomes, err := load.Send(ctx, b.idsOf(table, ordinals))
	if err != nil {
		return err
	}
	if len(outcomes) != len(ordinals) {
		return fmt.Errorf("table %s: %d outcomes of %d writes", table, len(outcomes), len(ordinals))
	}
	if err := b.put(ctx, answers(table, ordinals, outcomes)...); err != nil {
		return err
	}
	b.tell(ordinals, outcomes)
	return nil
}

// readAll reads writes back, as many of the first as have one durability: a group has one.
func (b *Box) readAll(entries []entry) (writes []*Write, err error) {
	var r reading
	for _, e := range entries {
		w, err := b.j.read(&r, e.at)
		if err != nil {
			_ = r.close() // of a file that was read only
			return nil, err
		}
		if len(writes) > 0 && w.Durability != writes[0].Durability {
			break
		}
		writes = append(writes, w)
	}
	return writes, r.close()
}

// plan splits writes into those to send and those that are refused before. Of one that may have been sent by another
// process nobody knows more than that.
func plan(table string, entries []entry, refusals map[int]Refusal) (send []uint64, records []record) {
	for i, e := range entries {
		r, refused := refusals[i]
		if !refused {
			send = append(send, e.ordinal)
			continue
		}
		r.Message, r.Unknown = clip(r.Message), r.Unknown || e.sequence != 0
		records = append(records, refusedRecord{table, e.ordinal, r})
	}
	return send, records
}

// answers writes outcomes down: TxIDs without a gap in one record.
func answers(table string, ordinals []uint64, outcomes []Outcome) (records []record) {
	for i := 0; i < len(ordinals); {
		if r := outcomes[i].Refusal; r != nil {
			why := *r
			why.Message = clip(why.Message)
			records = append(records, refusedRecord{table, ordinals[i], why})
			i++
			continue
		}
		first, start := outcomes[i].TxID, i
		for i < len(ordinals) && outcomes[i].Refusal == nil && outcomes[i].TxID == first+uint64(i-start) {
			i++
		}
		records = append(records, acceptedRecord{table, first, ordinals[start:i]})
	}
	return records
}

// settle tells those who watch writes that were refused before they were sent.
func (b *Box) settle(records []record) {
	var ordinals []uint64
	var outcomes []Outcome
	for _, r := range records {
		if r, ok := r.(refusedRecord); ok {
			ordinals, outcomes = append(ordinals, r.Ordinal), append(outcomes, Outcome{Refusal: &r.Refusal})
		}
	}
	b.tell(ordinals, outcomes)
}

// tell tells those who watch writes, and whoever counts.
func (b *Box) tell(ordinals []uint64, outcomes []Outcome) {
	for i, o := range ordinals {
		if b.deps.Ended != nil {
			b.deps.Ended(outcomes[i])
		}
		b.mu.Lock()
		watcher := b.watched[o]
		b.mu.Unlock()
		taken := watcher != nil && watcher(outcomes[i], nil)
		refusal := outcomes[i].Refusal
		if refusal != nil && !taken && b.deps.Report == nil {
			b.deps.Logger.Warn("a write that cannot be delivered is kept until the application takes it back",
				"folder", b.cfg.Dir, "write", o, "error", refusal.Message)
		}
		b.mu.Lock()
		delete(b.watched, o)
		if taken && refusal != nil && b.err == nil {
			r := reportedRecord{[]uint64{o}} // if it is lost, the next process reports the write again
			b.control = append(b.control, &item{r: r, done: make(chan struct{})})
		}
		b.changedLocked()
		b.mu.Unlock()
	}
}
