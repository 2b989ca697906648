//go:build unix

package faults

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/history"
)

// TestReadSeenTellsRowsApart: the checksum of a transaction that is read back is the one of what was written, and any
// change of a value, a column or the rows' order makes it another. The order of columns is no part of it.
func TestReadSeenTellsRowsApart(t *testing.T) {
	var line strings.Builder
	r := newRow(&line, "t", "h1")
	r.int("w", 7)
	r.float("v", 2.5)
	r.text("s", "a b, 1")
	first := then(0, r.end(1_700_000_000_000_000_001))
	r = newRow(&line, "t", "h2")
	r.int("w", 8)
	both := then(first, r.end(2))
	const want = "t,host=h1 w=7i,v=2.5,s=\"a b, 1\" 1700000000000000001\nt,host=h2 w=8i 2\n"
	if line.String() != want {
		t.Fatalf("%q", line.String())
	}
	const one = `{"txid":5,"timestamp":1700000000000000001,"host":"h1","w":7,"v":2.5,"s":"a b, 1"}` + "\n"
	const two = `{"txid":5,"timestamp":2,"host":"h2","w":8}` + "\n"
	if got := seenOf(t, one+two); len(got) != 1 || got[0] != (history.Seen{TxID: 5, Content: both, Rows: 2}) {
		t.Fatalf("read back as %+v, want content %x", got, both)
	}
	moved := `{"s":"a b, 1","v":2.5,"w":7,"host":"h1","timestamp":1700000000000000001,"txid":5}` + "\n"
	if got := seenOf(t, moved+two); got[0].Content != both {
		t.Fatal("the order of columns counts")
	}
	for name, text := range map[string]string{
		"a value":                  strings.Replace(one, "2.5", "2.6", 1) + two,
		"a timestamp":              strings.Replace(one, "0001,", "0002,", 1) + two,
		"a string":                 strings.Replace(one, "a b", "a  b", 1) + two,
		"a number that is text":    strings.Replace(one, `"w":7`, `"w":"7"`, 1) + two,
		"a column":                 strings.Replace(one, `"w":7`, `"x":7`, 1) + two,
		"a column that is missing": strings.Replace(one, `"w":7,`, "", 1) + two,
		"the order of rows":        two + one,
		"a row twice":              one + two + two,
		"a missing row":            one,
	} {
		if got := seenOf(t, text); got[0].Content == both {
			t.Errorf("%s does not count", name)
		}
	}
	if _, err := readSeen(strings.NewReader(one + `{"txid":6,"timest`)); err == nil {
		t.Error("rows that break off are read as if they were whole")
	}
}

func seenOf(t *testing.T, text string) []history.Seen {
	t.Helper()
	seen, err := readSeen(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// TestAnswersAreJudged: what may have been stored stays unknown, and what no scenario gives a reason for fails it.
func TestAnswersAreJudged(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		want   outcome
		failed bool
	}{
		"acknowledged": {nil, outcome{history.Acknowledged, 9}, false},
		"conflict":     {&client.ConflictError{Expected: 3, Current: 4}, outcome{history.Conflicted, 4}, false},
		"unavailable":  {client.ErrUnavailable, outcome{}, false},
		"overloaded":   {client.ErrOverloaded, outcome{}, false},
		"no answer": {fmt.Errorf("%w: %w", client.ErrUnavailable, client.ErrUnknownOutcome),
			outcome{Outcome: history.Unknown}, false},
		"invalid": {&client.InvalidError{}, outcome{Outcome: history.Unknown}, true},
		"expired": {fmt.Errorf("%w: %w", client.ErrExpired, client.ErrUnknownOutcome),
			outcome{Outcome: history.Unknown}, true},
		"anything else": {errors.New("what"), outcome{Outcome: history.Unknown}, true},
	} {
		got, err := judgeAnswer(9, c.err)
		if got != c.want || (err != nil) != c.failed {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
