//go:build unix

package faults

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/history"
	"github.com/seed-551dd829/braid/internal/processes"
)

// recorder keeps what writers intended and what they were told. An intent is noted before it is sent, with an unknown
// outcome, so that whatever happens to its writer, it is there.
type recorder struct {
	events *processes.Story

	mu     sync.Mutex
	writes map[string][]history.Write // guarded by mu: by table
	acked  int                        // guarded by mu
}

// intent is a write that has been noted.
type intent struct {
	table string
	index int
}

func (r *recorder) begin(table string, rows rows, expected *uint64) intent {
	w := history.Write{Content: rows.content, Rows: rows.count, Sent: r.events.Now(), Outcome: history.Unknown}
	if expected != nil {
		w.Locked, w.Expected = true, *expected
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes[table] = append(r.writes[table], w)
	return intent{table, len(r.writes[table]) - 1}
}

// outcome is what an answer or error says: the TxID or the head of a conflict belong to it.
type outcome struct {
	history.Outcome // 0: nothing was stored
	txid            uint64
}

// judgeAnswer says what a write's answer means. What no writer of a scenario may be told is an error.
func judgeAnswer(txid uint64, err error) (outcome, error) {
	conflict := new(client.ConflictError)
	switch {
	case err == nil:
		return outcome{history.Acknowledged, txid}, nil
	case errors.As(err, &conflict):
		return outcome{history.Conflicted, conflict.Current}, nil
	case errors.Is(err, client.ErrExpired), errors.Is(err, client.ErrFenced), errors.Is(err, client.ErrVoided):
		return outcome{history.Unknown, 0}, fmt.Errorf("nothing in the scenario gives a reason for: %w", err)
	case errors.Is(err, client.ErrUnknownOutcome):
		return outcome{history.Unknown, 0}, nil
	case errors.Is(err, client.ErrOverloaded), errors.Is(err, client.ErrUnavailable):
		return outcome{}, nil
	}
	return outcome{history.Unknown, 0}, fmt.Errorf("nothing in the scenario gives a reason for: %w", err)
}

func (r *recorder) end(i intent, o outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &r.writes[i.table][i.index]
	w.Outcome, w.Answered = o.Outcome, r.events.Now()
	switch o.Outcome {
	case history.Acknowledged:
		r.acked++
		w.TxID = o.txid
	case history.Conflicted:
		w.Current = o.txid
	}
}

// tables returns what was recorded, by table.
func (r *recorder) tables() []history.Table {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []history.Table
	for _, name := range slices.Sorted(maps.Keys(r.writes)) {
		all = append(all, history.Table{Name: name, Writes: slices.Clone(r.writes[name])})
	}
	return all
}
