package history

import (
	"slices"
	"strings"
	"testing"
)

// good is a run without a violation: six writes, four of them acknowledged (one with a lock), one of unknown outcome
// that was stored, one conflict, and an unknown one that was lost.
func good() (Table, []Node) {
	t := Table{Name: "cpu", Base: 10, Writes: []Write{
		{TxID: 11, Content: 0xa, Rows: 3, Outcome: Acknowledged, Sent: 1, Answered: 4},
		{TxID: 13, Content: 0xc, Rows: 1, Outcome: Acknowledged, Sent: 5, Answered: 9},
		{TxID: 12, Content: 0xb, Rows: 2, Outcome: Acknowledged, Sent: 3, Answered: 8},
		{Content: 0xd, Rows: 4, Outcome: Unknown, Sent: 5, Answered: 20},
		{TxID: 15, Content: 0xe, Rows: 5, Outcome: Acknowledged, Sent: 11, Answered: 14, Locked: true, Expected: 14},
		{Content: 0xf, Rows: 6, Outcome: Conflicted, Sent: 11, Answered: 15, Locked: true, Expected: 14, Current: 15},
		{Content: 0xd, Rows: 4, Outcome: Unknown, Sent: 6, Answered: 20},
	}}
	seen := []Seen{{11, 0xa, 3}, {12, 0xb, 2}, {13, 0xc, 1}, {14, 0xd, 4}, {15, 0xe, 5}}
	return t, []Node{{"p1", 15, seen}, {"r1", 15, slices.Clone(seen)}}
}

func TestCheckAcceptsAGoodHistory(t *testing.T) {
	v := Check(good())
	if !v.OK() || v.UnknownStored != 1 || v.UnknownLost != 1 {
		t.Fatalf("verdict %+v", v)
	}
}

// TestCheckKnowsWhatWasGivenUp: who was acknowledged for it has lost it, and nobody may have it.
func TestCheckKnowsWhatWasGivenUp(t *testing.T) {
	table, nodes := good()
	table.Void = []Range{{12, 13}}
	if v := Check(table, nodes); v.OK() || !strings.HasPrefix(v.Violations[0].String(), "I1 dense: cpu TxID 12 on p1") {
		t.Fatalf("it is there: %+v", v)
	}
	for i := range nodes {
		nodes[i].Seen = slices.Delete(nodes[i].Seen, 1, 3)
	}
	if v := Check(table, nodes); !v.OK() {
		t.Fatalf("it is not there: %+v", v)
	}
	nodes[1].Seen, nodes[1].Applied = nodes[1].Seen[:1], 11
	if v := Dense(table, nodes[1]); !v.OK() {
		t.Fatalf("it is next: %+v", v)
	}
}

// TestPlantedViolations plants one bug in the good history for each thing that a checker claims to catch.
func TestPlantedViolations(t *testing.T) {
	tests := []struct {
		name, want string
		plant      func(*Table, []Node)
	}{
		{"I1 a TxID is acknowledged twice", "I1 unique: cpu TxID 12", func(t *Table, _ []Node) {
			t.Writes[1].TxID = 12
		}},
		{"I1 a TxID from before the run is given again", "I1 unique: cpu TxID 9", func(t *Table, _ []Node) {
			t.Writes[0].TxID = 9
		}},
		{"I1 a gap", "I1 dense: cpu TxID 13 on r1", func(_ *Table, n []Node) {
			n[1].Seen = slices.Delete(n[1].Seen, 2, 3)
		}},
		{"I1 the end is missing", "I1 dense: cpu TxID 15 on r1", func(_ *Table, n []Node) {
			n[1].Seen = n[1].Seen[:4]
		}},
		{"I1 a transaction without rows", "I1 dense: cpu TxID 14 on p1", func(_ *Table, n []Node) {
			n[0].Seen[3].Rows = 0
		}},
		{"I2 an acknowledged write is missing on one node", "I2 durable: cpu TxID 15 on r1",
			func(_ *Table, n []Node) { n[1].Seen, n[1].Applied = n[1].Seen[:4], 14 }},
		{"I2 another write's rows", "I2 durable: cpu TxID 12 on p1", func(_ *Table, n []Node) {
			n[0].Seen[1].Content = 0xbad
		}},
		{"I2 rows are missing", "I2 durable: cpu TxID 12 on p1", func(_ *Table, n []Node) {
			n[0].Seen[1].Rows = 1
		}},
		{"I3 a write is stored twice", "I3 once: cpu TxID 16 on p1", func(_ *Table, n []Node) {
			for i := range n {
				n[i].Seen, n[i].Applied = append(n[i].Seen, Seen{16, 0xa, 3}), 16
			}
		}},
		{"I3 an unknown write is stored once too often", "I3 once: cpu TxID 17 on p1", func(_ *Table, n []Node) {
			for i := range n {
				n[i].Seen = append(n[i].Seen, Seen{16, 0xd, 4}, Seen{17, 0xd, 4})
				n[i].Applied = 17
			}
		}},
		{"I4 two writes change places", "I4 dense: cpu TxID 12 on r1", func(_ *Table, n []Node) {
			n[1].Seen[1], n[1].Seen[2] = n[1].Seen[2], n[1].Seen[1]
		}},
		{"I4 a transaction is applied twice", "I4 dense: cpu TxID 13 on r1", func(_ *Table, n []Node) {
			n[1].Seen = slices.Insert(n[1].Seen, 3, n[1].Seen[2])
		}},
		{"I4 nodes differ in a write of unknown outcome", "I4 same order: cpu TxID 14 on r1",
			func(_ *Table, n []Node) { n[1].Seen[3].Content = 0xdd }},
		{"I4 a TxID runs against time", "I4 real time: cpu TxID 11", func(t *Table, _ []Node) {
			t.Writes[0].Sent, t.Writes[0].Answered = 10, 12
		}},
		{"I5 the lock is ignored", "I5 lock: cpu TxID 15", func(t *Table, _ []Node) {
			t.Writes[4].Expected = 13
		}},
		{"I5 a conflict with the right head", "I5 lock: cpu TxID 14", func(t *Table, _ []Node) {
			t.Writes[5].Current = 14
		}},
		{"I5 a refused write is stored later", "I5 final refusal: cpu TxID 16 on p1", func(_ *Table, n []Node) {
			for i := range n {
				n[i].Seen, n[i].Applied = append(n[i].Seen, Seen{16, 0xf, 6}), 16
			}
		}},
		{"I5 a conflict from a stale head", "I5 real time: cpu TxID 12", func(t *Table, _ []Node) {
			t.Writes[5].Current = 12
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table, nodes := good()
			tt.plant(&table, nodes)
			v := Check(table, nodes)
			for _, x := range v.Violations {
				if strings.HasPrefix(x.String(), tt.want) {
					return
				}
			}
			t.Fatalf("not caught; found %v", v.Violations)
		})
	}
}

func TestOpaqueWritesAreComparedByRows(t *testing.T) {
	table := Table{Name: "m", Writes: []Write{
		{TxID: 1, Rows: 2, Outcome: Acknowledged, Opaque: true},
		{Rows: 3, Outcome: Unknown, Opaque: true},
	}}
	nodes := []Node{{"p1", 2, []Seen{{1, 0x77, 2}, {2, 0x88, 3}}}}
	if v := Check(table, nodes); !v.OK() || v.UnknownStored != 1 {
		t.Fatalf("verdict %+v", v)
	}
	nodes[0].Seen[0].Rows = 1
	if v := Check(table, nodes); v.OK() {
		t.Fatal("a missing row was not caught")
	}
}

func TestVerdictKeepsTwentyAndCountsAll(t *testing.T) {
	var v, sum Verdict
	for range 100 {
		v.Add(Violation{})
	}
	sum.Merge(v)
	sum.Merge(v)
	if len(sum.Violations) != 20 || sum.Count != 200 {
		t.Fatalf("%d kept, %d counted", len(sum.Violations), sum.Count)
	}
}

func BenchmarkCheck(b *testing.B) {
	const n = 1_000_000
	table, node := Table{Name: "cpu"}, Node{ID: "p1", Applied: n}
	for i := uint64(1); i <= n; i++ {
		table.Writes = append(table.Writes, Write{TxID: i, Content: i, Rows: 1, Outcome: Acknowledged,
			Sent: int64(i), Answered: int64(i + 10)})
		node.Seen = append(node.Seen, Seen{i, i, 1})
	}
	for b.Loop() {
		if v := Check(table, []Node{node}); !v.OK() {
			b.Fatal(v.Violations)
		}
	}
}
