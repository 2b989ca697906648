package client

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// collect reads rows to their end.
func collect(t *testing.T, c *Client, opts ...ReadOption) (names []string, txid uint64, err error) {
	t.Helper()
	rows, err := c.Table("cpu").Read(t.Context(), opts...)
	if err != nil {
		return nil, 0, err
	}
	for row, err := range rows.Rows() {
		if err != nil {
			return names, rows.TxID(), err
		}
		names = append(names, named(t, row))
	}
	return names, rows.TxID(), nil
}

func TestReadGivesRowsInOrder(t *testing.T) {
	table := &fakeTable{void: map[uint64]bool{4: true, 5: true}}
	_, c, nodes := fakeNodes(t, table, 9, 7)
	for _, r := range []struct {
		opts     []ReadOption
		from, to uint64
		complete uint64
	}{
		{nil, 1, 9, 9},
		{[]ReadOption{FromTxID(3)}, 3, 9, 9},
		{[]ReadOption{FromTxID(3), ToTxID(7)}, 3, 7, 7},
		{[]ReadOption{FromTxID(4), ToTxID(5)}, 4, 5, 5},
		{[]ReadOption{FromTxID(10)}, 10, 9, 9},
		{[]ReadOption{FromNode("n2"), ToTxID(8)}, 1, 7, 7},
	} {
		got, complete, err := collect(t, c, r.opts...)
		if want := table.between(r.from, r.to); err != nil || !slices.Equal(got, want) || complete != r.complete {
			t.Errorf("%d to %d: %q up to %d, %v, want %q", r.from, r.to, got, complete, err, want)
		}
	}
	if n := len(nodes[1].questions()); n == 0 || n > 6 {
		t.Errorf("the second node was asked %d times", n)
	}
}

func TestRowsTellTheLastOfTheirTransaction(t *testing.T) {
	table := &fakeTable{}
	_, c, _ := fakeNodes(t, table, 7)
	rows, err := c.Table("cpu").Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(rows.Columns()); got != "[{timestamp timestamp} {host tag} {txid string}]" || rows.Node() != "n1" {
		t.Errorf("columns %s from %s", got, rows.Node())
	}
	for row, err := range rows.Rows() {
		if err != nil {
			t.Fatal(err)
		}
		want := table.rowsOf(row.TxID())
		if name := named(t, row); row.Last() != (name == want[len(want)-1]) {
			t.Errorf("row %s: last %t", name, row.Last())
		}
	}
}

// TestReadThatBreaksOffIsAnError, wherever it breaks, and never a short answer.
func TestReadThatBreaksOffIsAnError(t *testing.T) {
	table := &fakeTable{}
	_, c, nodes := fakeNodes(t, table, 7)
	whole := len(nodes[0].answer(url.Values{"format": {"arrow"}, "txid": {"1"}, "txid_column": {txidColumn}}, 1, 7, nil))
	all := table.between(1, 7)
	for cut := 0; cut < whole; cut += 7 {
		nodes[0].change(func(n *fakeNode) { n.spoil = func(_ url.Values, a []byte) []byte { return a[:cut] } })
		got, _, err := collect(t, c)
		if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrCorrupt) || len(got) >= len(all) ||
			!slices.Equal(got, all[:len(got)]) {
			t.Fatalf("cut at %d of %d: %q, %v", cut, whole, got, err)
		}
	}
	// An answer that ends properly, as HTTP goes, and has no end mark.
	nodes[0].change(func(n *fakeNode) {
		n.spoil = func(_ url.Values, a []byte) []byte { return slices.Concat(a[:len(a)-8], make([]byte, 8)) }
	})
	if got, _, err := collect(t, c); !errors.Is(err, ErrCorrupt) {
		t.Errorf("without its end mark: %q, %v", got, err)
	}
}

// TestI4_ReadRefusesWrongAnswers: a node that leaves rows out, or gives some twice, is not believed.
func TestI4_ReadRefusesWrongAnswers(t *testing.T) {
	table := &fakeTable{}
	_, c, nodes := fakeNodes(t, table, 7, 7)
	for name, change := range map[string]func(n *fakeNode){
		"rows left out":      func(n *fakeNode) { n.leave = func(txid uint64) bool { return txid == 4 } },
		"the last left out":  func(n *fakeNode) { n.leave = func(txid uint64) bool { return txid == 7 } },
		"the first left out": func(n *fakeNode) { n.leave = func(txid uint64) bool { return txid == 1 } },
		"more than it says":  func(n *fakeNode) { n.claim = func(complete uint64) uint64 { return complete - 1 } },
		"no Arrow":           func(n *fakeNode) { n.spoil = func(url.Values, []byte) []byte { return make([]byte, 1<<16) } },
	} {
		nodes[0].change(func(n *fakeNode) { n.leave, n.claim, n.spoil = nil, nil, nil; change(n) })
		if got, _, err := collect(t, c, FromNode("n1")); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestReadPassesOverNodesThatDoNotAnswer(t *testing.T) {
	table := &fakeTable{}
	_, cl, nodes := fakeNodes(t, table, 7, 0, 7)
	nodes[0].stop()
	if got, _, err := collect(t, cl); err != nil || !slices.Equal(got, table.between(1, 7)) {
		t.Errorf("one is down, one has not got the table yet: %q, %v", got, err)
	}
	if _, _, err := collect(t, cl, FromNode("n1")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("from the one that is down: %v", err)
	}
	if _, _, err := collect(t, cl, FromNode("n2")); !errors.Is(err, ErrNotFound) {
		t.Errorf("from the one that has not got it: %v", err)
	}
	if _, _, err := collect(t, cl, FromNode("n9")); !errors.Is(err, ErrNotFound) {
		t.Errorf("from one that is not there: %v", err)
	}
	if _, err := cl.Table("a b").Read(t.Context()); !errors.Is(err, ErrInvalid) {
		t.Errorf("a table that cannot be: %v", err)
	}
	if _, err := cl.Table("mem").Read(t.Context()); !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrNotFound) {
		t.Errorf("a table that is not there: %v", err)
	}
}

// TestReadEndsWithItsContextAndItsClient: both in the middle of an answer that goes on.
func TestReadEndsWithItsContextAndItsClient(t *testing.T) {
	for name, want := range map[string]error{"context": context.Canceled, "client": ErrClosed} {
		t.Run(name, func(t *testing.T) {
			_, c, nodes := fakeNodes(t, &fakeTable{}, 7)
			nodes[0].change(func(n *fakeNode) {
				n.spoil, n.hang = func(_ url.Values, a []byte) []byte { return a[:len(a)-1] }, true
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			rows, err := c.Table("cpu").Read(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if want == ErrClosed {
				err = c.Close()
			} else {
				cancel()
			}
			var last error
			for _, last = range rows.Rows() {
			}
			if !errors.Is(last, want) || err != nil {
				t.Errorf("%v, %v, want %v", last, err, want)
			}
			if _, err := c.Table("cpu").Read(ctx); !errors.Is(err, want) {
				t.Errorf("another read: %v, want %v", err, want)
			}
		})
	}
}

// TestReadThatIsLeftEarly gives its connection up, and so does one that nobody ranges over.
func TestReadThatIsLeftEarly(t *testing.T) {
	_, c, _ := fakeNodes(t, &fakeTable{}, 500)
	for range 3 {
		rows, err := c.Table("cpu").Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for row, err := range rows.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			if row.TxID() == 20 {
				break
			}
		}
		if rows, err = c.Table("cpu").Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestScanConvertsNothing(t *testing.T) {
	_, c, _ := fakeNodes(t, &fakeTable{}, 1)
	rows, err := c.Table("cpu").Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for row, err := range rows.Rows() {
		if err != nil {
			t.Fatal(err)
		}
		var (
			text   string
			number int64
			maybe  sql.Null[string]
			none   = sql.Null[float64]{V: 1, Valid: true}
			at     time.Time
			value  Value
		)
		err := row.Scan("host", &text, "txid", &maybe, "nosuch", &none, "timestamp", &at, "host", &value)
		if err != nil || text == "" || !maybe.Valid || none.Valid || at != row.Time() || value.Kind() != KindTag {
			t.Errorf("%q, %+v, %+v, %s, %s: %v", text, maybe, none, at, value, err)
		}
		for want, err := range map[string]error{
			`column "host": a tag, where the variable takes a int64`:  row.Scan("host", &number),
			`column "nosuch": null, where the variable takes a int64`: row.Scan("nosuch", &number),
			`a *[]string cannot be scanned into`:                      row.Scan("host", new([]string)),
			`columns and variables come in pairs`:                     row.Scan("host"),
			`a column's name belongs there`:                           row.Scan(1, &number),
		} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		if v := row.Value("host"); v.IsNull() || v.String() != v.Any() {
			t.Errorf("%v", v)
		}
	}
}

func TestHeadAndSchemaOfATable(t *testing.T) {
	cluster, c, _ := fakeNodes(t, &fakeTable{}, 1)
	cluster.columns = []api.Column{{Name: "timestamp", Type: api.Timestamp}, {Name: "usage", Type: api.Float64}}
	cluster.handle(api.Subjects{}.Tables(), func(r bus.Incoming) {
		q, answer := api.TablesRequest{}, api.TablesAnswer{}
		if err := json.Unmarshal(r.Data(), &q); err != nil {
			t.Error(err)
		}
		if q.Only == "cpu" {
			answer.Tables = []api.TableHead{{Name: "cpu", Head: 42, Columns: 2}}
		}
		cluster.reply(r, answer)
	})
	for table, want := range map[string]uint64{"cpu": 42, "mem": 0} {
		if head, err := c.Table(table).Head(t.Context()); head != want || err != nil {
			t.Errorf("head of %s: %d, %v, want %d", table, head, err, want)
		}
	}
	columns, err := c.Table("cpu").Columns(t.Context())
	if err != nil || !slices.Equal(columns, []Column{{"timestamp", KindTimestamp}, {"usage", KindFloat64}}) {
		t.Errorf("columns %v, %v", columns, err)
	}
}
