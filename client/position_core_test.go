package client

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestI4_PositionTakesTheNextRowsOnly is a table of answers: what each brings, and what comes of it. An answer is
// `complete: txid txid! …`, where ! marks the last row of a transaction; it ends properly unless … stands at its end.
func TestI4_PositionTakesTheNextRowsOnly(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []string
		want    string
	}{
		{"one answer", []string{"3: 1! 2 2! 3!"}, "1 2 2 3 next 4"},
		{"nothing new", []string{"0:"}, "next 1"},
		{"two answers", []string{"1: 1!", "2: 2 2!"}, "1 2 2 next 3"},
		{"broken off between two transactions", []string{"3: 1! …", "3: 2 2! 3!"}, "1 2 2 3 next 4"},
		{"broken off in the middle of one", []string{"3: 1! 2 …", "3: 2 2! 3!"}, "1 2 2 3 next 4"},
		{"and again, earlier", []string{"3: 1! 2 2 …", "3: 2 …", "3: 2 2 2!"}, "1 2 2 2 pass 3-3 next 4"},
		{"a node that is behind", []string{"3: 1! 2 …", "1:"}, "1 2 next 2"},
		{"voided at the beginning, between and at the end", []string{"9: 3! 4! 7!"}, "pass 1-2 3 4 pass 5-6 7 pass 8-9 next 10"},
		{"only voided", []string{"4:"}, "pass 1-4 next 5"},
		{"rows twice", []string{"3: 1! 2! 2!"}, "1 2 TxID 2: its rows have come already"},
		{"a transaction twice", []string{"3: 1! 2!", "3: 2!"}, "1 2 pass 3-3 TxID 2: its rows have come already"},
		{"the order turned", []string{"3: 2! 1!"}, "pass 1-1 2 TxID 1: its rows have come already"},
		{"more than is complete", []string{"1: 1! 2!"}, "1 TxID 2: the answer said that it ends with 1"},
		{"fewer rows than before", []string{"3: 1! 2 2 …", "3: 2!"}, "1 2 2 TxID 2: 1 rows, another answer had 2"},
		{"a transaction gone that had rows", []string{"3: 1! 2 …", "3: 3!"}, "1 2 TxID 2: 0 rows, another answer had 1"},
		{"the end gone of one that had rows", []string{"3: 1! 2 …", "2:"}, "1 2 TxID 2: 0 rows, another answer had 1"},
		{"an end in the middle", []string{"3: 1! 2"}, "1 2 TxID 2: the answer ends in the middle of it"},
	} {
		p := position{next: 1}
		var got []string
		for _, a := range c.answers {
			if err := play(&p, a, &got); err != nil {
				got = append(got, err.Error())
				break
			}
		}
		if last := len(got); last == 0 || !strings.HasPrefix(got[last-1], "TxID") {
			got = append(got, fmt.Sprint("next ", p.next))
		}
		if text := strings.Join(got, " "); !strings.HasPrefix(text, c.want) {
			t.Errorf("%s: %q, want %q", c.name, text, c.want)
		}
	}
}

func play(p *position, answer string, got *[]string) error {
	complete, rows, _ := strings.Cut(answer, ":")
	p.begin(number64(complete, 0))
	for _, word := range strings.Fields(rows) {
		if word == "…" {
			return nil
		}
		txid, last := strings.CutSuffix(word, "!")
		give, err := p.row(number64(txid, 0), last)
		if g, ok := p.takePassed(); ok {
			*got = append(*got, fmt.Sprintf("pass %d-%d", g.first, g.last))
		}
		if err != nil {
			return err
		}
		if give {
			*got = append(*got, txid)
		}
	}
	err := p.end()
	if g, ok := p.takePassed(); ok {
		*got = append(*got, fmt.Sprintf("pass %d-%d", g.first, g.last))
	}
	return err
}

// TestPositionTakesBack: what was passed over and turns out to have rows is read again.
func TestPositionTakesBack(t *testing.T) {
	p := position{next: 5}
	p.begin(9)
	if _, err := p.row(7, true); err != nil {
		t.Fatal(err)
	}
	g, ok := p.takePassed()
	if !ok || g != (gap{5, 6}) {
		t.Fatalf("passed %v", g)
	}
	p.takeBack(g)
	var got []string
	if err := play(&p, "9: 5! 6! 7! 8! 9!", &got); err != nil || strings.Join(got, " ") != "5 6 7 8 9" {
		t.Errorf("%q, %v", got, err)
	}
	if e := new(positionError); !errors.As(wrong(3, "x"), &e) || e.txid != 3 {
		t.Error("the error does not name its TxID")
	}
}
