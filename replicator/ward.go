package replicator

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// ailment is one damaged thing: a local segment file, an object, or a table's record file.
type ailment struct {
	segment api.SegmentID
	object  bool   // of the segment, in the object store
	table   string // whose record file it is; "": it is no record file
}

// what is the ailment's name in metrics.
func (a ailment) what() string {
	switch {
	case a.table != "":
		return "table"
	case a.object:
		return "object"
	}
	return "segment"
}

func (a ailment) String() string {
	if a.table != "" {
		return "record file of table " + a.table
	}
	return a.what() + " " + a.segment.String()
}

// patient is an ailment that could not be cured at once.
type patient struct {
	tables   []string // whose rows cannot be read here meanwhile, as far as it is known
	why      error
	attempts int
	due      time.Time
}

// ward remembers what is damaged and says when to try again. Like core, it has no clock and does nothing. It forgets
// past patientsMax, as at a restart: whoever reads or checks the thing again finds it again.
type ward struct {
	retryMax time.Duration
	patients map[ailment]*patient
}

// patientsMax bounds a ward: a disk that has lost everything is a matter of rounds, not of memory.
const patientsMax = 1024

// retryMin is the first pause; it doubles up to ward.retryMax.
const retryMin = 100 * time.Millisecond

// admit takes in an ailment, due at once. It returns false if it is known already, or there is no room.
func (w *ward) admit(now time.Time, a ailment, table string, why error) bool {
	p := w.patients[a]
	known := p != nil
	if !known {
		if len(w.patients) >= patientsMax {
			return false
		}
		p = &patient{due: now}
		w.patients[a] = p
	}
	p.why = why
	if table != "" && !slices.Contains(p.tables, table) {
		p.tables = append(p.tables, table)
	}
	return !known
}

// next is the ailment to look after first and when; false if there is none.
func (w *ward) next() (a ailment, due time.Time, ok bool) {
	for b, p := range w.patients {
		if !ok || p.due.Before(due) || p.due.Equal(due) && b.before(a) {
			a, due, ok = b, p.due, true
		}
	}
	return a, due, ok
}

// before orders ailments, so that what is decided does not depend on a map's order.
func (a ailment) before(b ailment) bool {
	object := func(a ailment) int {
		if a.object {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.segment.Node, b.segment.Node),
		cmp.Compare(a.segment.Epoch, b.segment.Epoch), cmp.Compare(a.segment.Sequence, b.segment.Sequence),
		cmp.Compare(object(a), object(b))) < 0
}

// failed says that an attempt brought nothing, and why. It returns how many attempts there were.
func (w *ward) failed(now time.Time, a ailment, why error) (attempts int) {
	p := w.patients[a]
	pause := retryMin
	for i := 0; i < p.attempts && pause < w.retryMax; i++ {
		pause *= 2
	}
	p.attempts++
	p.why, p.due = why, now.Add(min(pause, w.retryMax))
	return p.attempts
}

// dismiss forgets what is whole again.
func (w *ward) dismiss(a ailment) { delete(w.patients, a) }

// tables are those whose rows cannot be read, each with a reason. A damaged object alone harms nobody.
func (w *ward) tables() map[string]error {
	all := make(map[string]error)
	for a, p := range w.patients {
		if a.object {
			continue
		}
		for _, t := range p.tables {
			all[t] = p.why
		}
	}
	return all
}
