package client

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// What the short way reads, JSON reads the same way; everything else is left to JSON.
func TestAnswersAreReadAsJSONSays(t *testing.T) {
	const good = `{"results":[{"table":"cpu","txid":42,"rows":1}]}`
	for _, c := range []struct {
		body  string
		plain bool
		ok    bool
	}{
		{good, true, true},
		{`{"results":[{"table":"cpu","txid":9999999999999999999,"rows":2147483647}]}`, true, true},
		{`{"results":[{"table":"cpu","txid":18446744073709551615,"rows":1}]}`, false, true},
		{`{"results":[{"table":"cpu","txid":18446744073709551616,"rows":1}]}`, false, false},
		{`{"results":[{"table":"cpu","txid":99999999999999999999999,"rows":1}]}`, false, false},
		{`{"results":[{"table":"cpu","txid":42,"rows":2147483648}]}`, false, true},
		{`{"results":[{"table":"cpu","txid":042,"rows":1}]}`, false, false},
		{`{"results":[{"table":"cpu","txid":0,"rows":1}]}`, false, false},
		{`{"results":[{"table":"cpu","txid":-1,"rows":1}]}`, false, false},
		{`{"results":[{"table":"cpu","txid":42}]}`, false, true},
		{`{"results":[{"table":"cpu","rows":1,"txid":42}]}`, false, true},
		{` {"results": [{"table":"cpu","txid":42,"rows":1}]}`, false, true},
		{good + "\n", false, true},
		{good + "x", false, false},
		{`{"results":[{"table":"mem","txid":1,"rows":1},{"table":"cpu","txid":42,"rows":1}]}`, false, true},
		{`{"results":[{"table":"mem","txid":42,"rows":1}]}`, false, false},
		{`{"results":[{"table":"cpu2","txid":42,"rows":1}]}`, false, false},
		{`{"results":[{"table":"cpu","txid":42,"rows":1,"error":{"code":400}}]}`, false, false},
		{"", false, false},
	} {
		short, plain := plainAnswer("cpu", []byte(c.body))
		if plain != c.plain {
			t.Errorf("%s: read the short way: %t", c.body, plain)
		}
		got, err := parseAnswer("cpu", []byte(c.body))
		if c.ok != (err == nil) {
			t.Errorf("%s: %v", c.body, err)
		}
		if err != nil && !errors.Is(err, bus.ErrUnknown) {
			t.Errorf("%s: an answer that is not understood must leave the outcome open: %v", c.body, err)
		}
		var a api.WriteAnswer
		if plain && (json.Unmarshal([]byte(c.body), &a) != nil ||
			short != Result{a.Results[0].Table, a.Results[0].TxID, a.Results[0].Rows} || got != short) {
			t.Errorf("%s: %+v, JSON says %+v", c.body, short, a)
		}
	}
	for n := range len(good) {
		if _, ok := plainAnswer("cpu", []byte(good[:n])); ok {
			t.Errorf("%q is taken for an answer", good[:n])
		}
	}
}

// FuzzAnswer: the short way never reads what JSON would read otherwise, and what is not understood leaves the outcome
// open, in few words.
func FuzzAnswer(f *testing.F) {
	f.Add("cpu", []byte(`{"results":[{"table":"cpu","txid":42,"rows":1}]}`))
	f.Add("cpu", []byte(`{"results":[{"table":"cpu","error":{"code":400,"name":"invalid"}}]}`))
	f.Fuzz(func(t *testing.T, table string, data []byte) {
		if api.CheckTable(table) != nil {
			return
		}
		if short, plain := plainAnswer(table, data); plain {
			var a api.WriteAnswer
			if err := json.Unmarshal(data, &a); err != nil || short != (Result{a.Results[0].Table, a.Results[0].TxID, a.Results[0].Rows}) {
				t.Fatalf("%q: %+v, JSON says %+v, %v", data, short, a, err)
			}
		}
		a, err := parseAnswer(table, data)
		switch {
		case err != nil && (!errors.Is(err, bus.ErrUnknown) || len(err.Error()) > 2000):
			t.Fatalf("%q: %.3000v", data, err)
		case err == nil && (a.Table != table || a.TxID == 0):
			t.Fatalf("%q: %+v", data, a)
		}
	})
}
