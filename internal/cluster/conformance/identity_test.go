package conformance_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
)

// TestI5_ExpectedTxID: a write with expected TxID E commits only if head = E, and becomes E+1; a
// conflict carries both, and is final under its key.
func TestI5_ExpectedTxID(t *testing.T) {
	t.Parallel()
	table := fresh()
	row := table + " a=1i 1"
	conflict := func(a answer, expected, current uint64) {
		t.Helper()
		refused(t, a, 409, "conflict", table, strconv.FormatUint(expected, 10))
		if a.Expected == nil || *a.Expected != expected || a.Current == nil || *a.Current != current || a.Table != table {
			t.Fatalf("conflict is %s", a.raw)
		}
	}
	refused(t, write(t, table, row, "Braid-Expected-TxID", "3"), 409, "conflict")
	if r := fetch(t, up.HTTP, "/tables/"+table); r.status != 404 {
		t.Fatalf("a table is visible before its first TxID: %d", r.status)
	}
	ok(t, write(t, table, row, "Braid-Expected-TxID", "0"), table, 1, 1)
	conflict(write(t, table, row, "Braid-Expected-TxID", "0"), 0, 1)
	conflict(write(t, table, row, "Braid-Expected-TxID", "18446744073709551615"), 1<<64-1, 1)
	conflict(write(t, table, row, "Braid-Expected-TxID", "0", "Nats-Msg-Id", "k"), 0, 1)
	ok(t, write(t, table, row, "Braid-Expected-TxID", "1"), table, 2, 1)
	// The repeat has the head of the first answer, through whatever primary, also where it would fit now.
	conflict(write(t, table, row, "Braid-Expected-TxID", "0", "Nats-Msg-Id", "k"), 0, 1)
	for _, p := range []string{"p1", "p2"} {
		a := send(t, "primary."+p+".ingest."+table, headers("Braid-Expected-TxID", "2", "Nats-Msg-Id", "k"), []byte(row))
		conflict(a, 0, 1)
	}
	ok(t, write(t, table, row), table, 3, 1)
}

// TestI5_RacingWritersWinOnceEach: of writers with one expected TxID exactly one wins.
func TestI5_RacingWritersWinOnceEach(t *testing.T) {
	t.Parallel()
	table := fresh()
	for head := range uint64(5) {
		var won sync.Map
		var racers sync.WaitGroup
		for i := range 8 {
			racers.Go(func() {
				h := headers("Braid-Expected-TxID", strconv.FormatUint(head, 10))
				a := send(t, fmt.Sprintf("primary.p%d.ingest.%s", i%2+1, table), h, []byte(table+" a=1i 1"))
				if a.code == 0 {
					won.Store(i, a.txid)
				} else if a.Name != "conflict" || *a.Current != head+1 {
					t.Errorf("told %s", a.raw)
				}
			})
		}
		racers.Wait()
		n := 0
		won.Range(func(_, txid any) bool { n++; return txid == strconv.FormatUint(head+1, 10) })
		if n != 1 {
			t.Fatalf("%d writers won TxID %d", n, head+1)
		}
	}
}

// TestI3_PlainKey: a repeat gets the first TxID, through any primary, and is not stored twice; a
// key is scoped to its table; a 400 is not remembered.
func TestI3_PlainKey(t *testing.T) {
	t.Parallel()
	table, other := fresh(), fresh()
	row := table + " a=1i 1"
	refused(t, write(t, table, table+" a=x", "Nats-Msg-Id", "k"), 400, "invalid")
	ok(t, write(t, table, row, "Nats-Msg-Id", "k"), table, 1, 1)
	ok(t, write(t, table, table+" a=2i 2"), table, 2, 1)
	for _, subject := range []string{"ingest.", "primary.p1.ingest.", "primary.p2.ingest."} {
		ok(t, send(t, subject+table, headers("Nats-Msg-Id", "k"), []byte(row)), table, 1, 1)
	}
	ok(t, send(t, "ingest", headers("Nats-Msg-Id", "k"), []byte(row)), table, 1, 1)
	if a := post(t, "", []byte(row), "Nats-Msg-Id", "k"); a.status != 204 || a.txid != "1" {
		t.Fatalf("over HTTP: %d, TxID %q", a.status, a.txid)
	}
	ok(t, write(t, other, other+" a=1i 1", "Nats-Msg-Id", "k"), other, 1, 1)
	ok(t, write(t, table, row, "Nats-Msg-Id", strings.Repeat("k", 255)), table, 3, 1)
	if got := rows(t, table, 3); len(got) != 3 {
		t.Fatalf("stored %q", got)
	}
	// On `ingest` each table's write has the key.
	two := []byte(table + " a=3i 3\n" + other + " a=3i 3\n")
	for range 2 {
		a := send(t, "ingest", headers("Nats-Msg-Id", "two"), two)
		if want := fmt.Sprintf(`{"results":[{"table":%q,"txid":4,"rows":1},{"table":%q,"txid":2,"rows":1}]}`,
			table, other); a.raw != want || a.txid != "" {
			t.Fatalf("answer %s, header %q", a.raw, a.txid)
		}
	}
}

// TestI3_ConcurrentRepeatsAreOneWrite: the same key at the same time on every way in.
func TestI3_ConcurrentRepeatsAreOneWrite(t *testing.T) {
	t.Parallel()
	table := fresh()
	ok(t, write(t, table, table+" a=0i 1"), table, 1, 1)
	for round := range 10 {
		var repeats sync.WaitGroup
		for i := range 8 {
			repeats.Go(func() {
				subject := []string{"ingest.", "primary.p1.ingest.", "primary.p2.ingest."}[i%3]
				a := send(t, subject+table, headers("Nats-Msg-Id", fmt.Sprint("r", round)), []byte(table+" a=1i 1"))
				if a.txid != strconv.Itoa(round+2) {
					t.Errorf("round %d: told %s", round, a.raw)
				}
			})
		}
		repeats.Wait()
	}
	if got := rows(t, table, 11); len(got) != 11 {
		t.Fatalf("%d rows", len(got))
	}
}

// register makes a producer of an id and returns its epoch.
func register(t testing.TB, id, attempt string) uint64 {
	t.Helper()
	request, err := json.Marshal(api.RegisterProducerRequest{ID: id, Attempt: attempt})
	if err != nil {
		t.Fatal(err)
	}
	msg, err := nc.Request(api.Subjects{}.RegisterProducer(), request, patience)
	if err != nil {
		t.Fatal(err)
	}
	var a api.RegisterProducerAnswer
	if err := json.Unmarshal(msg.Data, &a); err != nil || a.Epoch == 0 {
		t.Fatalf("register %s: %s", id, msg.Data)
	}
	return a.Epoch
}

func identity(id string, epoch, sequence, settled uint64) nats.Header {
	return headers("Braid-Producer", id, "Braid-Producer-Epoch", strconv.FormatUint(epoch, 10),
		"Braid-Sequence", strconv.FormatUint(sequence, 10), "Braid-Settled", strconv.FormatUint(settled, 10))
}

// TestI3_ProducerIdentity: a sequence gets its first answer; what is settled, fenced or unknown is
// refused by its name, and stores nothing.
func TestI3_ProducerIdentity(t *testing.T) {
	t.Parallel()
	table, other := fresh(), fresh()
	id := "app-" + table
	row := []byte(table + " a=1i 1")
	by := func(subject string, epoch, sequence, settled uint64) answer {
		t.Helper()
		return send(t, subject+table, identity(id, epoch, sequence, settled), row)
	}
	refused(t, by("ingest.", 1, 1, 0), 409, "expired", "unknown")
	e := register(t, id, "1")
	if again := register(t, id, "1"); again != e {
		t.Fatalf("the same attempt registered twice: epochs %d and %d", e, again)
	}
	ok(t, by("ingest.", e, 1, 0), table, 1, 1)
	ok(t, by("ingest.", e, 2, 0), table, 2, 1)
	for _, subject := range []string{"ingest.", "primary.p1.ingest.", "primary.p2.ingest."} {
		ok(t, by(subject, e, 1, 0), table, 1, 1)
	}
	// A sequence counts in each table for itself.
	ok(t, send(t, "ingest."+other, identity(id, e, 1, 0), []byte(other+" a=1i 1")), other, 1, 1)
	ok(t, by("ingest.", e, 3, 2), table, 3, 1)
	refused(t, by("primary.p2.ingest.", e, 1, 0), 409, "settled", "unknown")
	refused(t, by("ingest.", e, 2, 0), 409, "settled")
	newer := register(t, id, "2")
	refused(t, by("ingest.", e, 4, 2), 409, "fenced")
	refused(t, by("ingest.", newer+1000, 4, 2), 409, "expired")
	// The epoch is no part of the identity.
	ok(t, by("ingest.", newer, 3, 2), table, 3, 1)
	ok(t, by("ingest.", newer, 4, 2), table, 4, 1)
	conflict := identity(id, newer, 5, 2)
	conflict["Braid-Expected-TxID"] = []string{"9"}
	for range 2 {
		a := send(t, "ingest."+table, conflict, row)
		if refused(t, a, 409, "conflict"); *a.Expected != 9 || *a.Current != 4 {
			t.Fatalf("told %s", a.raw)
		}
		ok(t, write(t, table, table+" a=9i 1", "Nats-Msg-Id", "once"), table, 5, 1)
	}
	if got := rows(t, table, 5); len(got) != 5 {
		t.Fatalf("stored %q", got)
	}
}

// TestI7_I8_AProducerFarAboveSettledHarmsNobody: it hears 429 itself; what others write to the table at
// the same time, into the same groups, is stored.
func TestI7_I8_AProducerFarAboveSettledHarmsNobody(t *testing.T) {
	t.Parallel()
	table := fresh()
	id := "greedy-" + table
	e := register(t, id, "1")
	row := []byte(table + " a=1i 1")
	const many = api.AnswersMax + 200
	var writers sync.WaitGroup
	var told sync.Map // code by sequence
	for w := range 16 {
		writers.Go(func() {
			for s := w + 1; s <= many; s += 16 {
				a := send(t, "ingest."+table, identity(id, e, uint64(s), 0), row)
				if a.code == 429 && (a.Name != "overloaded" || a.RetryAfter == 0) {
					t.Errorf("429 is %s", a.raw)
				}
				told.Store(s, a.code)
			}
		})
	}
	for range 4 {
		writers.Go(func() {
			for range 60 {
				if a := send(t, "ingest."+table, nil, row); a.code != 0 {
					t.Errorf("somebody else was told %s", a.raw)
				}
			}
		})
	}
	writers.Wait()
	var wrong []int
	told.Range(func(s, code any) bool {
		if (s.(int) <= api.AnswersMax) != (code == 0) || code != 0 && code != 429 {
			wrong = append(wrong, s.(int))
		}
		return true
	})
	if len(wrong) > 0 {
		slices.Sort(wrong)
		t.Fatalf("sequences %v were told wrong", wrong)
	}
	// With what it has settled it goes on.
	if a := send(t, "ingest."+table, identity(id, e, many, many-1), row); a.code != 0 {
		t.Fatalf("told %s", a.raw)
	}
	if got := rows(t, table, api.AnswersMax+241); len(got) != api.AnswersMax+241 {
		t.Fatalf("%d rows", len(got))
	}
}

// TestI3_I8_StrangersIdentitiesInOneGroup: of writes that are merged, those of a fenced or unknown
// producer are refused by themselves.
func TestI3_I8_StrangersIdentitiesInOneGroup(t *testing.T) {
	t.Parallel()
	table := fresh()
	ok(t, write(t, table, table+" a=0i 1"), table, 1, 1)
	id := "twice-" + table
	old := register(t, id, "1")
	e := register(t, id, "2")
	kinds := []struct {
		header func(i uint64) nats.Header
		name   string
	}{
		{func(i uint64) nats.Header { return identity(id, e, i+1, 0) }, ""},
		{func(i uint64) nats.Header { return identity(id, old, i+1, 0) }, "fenced"},
		{func(i uint64) nats.Header { return identity("nobody-"+table, 1, i+1, 0) }, "expired"},
		{func(uint64) nats.Header { return nil }, ""},
		{func(i uint64) nats.Header { return headers("Nats-Msg-Id", fmt.Sprint(i)) }, ""},
		{func(uint64) nats.Header { return headers("Braid-Expected-TxID", "0") }, "conflict"},
	}
	var writers sync.WaitGroup
	for _, k := range kinds {
		for i := range uint64(30) {
			writers.Go(func() {
				if a := send(t, "ingest."+table, k.header(i), []byte(table+" a=1i 1")); a.Name != k.name {
					t.Errorf("want %q, told %s", k.name, a.raw)
				}
			})
		}
	}
	writers.Wait()
	if got := rows(t, table, 91); len(got) != 91 {
		t.Fatalf("%d rows", len(got))
	}
}

// TestI8_ManyTables: each table of a request is a write of its own.
func TestI8_ManyTables(t *testing.T) {
	t.Parallel()
	a, b, c := fresh(), fresh(), fresh()
	got := send(t, "ingest", nil, []byte(fmt.Sprintf("%s v=1i 1\n%s v=1i 1\n%s v=2i 2\n", a, b, a)))
	if want := fmt.Sprintf(`{"results":[{"table":%q,"txid":1,"rows":2},{"table":%q,"txid":1,"rows":1}]}`, a, b); got.raw != want ||
		got.code != 0 || got.txid != "" {
		t.Fatalf("answer %s, header %q", got.raw, got.txid)
	}
	// One is refused by its type, one by its rows; the third is stored.
	got = send(t, "ingest", nil, []byte(fmt.Sprintf("%s v=1 1\n%s v=1i 1\n\n%s v=1i 1\n%s v=x 1\n%s v=1i 1\n", a, b, c, c, b)))
	if got.code != 400 || !strings.HasPrefix(got.text, "invalid: line ") || got.txid != "" || len(got.Results) != 3 {
		t.Fatalf("header %d %q, %s", got.code, got.text, got.raw)
	}
	first, second, third := got.Results[0], got.Results[1], got.Results[2]
	if first.Table != a || first.Error == nil || first.Error.Line != 1 || first.Error.Code != 400 ||
		!strings.Contains(first.Error.Message, "int64") || !strings.Contains(first.Error.Message, "float64") {
		t.Errorf("a type that differs: %s", got.raw)
	}
	if second.Table != b || second.TxID != 2 || second.Rows != 2 || second.Error != nil {
		t.Errorf("the good table: %s", got.raw)
	}
	if third.Table != c || third.Error == nil || third.Error.Line != 5 || third.TxID != 0 {
		t.Errorf("the bad table: %s", got.raw)
	}
	absent(t, c)
	// The code is the highest one.
	got = send(t, "primary.gone.ingest", nil, []byte(fmt.Sprintf("%s v=1 1\n%s v=1i 1\n", a, b)))
	if got.code != 503 || !strings.HasPrefix(got.text, "unavailable: ") || got.Results[0].Error.Code != 400 ||
		got.Results[1].Error.Code != 503 {
		t.Errorf("header %d, %s", got.code, got.raw)
	}
	refused(t, send(t, "ingest", headers("Braid-Expected-TxID", "0"), []byte(c+" v=1i\n"+a+" v=1i\n")), 400, "invalid")
	absent(t, c)
	// A line whose measurement cannot be read refuses everything.
	e := send(t, "ingest", nil, []byte(c+" v=1i\n\n,x=y v=1i\n"))
	if refused(t, e, 400, "invalid"); e.Line != 3 {
		t.Errorf("told %s", e.raw)
	}
	absent(t, c)
	// One table alone has the error as the body.
	e = send(t, "ingest", nil, []byte(a+" v=1.5\n"))
	if refused(t, e, 400, "invalid", "int64", "float64"); e.Line != 1 || e.Table != a {
		t.Errorf("told %s", e.raw)
	}
	ok(t, send(t, "ingest", nil, []byte(b+" v=1i 1")), b, 3, 1)
}

// TestI8_ConcurrentTypes: many first writes that disagree about a column's type: one type wins, the
// losers are 400 with both types, and leave no row and no column.
func TestI8_ConcurrentTypes(t *testing.T) {
	t.Parallel()
	for range 5 {
		table := fresh()
		var writers sync.WaitGroup
		var mu sync.Mutex
		accepted := map[string]int{}
		values := map[string]string{"int64": "1i", "uint64": "1u", "float64": "1", "boolean": "t", "string": `"s"`}
		for kind, v := range values {
			for i := range 4 {
				writers.Go(func() {
					a := send(t, fmt.Sprintf("primary.p%d.ingest.%s", i%2+1, table), nil,
						[]byte(fmt.Sprintf("%s v=%s,only_%s=1i 1", table, v, kind)))
					mu.Lock()
					defer mu.Unlock()
					if a.code == 0 {
						accepted[kind]++
					} else if a.Name != "invalid" || !strings.Contains(a.Message, kind) || a.Line != 1 {
						t.Errorf("%s was told %s", kind, a.raw)
					}
				})
			}
		}
		writers.Wait()
		if len(accepted) != 1 {
			t.Fatalf("accepted %v", accepted)
		}
		for kind, n := range accepted {
			want := []string{"timestamp timestamp", "v " + kind, "only_" + kind + " int64"}
			if got := columns(t, table); n != 4 || !slices.Equal(got, want) {
				t.Fatalf("%d of %s accepted, columns %q", n, kind, got)
			}
			if got := rows(t, table, 4); len(got) != 4 {
				t.Fatalf("rows %q", got)
			}
		}
	}
}
