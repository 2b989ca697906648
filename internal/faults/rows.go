//go:build unix

package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/seed-551dd829/braid/internal/history"
)

// rowMaker makes the rows of all writers. No two writes have the same rows, since each has a number of its own in
// them, so a write that is stored twice, or by mistake, can be told from every other.
type rowMaker struct {
	writes atomic.Int64
	grown  atomic.Int64 // columns g1 to g<grown> are in use; tables grow into them
}

// grownMax bounds the columns of a table.
const grownMax = 200

// rows are one write, as line protocol and as the checksum of its values.
type rows struct {
	text    []byte
	content uint64
	count   uint32
}

// make makes 1 to 20 rows. Now and then they have a column that no table has yet.
func (m *rowMaker) make(r *rand.Rand, table string) rows {
	number, count := m.writes.Add(1), 1+r.IntN(20)
	grown := m.grown.Load()
	if r.IntN(50) == 0 && grown < grownMax {
		grown = m.grown.Add(1)
	}
	out := rows{count: uint32(count)}
	var text strings.Builder
	for i := range count {
		row := newRow(&text, table, "h"+strconv.Itoa(r.IntN(7)))
		row.int("w", number)
		row.int("i", int64(i))
		row.float("v", float64(r.IntN(1_000_000))+0.5)
		if r.IntN(2) == 0 {
			row.text("s", fmt.Sprintf("a b, %d", r.IntN(100)))
		}
		if grown > 0 && r.IntN(3) == 0 {
			row.int("g"+strconv.FormatInt(1+r.Int64N(grown), 10), r.Int64N(1000))
		}
		out.content = then(out.content, row.end(1_700_000_000_000_000_000+number*1_000_000+int64(i)))
	}
	out.text = []byte(text.String())
	return out
}

// row writes one line, and adds up the checksums of its values.
type row struct {
	to        *strings.Builder
	separator byte
	sum       uint64
}

func newRow(to *strings.Builder, table, host string) *row {
	fmt.Fprintf(to, "%s,host=%s", table, host)
	return &row{to: to, separator: ' ', sum: valueSum("host", strconv.Quote(host))}
}

func (r *row) field(name, line, canonical string) {
	fmt.Fprintf(r.to, "%c%s=%s", r.separator, name, line)
	r.separator = ','
	r.sum += valueSum(name, canonical)
}

func (r *row) int(name string, v int64) {
	s := strconv.FormatInt(v, 10)
	r.field(name, s+"i", s)
}

func (r *row) float(name string, v float64) {
	s := strconv.FormatFloat(v, 'g', -1, 64)
	r.field(name, s, s)
}

func (r *row) text(name, v string) { r.field(name, `"`+v+`"`, strconv.Quote(v)) }

func (r *row) end(timestamp int64) uint64 {
	s := strconv.FormatInt(timestamp, 10)
	fmt.Fprintf(r.to, " %s\n", s)
	return r.sum + valueSum("timestamp", s)
}

// valueSum is a value's part of its row's checksum, a sum, so that the order of columns does not matter.
func valueSum(name, canonical string) uint64 {
	h := fnv.New64a()
	io.WriteString(h, name+"="+canonical) // a hash never fails
	return mix(h.Sum64())
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// then is the content of some rows and one row more.
func then(content, row uint64) uint64 { return content*0x9e3779b97f4a7c15 + mix(row) }

// readSeen reads NDJSON with the column txid, and returns the transactions in the order in which they come.
func readSeen(r io.Reader) (seen []history.Seen, err error) {
	d := json.NewDecoder(r)
	d.UseNumber()
	for {
		values := make(map[string]any)
		if err := d.Decode(&values); errors.Is(err, io.EOF) {
			return seen, nil
		} else if err != nil {
			return nil, err
		}
		txid, err := strconv.ParseUint(fmt.Sprint(values["txid"]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("txid %v: %w", values["txid"], err)
		}
		delete(values, "txid")
		var sum uint64
		for name, v := range values {
			canonical, err := canonicalValue(v)
			if err != nil {
				return nil, fmt.Errorf("column %s: %w", name, err)
			}
			sum += valueSum(name, canonical)
		}
		if len(seen) == 0 || seen[len(seen)-1].TxID != txid {
			seen = append(seen, history.Seen{TxID: txid})
		}
		last := &seen[len(seen)-1]
		last.Content, last.Rows = then(last.Content, sum), last.Rows+1
	}
}

func canonicalValue(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v), nil
	case json.Number:
		if !strings.ContainsAny(v.String(), ".eE") {
			return v.String(), nil
		}
		f, err := v.Float64()
		return strconv.FormatFloat(f, 'g', -1, 64), err
	}
	return "", fmt.Errorf("no writer sends a %T", v)
}
