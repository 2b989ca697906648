package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/seed-551dd829/braid/client"
)

// printer prints rows one by one, with the bytes that `braid rows` has for them. What it returns is valid until the
// next call.
type printer interface {
	line(client.Row) ([]byte, error)
}

func newPrinter(format, table string, txid bool) printer {
	switch format {
	case "csv":
		return &csvPrinter{txid: txid}
	case "ilp":
		return &ilpPrinter{table: strings.NewReplacer(",", `\,`, " ", `\ `).Replace(table)}
	}
	return &jsonPrinter{txid: txid}
}

type jsonPrinter struct {
	txid bool
	buf  []byte
}

func (p *jsonPrinter) line(row client.Row) ([]byte, error) {
	b := strconv.AppendInt(append(p.buf[:0], `{"timestamp":`...), row.Nanos(), 10)
	if p.txid {
		b = strconv.AppendUint(append(b, `,"txid":`...), row.TxID(), 10)
	}
	for i, c := range row.Columns()[1:] {
		v := row.At(i + 1)
		if v.IsNull() {
			continue
		}
		b = append(appendJSON(append(b, ','), c.Name), ':')
		if text, ok := v.Text(); ok {
			b = appendJSON(b, text)
		} else {
			b = appendScalar(b, v)
		}
	}
	p.buf = append(b, '}', '\n')
	return p.buf, nil
}

func appendJSON(b []byte, text string) []byte {
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		panic(err) // a string can always be encoded
	}
	return append(b, strings.TrimSuffix(out.String(), "\n")...)
}

// appendScalar prints what is no text: a float has the fewest digits that read back the same.
func appendScalar(b []byte, v client.Value) []byte {
	f, ok := v.Float64()
	if !ok {
		return append(b, v.String()...)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, 64)
}

type csvPrinter struct {
	txid    bool
	columns int // of the header; 0 before it
	buf     []byte
}

var errGrown = errors.New("the table has got a column that the CSV's header does not have")

func (p *csvPrinter) line(row client.Row) ([]byte, error) {
	p.buf = p.buf[:0]
	columns := row.Columns()
	if p.columns == 0 {
		p.columns = len(columns)
		p.header(columns)
	}
	for i := range columns {
		v := row.At(i)
		if i >= p.columns {
			if !v.IsNull() {
				return nil, fmt.Errorf("%w: %q", errGrown, columns[i].Name)
			}
			continue
		}
		p.separate(i)
		if text, ok := v.Text(); ok {
			p.buf = appendCSV(p.buf, text)
		} else if !v.IsNull() {
			p.buf = appendScalar(p.buf, v)
		}
		if i == 0 && p.txid {
			p.buf = strconv.AppendUint(append(p.buf, ','), row.TxID(), 10)
		}
	}
	p.buf = append(p.buf, '\n')
	return p.buf, nil
}

func (p *csvPrinter) header(columns []client.Column) {
	for i, c := range columns {
		p.separate(i)
		p.buf = appendCSV(p.buf, c.Name)
		if i == 0 && p.txid {
			p.buf = append(p.buf, ",txid"...)
		}
	}
	p.buf = append(p.buf, '\n')
}

func (p *csvPrinter) separate(column int) {
	if column > 0 {
		p.buf = append(p.buf, ',')
	}
}

// appendCSV quotes what must be, and the empty string, which would be a null.
func appendCSV(b []byte, text string) []byte {
	if text != "" && text != `\.` && !strings.ContainsAny(text, ",\"\r\n") && strings.TrimSpace(text) == text {
		return append(b, text...)
	}
	return append(append(append(b, '"'), strings.ReplaceAll(text, `"`, `""`)...), '"')
}

// ilpPrinter prints line protocol: tags behind the table's name, then fields, then nanoseconds.
type ilpPrinter struct {
	table string
	buf   []byte
}

var (
	ilpKey    = strings.NewReplacer(",", `\,`, "=", `\=`, " ", `\ `)
	ilpString = strings.NewReplacer(`"`, `\"`, `\`, `\\`)
)

func (p *ilpPrinter) line(row client.Row) ([]byte, error) {
	b := append(p.buf[:0], p.table...)
	var fields []byte
	for i, c := range row.Columns()[1:] {
		v := row.At(i + 1)
		text, isText := v.Text()
		switch {
		case v.IsNull():
			continue
		case c.Kind == client.KindTag && (text == "" || strings.ContainsAny(text, "\n\\")):
			return nil, fmt.Errorf("line protocol cannot say the tag %q with the value %q", c.Name, text)
		case c.Kind == client.KindTag:
			b = append(b, ","+ilpKey.Replace(c.Name)+"="+ilpKey.Replace(text)...)
			continue
		case len(fields) > 0:
			fields = append(fields, ',')
		}
		fields = append(fields, ilpKey.Replace(c.Name)+"="...)
		if isText {
			fields = append(fields, `"`+ilpString.Replace(text)+`"`...)
			continue
		}
		fields = appendScalar(fields, v)
		switch c.Kind {
		case client.KindInt64:
			fields = append(fields, 'i')
		case client.KindUint64:
			fields = append(fields, 'u')
		}
	}
	if len(fields) == 0 {
		return nil, errors.New("line protocol cannot say a row without fields")
	}
	b = append(append(append(b, ' '), fields...), ' ')
	p.buf = append(strconv.AppendInt(b, row.Nanos(), 10), '\n')
	return p.buf, nil
}

// counted is a number with its noun: 1 row, 2 rows.
func counted[T ~int | ~int64](n T, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
