package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// pendingStatus is what `braid status` tells of records whose segment is not in the object store yet.
type pendingStatus struct {
	Records int    `json:"records"`
	Rows    uint64 `json:"rows"`
	// Oldest is for how many seconds the oldest of them has been pending, about: a tick is a second.
	Oldest uint64 `json:"oldest_seconds"`
	// More says that there are more than were counted.
	More   bool           `json:"more,omitempty"`
	Tables []pendingTable `json:"tables"`
}

// pendingTable is a table with pending records. It stands at the first of them on every node.
type pendingTable struct {
	Table   string   `json:"table"`
	TxID    uint64   `json:"txid"` // the first that is pending
	Records int      `json:"records"`
	Rows    uint64   `json:"rows"`
	Seconds uint64   `json:"pending_seconds"` // of the oldest
	Fenced  bool     `json:"fenced"`          // the epoch of one of them is: only a holder can bring it back
	Holders []string `json:"holders"`         // of any of them
}

type pendingRecord struct {
	api.PendingRecord
	seconds uint64
}

// pendingPages bounds how many pages of pending records are read.
const pendingPages = 10

// pendingOf lists what is pending.
func pendingOf(ctx context.Context, seq *bus.Sequencer) (s pendingStatus, err error) {
	s.Tables = []pendingTable{}
	q := api.PendingRequest{Limit: 1000}
	for range pendingPages {
		page, err := seq.Pending(ctx, q)
		if err != nil {
			return s, fmt.Errorf("list pending records: %w", err)
		}
		for _, r := range page.Records {
			s.add(pendingRecord{r, page.Tick - min(page.Tick, r.Since)})
		}
		if q.After = page.Next; q.After == nil {
			break
		}
	}
	s.More = q.After != nil
	slices.SortFunc(s.Tables, func(a, b pendingTable) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), strings.Compare(a.Table, b.Table))
	})
	return s, nil
}

func (s *pendingStatus) add(r pendingRecord) {
	s.Records++
	s.Rows += r.Rows
	s.Oldest = max(s.Oldest, r.seconds)
	i := slices.IndexFunc(s.Tables, func(t pendingTable) bool { return t.Table == r.Table })
	if i < 0 {
		i = len(s.Tables)
		s.Tables = append(s.Tables, pendingTable{Table: r.Table, TxID: r.First})
	}
	t := &s.Tables[i]
	t.Records++
	t.Rows += r.Rows
	t.TxID, t.Seconds, t.Fenced = min(t.TxID, r.First), max(t.Seconds, r.seconds), t.Fenced || r.Fenced
	for _, h := range r.Holders {
		if at, found := slices.BinarySearch(t.Holders, h); !found {
			t.Holders = slices.Insert(t.Holders, at, h)
		}
	}
}

// pendingShown bounds the tables that are printed.
const pendingShown = 20

func (s *pendingStatus) print(w io.Writer) error {
	if s.Records == 0 {
		return nil
	}
	more := ""
	if s.More {
		more = "at least "
	}
	fmt.Fprintf(w, "\npending: %s%d records with %d rows are not in the object store yet, the oldest for %d s\n",
		more, s.Records, s.Rows, s.Oldest)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TABLE\tSTANDS AT\tRECORDS\tROWS\tSINCE\tHELD BY")
	for _, p := range s.Tables[:min(len(s.Tables), pendingShown)] {
		note := ""
		if p.Fenced {
			note = " (its primary is gone: a holder has to upload it)"
		}
		fmt.Fprintf(t, "%s\tTxID %d\t%d\t%d\t%d s\t%s%s\n", p.Table, p.TxID, p.Records, p.Rows, p.Seconds,
			strings.Join(p.Holders, ", "), note)
	}
	if n := len(s.Tables) - pendingShown; n > 0 {
		fmt.Fprintf(t, "and %d tables more\n", n)
	}
	return t.Flush()
}
