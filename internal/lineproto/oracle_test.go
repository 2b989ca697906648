package lineproto

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"github.com/seed-551dd829/braid/internal/api"
)

// Where Parse differs from github.com/influxdata/line-protocol/v2 on purpose:
//
//	a control character in a comment       there the line is an error, here a comment may hold anything
//	a tag or field twice in a line         there nobody looks, here an error
//	a tag or field named timestamp         there fine, here reserved
//	one name with two types                there fine, here an error
//	names of tables and columns            there any bytes between separators, here api.CheckTable, api.CheckColumn
//	a bad line's later part                there reading goes on at the next line feed, here behind the strings
//	                                       that the line's fields hold, so that text never becomes rows

// oracle reads a payload with line-protocol/v2 and applies Braid's own rules. ok is false if a line
// is an error; skip says that the payload meets a difference that is not modelled.
func oracle(data []byte) (tables map[string]string, ok, skip bool) {
	for line := range bytes.SplitSeq(data, []byte{'\n'}) {
		line = bytes.TrimSuffix(bytes.TrimLeft(line, " "), []byte{'\r'})
		if bytes.HasPrefix(line, []byte{'#'}) && bytes.ContainsFunc(line, unicode.IsControl) {
			return nil, false, true
		}
	}
	d := lineprotocol.NewDecoderWithBytes(data)
	o := map[string]*oracleTable{}
	for d.Next() {
		if err := oracleRow(d, o); err != nil {
			return nil, false, false
		}
	}
	tables = map[string]string{}
	for name, t := range o {
		tables[name] = t.print()
	}
	return tables, true, false
}

type oracleTable struct {
	names []string
	types map[string]api.ColumnType
	rows  []map[string]string
}

func (t *oracleTable) print() string {
	var b strings.Builder
	for _, row := range t.rows {
		fmt.Fprintf(&b, "{%s", row[""])
		for _, n := range t.names {
			if v, ok := row[n]; ok {
				fmt.Fprintf(&b, " %q=%s", n, v)
			}
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func (t *oracleTable) add(row map[string]string, name string, kind api.ColumnType, v string) error {
	if err := api.CheckColumn(name); err != nil {
		return err
	}
	if _, twice := row[name]; twice {
		return fmt.Errorf("%q twice", name)
	}
	if was, ok := t.types[name]; ok && was != kind {
		return fmt.Errorf("%q has two types", name)
	} else if !ok {
		t.types[name] = kind
		t.names = append(t.names, name)
	}
	row[name] = v
	return nil
}

func oracleRow(d *lineprotocol.Decoder, tables map[string]*oracleTable) error {
	m, err := d.Measurement()
	if err != nil {
		return err
	}
	if err := api.CheckTable(string(m)); err != nil {
		return err
	}
	t := tables[string(m)]
	if t == nil {
		t = &oracleTable{types: map[string]api.ColumnType{}}
		tables[string(m)] = t
	}
	row := map[string]string{}
	for {
		key, v, err := d.NextTag()
		if err != nil {
			return err
		}
		if key == nil {
			break
		}
		if err := t.add(row, string(key), api.Tag, strconv.Quote(string(v))); err != nil {
			return err
		}
	}
	for n := 0; ; n++ {
		key, v, err := d.NextField()
		if err != nil {
			return err
		}
		if key == nil {
			if n == 0 {
				return fmt.Errorf("no field")
			}
			break
		}
		if err := t.add(row, string(key), fieldType[v.Kind()], oracleText(v)); err != nil {
			return err
		}
	}
	row[""] = "7"
	text, err := d.TimeBytes()
	if err != nil {
		return err
	}
	if text != nil {
		v, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			return err
		}
		row[""] = strconv.FormatInt(v, 10)
	}
	t.rows = append(t.rows, row)
	return nil
}

var fieldType = map[lineprotocol.ValueKind]api.ColumnType{lineprotocol.Int: api.Int64, lineprotocol.Uint: api.Uint64,
	lineprotocol.Float: api.Float64, lineprotocol.Bool: api.Boolean, lineprotocol.String: api.String}

func oracleText(v lineprotocol.Value) string {
	if v.Kind() == lineprotocol.String {
		return strconv.Quote(v.StringV())
	}
	return fmt.Sprint(v.Interface())
}

// againstOracle compares one payload.
func againstOracle(t *testing.T, data []byte) {
	tables, ok, skip := oracle(data)
	result, err := Parse(data, Options{Now: 7})
	defer result.Release()
	if skip {
		return
	}
	refused := err != nil
	for _, e := range result {
		refused = refused || e.Err != nil
	}
	if refused != !ok {
		t.Fatalf("refused is %v (%v %v), the oracle says %v", refused, err, result, !ok)
	}
	if refused {
		return
	}
	if len(result) != len(tables) {
		t.Fatalf("%d tables, the oracle has %d", len(result), len(tables))
	}
	for _, e := range result {
		if got := printBatch(t, e); got != tables[e.Table] {
			t.Fatalf("table %q: %s, the oracle has %s", e.Table, got, tables[e.Table])
		}
	}
}

func TestOracle(t *testing.T) {
	againstOracle(t, cpuOnly(300))
	for _, s := range fuzzSeeds {
		againstOracle(t, []byte(s))
	}
}

var fuzzSeeds = []string{
	"m,t=a f=1.5,i=-2i,u=3u,b=t,s=\"x\" 9\nm,t=a f=2,i=3i 10\n",
	"m\\ x,t\\=k=v\\,w a\\ b=1i,c=\"q\\\"\\\\\\n\" 1\r\n# c\n\nm2 a=T",
	"m,a=1,b=2 x=1i,y=2i 1\nm,b=3,a=4 y=5i,x=6i 2\nn x=1i\nm x=1i",
	"m a=1e400", "m a=.5,b=5.,c=-0,d=0x1p-2,e=1_0", "m a=\"x\ny\" -9223372036854775808", "m a=1i\r", "m,t=é a=1",
	"m a=9223372036854775808i", "m a=00012i,b=-0i,c=1e5", "m a=12345678901234567890123", "m,t=\\ a=1",
}

func FuzzParse(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Count(data, []byte{'\n'}) < 1000 {
			againstOracle(t, data)
		}
	})
}
