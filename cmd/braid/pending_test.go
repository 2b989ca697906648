package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
)

// TestStatusShowsWhatIsPending: how many, since when, who holds it, and which cannot be settled by their primary.
func TestStatusShowsWhatIsPending(t *testing.T) {
	s := pendingStatus{}
	add := func(table string, first, last, rows, seconds uint64, fenced bool, holders ...string) {
		s.add(pendingRecord{api.PendingRecord{Table: table, First: first, Last: last, Rows: rows, Fenced: fenced,
			Holders: holders}, seconds})
	}
	add("cpu", 7, 9, 30, 2, false, "p1", "r1")
	add("mem", 3, 3, 10, 90, true, "p2", "r1")
	add("cpu", 5, 6, 20, 3, false, "p1", "p2")
	if cpu := s.Tables[0]; cpu.TxID != 5 || cpu.Records != 2 || cpu.Rows != 50 || cpu.Seconds != 3 || cpu.Fenced ||
		!slices.Equal(cpu.Holders, []string{"p1", "p2", "r1"}) {
		t.Errorf("cpu: %+v", cpu)
	}
	var out bytes.Buffer
	if err := s.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"3 records with 60 rows", "the oldest for 90 s", "TxID 3", "p2, r1 (its primary is gone"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}
