package outbox

import "errors"

// toMove is a write that keeps the oldest file.
type toMove struct {
	entry
	table   string
	refusal *Refusal
}

// move writes what is still needed of the oldest file once more, at the end, if that is little: a few writes that wait
// for something must not keep a whole file of others. It leaves alone what somebody sends or reports just now.
func (b *Box) move() error {
	b.mu.Lock()
	list := b.claimLocked()
	b.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	err := b.copy(list)
	b.mu.Lock()
	for _, m := range list {
		if m.refusal == nil {
			b.releaseLocked(m.table)
		}
	}
	b.changedLocked()
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return b.clear()
}

// claimLocked lists what keeps the oldest file and can be moved now, and claims the tables.
func (b *Box) claimLocked() (list []toMove) {
	if !b.c.sparse() {
		return nil
	}
	oldest := b.c.files[0].number
	for _, name := range b.c.names() {
		q, claimed := b.c.tables[name], false
		if q.busy {
			continue
		}
		for _, e := range q.open {
			if e.at.file == oldest {
				list, claimed = append(list, toMove{e, name, nil}), true
			}
		}
		q.busy = claimed
	}
	for i := range b.c.refused {
		if r := &b.c.refused[i]; r.at.file == oldest && r.ordinal != b.reporting {
			list = append(list, toMove{r.entry, r.table, &r.refusal})
		}
	}
	return list
}

func (b *Box) copy(list []toMove) error {
	var r reading
	var items []*item
	for _, m := range list {
		w, err := b.j.read(&r, m.at)
		if err != nil {
			return errors.Join(err, r.close())
		}
		again := movedRecord{Sequence: m.sequence, Refusal: m.refusal, Write: w}
		items = append(items, &item{r: again, done: make(chan struct{})})
	}
	if err := r.close(); err != nil {
		return err
	}
	if err := b.write(items); err != nil && !errors.Is(err, errFull) { // without room, another time
		return err
	}
	return nil
}
