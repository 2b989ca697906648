package columnar

import (
	"io"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/seed-551dd829/braid/internal/api"
)

// ndjson writes a JSON object a line and leaves nulls out.
type ndjson struct {
	w    io.Writer
	keys [][]byte // `,"name":` of each column
	txid []byte   // the same of the TxID's, nil if there is none
	buf  []byte
}

func newNDJSON(w io.Writer, schema api.Schema, txid string) *ndjson {
	n := &ndjson{w: w}
	for _, c := range schema.Columns() {
		n.keys = append(n.keys, quotedKey(c.Name))
	}
	if txid != "" {
		n.txid = quotedKey(txid)
	}
	return n
}

func quotedKey(name string) []byte { return append(appendJSONString([]byte{','}, name), ':') }

func (n *ndjson) Write(rows *Rows, from, to int, txid uint64) error {
	columns := rows.columns
	for row := from; row < to; row++ {
		n.buf = append(n.buf, '{')
		first := len(n.buf)
		for i := range columns {
			c := &columns[i]
			if c.IsNull(row) {
				continue
			}
			n.buf = append(n.buf, n.keys[i]...)
			if c.Type == api.String || c.Type == api.Tag {
				n.buf = appendJSONString(n.buf, c.text(row))
			} else {
				n.buf = c.appendScalar(n.buf, row)
			}
			if i == 0 && n.txid != nil {
				n.buf = append(n.buf, n.txid...)
				n.buf = strconv.AppendUint(n.buf, txid, 10)
			}
		}
		n.buf = append(n.buf[:first], n.buf[first+1:]...) // the first comma
		n.buf = append(n.buf, '}', '\n')
		if len(n.buf) >= flushBytes {
			if err := n.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *ndjson) Close() error {
	_, err := n.w.Write(n.buf)
	n.buf = n.buf[:0]
	return err
}

// appendScalar prints a value that is neither a tag nor a string, the same way in NDJSON and CSV.
func (c *rowColumn) appendScalar(b []byte, row int) []byte {
	switch c.Type {
	case api.Uint64:
		return strconv.AppendUint(b, c.word(row), 10)
	case api.Float64:
		return appendFloat(b, math.Float64frombits(c.word(row)))
	case api.Boolean:
		return strconv.AppendBool(b, c.bool(row))
	}
	return strconv.AppendInt(b, int64(c.word(row)), 10)
}

// appendFloat prints the shortest digits that read back the same, with an exponent where ES6 (and
// so encoding/json) has one.
func appendFloat(b []byte, v float64) []byte {
	format := byte('f')
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, v, format, -1, 64)
}

const hexDigits = "0123456789abcdef"

// appendJSONString quotes UTF-8 text. Only what JSON demands is escaped.
func appendJSONString(b []byte, text string) []byte {
	b = append(b, '"')
	start := 0
	for i, c := range []byte(text) {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, text[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	b = append(b, text[start:]...)
	return append(b, '"')
}

// csv writes a header and a record a row, quoted as encoding/csv does; but a null is an empty cell
// and an empty string is "", so that they can be told apart. (encoding/csv cannot write that.)
type csv struct {
	w       io.Writer
	columns int
	txid    bool
	buf     []byte
}

func newCSV(w io.Writer, schema api.Schema, txid string) *csv {
	c := &csv{w: w, columns: schema.Len(), txid: txid != ""}
	for i, column := range schema.Columns() {
		if i > 0 {
			c.buf = append(c.buf, ',')
		}
		c.buf = appendCSVString(c.buf, column.Name)
		if i == 0 && txid != "" {
			c.buf = appendCSVString(append(c.buf, ','), txid)
		}
	}
	c.buf = append(c.buf, '\n')
	return c
}

func (w *csv) Write(rows *Rows, from, to int, txid uint64) error {
	columns := rows.columns
	for row := from; row < to; row++ {
		for i := range w.columns {
			if i > 0 {
				w.buf = append(w.buf, ',')
			}
			if i < len(columns) && !columns[i].IsNull(row) {
				w.buf = columns[i].appendCSV(w.buf, row)
			}
			if i == 0 && w.txid {
				w.buf = append(w.buf, ',')
				w.buf = strconv.AppendUint(w.buf, txid, 10)
			}
		}
		w.buf = append(w.buf, '\n')
		if len(w.buf) >= flushBytes {
			if err := w.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *csv) Close() error {
	_, err := w.w.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}

func (c *rowColumn) appendCSV(b []byte, row int) []byte {
	if c.Type == api.String || c.Type == api.Tag {
		return appendCSVString(b, c.text(row))
	}
	return c.appendScalar(b, row)
}

func appendCSVString(b []byte, text string) []byte {
	if !csvQuoted(text) {
		return append(b, text...)
	}
	b = append(b, '"')
	for _, c := range []byte(text) {
		if c == '"' {
			b = append(b, '"')
		}
		b = append(b, c)
	}
	return append(b, '"')
}

// csvQuoted is encoding/csv's rule, and the empty string.
func csvQuoted(text string) bool {
	r, _ := utf8.DecodeRuneInString(text)
	return text == "" || text == `\.` || strings.ContainsAny(text, ",\"\r\n") || unicode.IsSpace(r)
}
