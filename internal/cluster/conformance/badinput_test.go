package conformance_test

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
)

// badInput is a request that must be refused. T in its subject and payload stands for the table.
type badInput struct {
	name    string
	payload string
	header  []string
	subject string // "": ingest.T
	// What it is told. word is "" for invalid, code 0 for 400.
	code   int
	word   string
	line   int      // 0: the error is not about a line
	pieces []string // of the message: the place and the reason
	// later: it is only bad once the table has a transaction; first: only before.
	later, first bool
	// binary: a T in the payload is a T.
	binary bool
	// elsewhere: the error names no table, or another.
	elsewhere bool
	// over: "http" if POST /write is told the same.
	over string
}

func (c *badInput) data(table string) []byte {
	if c.binary {
		return []byte(c.payload)
	}
	return []byte(strings.ReplaceAll(c.payload, "T", table))
}

func (c *badInput) message(table string) *nats.Msg {
	subject := c.subject
	if subject == "" {
		subject = "ingest.T"
	}
	return &nats.Msg{Subject: strings.ReplaceAll(subject, "T", table), Header: headers(c.header...), Data: c.data(table)}
}

// check asserts what the sender is told.
func (c *badInput) check(t testing.TB, table string, a answer) {
	t.Helper()
	code, word := max(c.code, 400), c.word
	if word == "" {
		word = "invalid"
	}
	refused(t, a, code, word, c.pieces...)
	if a.Line != c.line || !c.elsewhere && a.Table != table {
		t.Errorf("table %q line %d: %s", a.Table, a.Line, a.raw)
	}
	if len(a.raw) > 2*api.MessageBytesMax {
		t.Errorf("an error of %d bytes", len(a.raw))
	}
}

// TestI8_BadInput sends everything that is bad in one way: it is told what is wrong and where, nothing of it is stored,
// and what others write before it, after it and into the same group is not touched.
func TestI8_BadInput(t *testing.T) {
	t.Parallel()
	all := slices.Concat(badLines(), badPlaces(), badJSON(), badArrow(t), badHeaders(), badNames(), badSizes(t))
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			table := fresh()
			if !c.later {
				c.alone(t, table)
			}
			if !c.first {
				c.amongOthers(t, table)
			}
		})
	}
}

// alone is the bad request as the first of its table.
func (c *badInput) alone(t *testing.T, table string) {
	m := c.message(table)
	c.check(t, table, send(t, m.Subject, m.Header, m.Data))
	if c.over == "http" {
		a := post(t, "", c.data(table), c.header...)
		if a.status != max(c.code, 400) || a.Line != c.line {
			t.Errorf("over HTTP %d: %s", a.status, a.raw)
		}
	}
	if c.code == 409 { // it may leave a column
		if r := fetch(t, up.HTTP, "/tables/"+url.PathEscape(table)); r.status != 404 {
			t.Errorf("a refused write made table %s: %d", table, r.status)
		}
		return
	}
	absent(t, table)
}

// amongOthers sends the bad request in the middle of good ones to its table, all at once, so that they are merged.
func (c *badInput) amongOthers(t *testing.T, table string) {
	row := func(i int) []byte { return []byte(fmt.Sprintf("%s ok=%di 1", table, i)) }
	ok(t, send(t, "ingest."+table, headers("Braid-Expected-TxID", "0"), row(0)), table, 1, 1)
	const good, bad = 8, 4
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox + ".*")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	for i := range good + 1 {
		m := &nats.Msg{Subject: "ingest." + table, Data: row(i + 1)}
		if i == bad {
			m = c.message(table)
		}
		m.Reply = inbox + "." + strconv.Itoa(i)
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{`{"timestamp":1,"ok":0}`}
	for range good + 1 {
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		i, _ := strconv.Atoi(m.Subject[len(inbox)+1:])
		a := parseAnswer(t, m.Header.Get, m.Data)
		switch {
		case i == bad:
			c.check(t, table, a)
		case a.code != 0 || len(a.Results) != 1 || a.Results[0].Rows != 1:
			t.Errorf("another's write was told %s", a.raw)
		default:
			want = append(want, fmt.Sprintf(`{"timestamp":1,"ok":%d}`, i+1))
		}
	}
	got := rows(t, table, good+1)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("stored %q, want %q", got, want)
	}
	if r := read(t, table, good+1, ""); r.header.Get(api.HeaderTxID) != strconv.Itoa(good+1) {
		t.Errorf("the head is %s", r.header.Get(api.HeaderTxID))
	}
	if got := columns(t, table); c.code != 409 && !slices.Equal(got, []string{"timestamp timestamp", "ok int64"}) {
		t.Errorf("columns %q", got)
	}
}

// badLines are rows of line protocol that are wrong in one place.
func badLines() []badInput {
	all := []badInput{
		{name: "no field", payload: "T,a=b\n", line: 1},
		{name: "no value", payload: "T a=\n", line: 1, pieces: []string{`"a"`}},
		{name: "no name", payload: "T =1i\n", line: 1},
		{name: "no tag value", payload: "T,a= v=1i\n", line: 1, pieces: []string{`"a"`}},
		{name: "no word", payload: "T a=text\n", line: 1, pieces: []string{`"a"`}},
		{name: "a boolean that is none", payload: "T a=truth\n", line: 1, pieces: []string{`"a"`, "boolean"}},
		{name: "text behind a number", payload: "T a=1x\n", line: 1, pieces: []string{`"a"`, "1x"}},
		{name: "a comma at the end", payload: "T a=1i,\n", line: 1},
		{name: "text behind the timestamp", payload: "T a=1i 5 6\n", line: 1},
		{name: "a timestamp of words", payload: "T a=1i now\n", line: 1, pieces: []string{"now", "timestamp"}},
		{name: "a timestamp with a dot", payload: "T a=1i 1.5\n", line: 1, pieces: []string{"1.5", "timestamp"}},
		{name: "open string", payload: "T s=\"a\nb\n", line: 1, pieces: []string{"quote"}},
		{name: "NaN", payload: "T a=NaN\n", line: 1, pieces: []string{`"a"`}},
		{name: "nan", payload: "T a=nan\n", line: 1, pieces: []string{`"a"`}},
		{name: "infinity", payload: "T a=inf\n", line: 1, pieces: []string{`"a"`}},
		{name: "minus infinity", payload: "T a=-Inf\n", line: 1, pieces: []string{`"a"`, "-Inf"}},
		{name: "float out of range", payload: "T a=1e400\n", line: 1, pieces: []string{`"a"`, "1e400", "range"}},
		{name: "int out of range", payload: "T a=9223372036854775808i\n", line: 1, pieces: []string{`"a"`, "9223372036854775808i", "range"}},
		{name: "int below the range", payload: "T a=-9223372036854775809i\n", line: 1, pieces: []string{`"a"`, "range"}},
		{name: "uint out of range", payload: "T a=18446744073709551616u\n", line: 1, pieces: []string{`"a"`, "range"}},
		{name: "uint negative", payload: "T a=-1u\n", line: 1, pieces: []string{`"a"`, "-1u"}},
		{name: "timestamp out of range", payload: "T a=1i 9223372036854775808\n", line: 1, pieces: []string{"timestamp"}},
		{name: "timestamp below the range", payload: "T a=1i -9223372036854775809\n", line: 1, pieces: []string{"timestamp"}},
		{name: "not UTF-8 in a string", payload: "T a=\"\xff\"\n", line: 1, pieces: []string{`"a"`, "UTF-8"}},
		{name: "not UTF-8 in a tag", payload: "T,t=\xff a=1i\n", line: 1, pieces: []string{`"t"`, "UTF-8"}},
		{name: "not UTF-8 in a tag's name", payload: "T,t\xff=1 a=1i\n", line: 1, pieces: []string{"tag", "UTF-8"}},
		{name: "not UTF-8 in a field's name", payload: "T a\xc3=1i\n", line: 1, pieces: []string{"field", "UTF-8"}},
		{name: "control character in a name", payload: "T a\x01=1i\n", line: 1},
		{name: "a name of 128 bytes", payload: "T " + strings.Repeat("n", 128) + "=1i\n", line: 1, pieces: []string{"127"}},
		{name: "tag twice", payload: "T,a=1,a=2 v=1i\n", line: 1, pieces: []string{`"a"`}},
		{name: "field twice", payload: "T v=1i,v=2i\n", line: 1, pieces: []string{`"v"`}},
		{name: "tag and field of one name", payload: "T,a=1 a=1i\n", line: 1, pieces: []string{`"a"`}},
		{name: "timestamp as a field", payload: "T timestamp=1i\n", line: 1, pieces: []string{"timestamp", "reserved"}},
		{name: "timestamp as a tag", payload: "T,timestamp=1 a=1i\n", line: 1, pieces: []string{"timestamp", "reserved"}},
		{name: "10,000 columns", payload: "T " + wide(10_000) + "\n", line: 1, pieces: []string{`"c1999"`, "2000"}},
		{name: "type differs within", payload: "T a=1i\nT a=1\n", line: 2, pieces: []string{`"a"`, "int64", "float64"}},
		{name: "tag, later a field of its name", payload: "T,a=1 b=1i\nT a=1i\n", line: 2, pieces: []string{`"a"`}},
		{name: "blank lines and comments count", payload: "\n#x\n\r\nT a=1i\n\nT a=\n", line: 6},
		{name: "line breaks in strings count", payload: "T s=\"a\nb\n\"\nT s=1\n", line: 4},
		{name: "a row begins on its first line", payload: "T s=\"a\nb\",q=x\n", line: 1},
		{name: "10,000 columns of 10,000 rows", payload: wideRows(10_000), line: 2000, pieces: []string{`"c1999"`, "2000"}},
	}
	for i := range all {
		all[i].over = "http"
	}
	return append(all,
		badInput{name: "other measurement", payload: "T a=1i\nother a=1i\n", line: 2, pieces: []string{"other", "request"}},
		badInput{name: "no measurement", payload: "T a=1i\n,a=b c=1i\n", line: 2},
		badInput{name: "empty", payload: "", pieces: []string{"no row"}},
		badInput{name: "only comments", payload: "# a\n\n", pieces: []string{"no row"}},
		badInput{name: "the table's type differs", payload: "T ok=1 1\n", line: 1, later: true,
			pieces: []string{`"ok"`, "int64", "float64"}},
		badInput{name: "a tag that is a field of the table", payload: "\nT,ok=x a=1i 1\n", line: 2, later: true,
			pieces: []string{`"ok"`, "int64", "tag"}},
	)
}

// wideRows is n rows that have a column each.
func wideRows(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "T c%d=1i 1\n", i)
	}
	return b.String()
}

// badPlaces are the same bad rows as the first, in the middle and as the last of a thousand, on the table's own subject
// and on the one for any tables.
func badPlaces() (all []badInput) {
	for name, line := range map[string]string{
		"number": "T v=1x 1", "no field": "T,t=x", "string": "T s=\"\xff\" 1", "type": "T v=1 1", "timestamp": "T v=1i 1x",
		"tag": "T,t= v=1i 1", "range": "T v=9223372036854775808i 1", "name": "T " + strings.Repeat("n", 128) + "=1i 1",
	} {
		for _, place := range []int{2, 500, 1000} {
			var b strings.Builder
			b.WriteString("T,t=y v=7i,s=\"x\" 1\n")
			for at := 2; at <= 1000; at++ {
				row := "T,t=y v=7i,s=\"x\" 1"
				if at == place {
					row = line
				}
				b.WriteString(row + "\n")
			}
			for _, subject := range []string{"", "ingest"} {
				all = append(all, badInput{name: fmt.Sprintf("%s on line %d of %s", name, place, subject), payload: b.String(),
					subject: subject, line: place, pieces: []string{fmt.Sprintf("line %d: ", place)}})
			}
		}
	}
	return all
}

func badJSON() []badInput {
	all := []badInput{
		{name: "NaN", payload: `{"a":NaN}`, line: 1, pieces: []string{`"a"`}},
		{name: "infinity", payload: `{"a":-Infinity}`, line: 1, pieces: []string{`"a"`}},
		{name: "float out of range", payload: `{"a":1e999}`, line: 1, pieces: []string{`"a"`, "1e999", "range"}},
		{name: "int out of range", payload: `{"a":9223372036854775808}`, line: 1, pieces: []string{`"a"`, "range", "int64"}},
		{name: "int below the range", payload: `{"a":-9223372036854775809}`, line: 1, pieces: []string{`"a"`, "range"}},
		{name: "timestamp out of range", payload: `{"timestamp":9223372036854775808,"a":1}`, line: 1, pieces: []string{"timestamp", "range"}},
		{name: "year 9999", payload: `{"timestamp":"9999-01-01T00:00:00Z","a":1}`, line: 1, pieces: []string{"timestamp", "range"}},
		{name: "bad timestamp", payload: `{"timestamp":"yesterday","a":1}`, line: 1, pieces: []string{"timestamp", "yesterday"}},
		{name: "float timestamp", payload: `{"timestamp":1.5,"a":1}`, line: 1, pieces: []string{"timestamp"}},
		{name: "boolean timestamp", payload: `{"timestamp":true,"a":1}`, line: 1, pieces: []string{"timestamp", "true"}},
		{name: "not UTF-8 in a string", payload: "{\"a\":\"\xff\"}", line: 1, pieces: []string{`"a"`, "UTF-8"}},
		{name: "not UTF-8 in a name", payload: "{\"\xff\":1}", line: 1, pieces: []string{"UTF-8"}},
		{name: "half a surrogate", payload: `{"a":"\ud800"}`, line: 1, pieces: []string{`"a"`}},
		{name: "control character", payload: "{\"a\":\"\x01\"}", line: 1, pieces: []string{`"a"`}},
		{name: "nested", payload: "{\"a\":1}\n{\"a\":{}}", line: 2, pieces: []string{`"a"`, "nested"}},
		{name: "array", payload: `{"a":[1]}`, line: 1, pieces: []string{`"a"`, "nested"}},
		{name: "twice", payload: `{"a":1,"a":1}`, line: 1, pieces: []string{`"a"`, "twice"}},
		{name: "types differ", payload: "\n{\"a\":1}\n{\"a\":\"x\"}", line: 3, pieces: []string{`"a"`, "int64", "string"}},
		{name: "not an object", payload: `[1]`, line: 1},
		{name: "two on a line", payload: `{"a":1}{"a":2}`, line: 1},
		{name: "cut", payload: `{"a":1`, line: 1},
		{name: "no value", payload: "{\"a\":1}\n{\"a\":}\n{\"a\":2}", line: 2, pieces: []string{`"a"`}},
		{name: "line protocol", payload: "T a=1i", line: 1},
		{name: "empty", payload: "\n \n", pieces: []string{"no row"}},
		{name: "10,000 columns", payload: wideJSON(10_000), line: 1, pieces: []string{`"c1999"`, "2000"}},
		{name: "the table's type differs", payload: `{"ok":true}`, line: 1, later: true, pieces: []string{`"ok"`, "int64", "boolean"}},
		{name: "nothing but a timestamp", payload: `{"timestamp":5}`, first: true, pieces: []string{"no column"}},
	}
	for i := range all {
		c := &all[i]
		c.name, c.header, c.binary = "JSON: "+c.name, []string{"Content-Type", typeNDJSON}, true
	}
	return all
}

func wideJSON(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"c%d":%d`, i, i)
	}
	return "{" + b.String()[1:] + "}"
}
