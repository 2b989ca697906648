package client

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
)

// printed is a payload as NDJSON, read as a gateway reads it.
func printed(t *testing.T, rows Rows) string {
	t.Helper()
	p, err := rows.Payload()
	if err != nil {
		t.Fatal(err)
	}
	batch, refusal := columnar.ParseArrow(p.Data, "t", 0)
	if refusal != nil {
		t.Fatal(refusal)
	}
	defer batch.Release()
	columns, refusal := batch.Missing(api.Schema{})
	if refusal != nil {
		t.Fatal(refusal)
	}
	schema, err := api.NewSchema(append([]api.Column{{Name: api.TimestampColumn, Type: api.Timestamp}}, columns...))
	if err != nil {
		t.Fatal(err)
	}
	data, err := columnar.Encode(nil, schema, []*columnar.Batch{batch})
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := columnar.Decode(data, schema)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, c := range schema.Columns()[1:] {
		out.WriteString(c.Name + ":" + c.Type.String() + " ")
	}
	out.WriteByte('\n')
	w, err := columnar.NewWriter(&out, "ndjson", schema, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(decoded, 0, decoded.Len(), 1), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

const builtRows = `host:tag usage:int64 seen:uint64 load:float64 up:boolean note:string 
{"timestamp":1,"host":"a","usage":-3,"seen":18446744073709551615,"load":0.5,"up":true,"note":"two\nlines"}
{"timestamp":2,"host":"b","load":-0}
{"timestamp":3,"host":"a","usage":4,"note":""}
`

func TestBuilderRowsArriveAsTheyWereBuilt(t *testing.T) {
	b := NewRows()
	for range 3 { // once warm, too
		b.Symbol("host", "a").Int64("usage", -3).Uint64("seen", math.MaxUint64).Float64("load", 0.5).Bool("up", true).
			String("note", "two\nlines").At(time.Unix(0, 1))
		b.Float64("load", math.Copysign(0, -1)).Symbol("host", "b").AtNanos(2)
		b.Symbol("host", "a").Int64("usage", 4).String("note", "").AtNanos(3)
		if got := printed(t, b); got != builtRows {
			t.Fatalf("built\n%s", got)
		}
		if b.Len() != 3 || b.Bytes() == 0 {
			t.Fatalf("%d rows of %d bytes", b.Len(), b.Bytes())
		}
		b.Reset()
	}
}

func TestI8_BuilderKeepsTheFirstMistake(t *testing.T) {
	for want, build := range map[string]func(*Builder){
		"row 2: column \"usage\" is int64":    func(b *Builder) { b.Float64("usage", 1).AtNanos(2) },
		"row 2: column \"host\" is there twi": func(b *Builder) { b.Symbol("host", "a").Symbol("host", "b").AtNanos(2) },
		"row 2: column \"up\": NaN is not":    func(b *Builder) { b.Float64("up", math.NaN()).AtNanos(2) },
		"row 2: column \"host\": the value":   func(b *Builder) { b.Symbol("host", "\xff").AtNanos(2) },
		"row 2: it has no value":              func(b *Builder) { b.AtNanos(2) },
		"row 2: the time 9999":                func(b *Builder) { b.Int64("usage", 1).At(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)) },
		"row 2: ":                             func(b *Builder) { b.Int64("timestamp", 1).AtNanos(2) },
	} {
		b := NewRows()
		b.Symbol("host", "a").Int64("usage", 1).AtNanos(1)
		build(b)
		b.Symbol("host", "c").AtNanos(9) // whatever comes after it
		_, err := b.Payload()
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %s", err, want)
		}
		b.Reset()
		if b.Symbol("host", "a").AtNanos(1); b.Err() != nil || b.Len() != 1 {
			t.Errorf("after Reset: %v", b.Err())
		}
	}
	open := NewRows()
	open.Int64("usage", 1)
	if _, err := open.Payload(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "row 1 has values and no time") {
		t.Errorf("a row without its end: %v", err)
	}
	if _, err := NewRows().Payload(); !errors.Is(err, ErrInvalid) {
		t.Errorf("no rows: %v", err)
	}
}

type usage struct {
	Host   string  `braid:"host,symbol"`
	Usage  int32   `braid:"usage"`
	Seen   *uint64 `braid:"seen"`
	Load   float32 `braid:"load,omitempty"`
	Up     bool    `braid:"up,omitempty"`
	Note   string  `braid:"note"`
	Ignore string
	Time   time.Time `braid:",timestamp"`
}

func TestStructsAreRows(t *testing.T) {
	seen := uint64(math.MaxUint64)
	rows := []usage{
		{Host: "a", Usage: -3, Seen: &seen, Load: 0.5, Up: true, Note: "x", Time: time.Unix(0, 1)},
		{Host: "b", Ignore: "y", Time: time.Unix(0, 2)},
	}
	want := `host:tag usage:int64 seen:uint64 load:float64 up:boolean note:string 
{"timestamp":1,"host":"a","usage":-3,"seen":18446744073709551615,"load":0.5,"up":true,"note":"x"}
{"timestamp":2,"host":"b","usage":0,"note":""}
`
	if got := printed(t, Structs(rows)); got != want {
		t.Errorf("structs are\n%s", got)
	}
	if got := printed(t, Structs([]*usage{&rows[0], &rows[1]})); got != want {
		t.Errorf("pointers to structs are\n%s", got)
	}
	before := time.Now().UnixNano()
	b, err := Structs([]struct {
		V int `braid:"v"`
	}{{1}}).(structs).build()
	if err != nil {
		t.Fatal(err)
	}
	if text := printed(t, b); !strings.Contains(text, `"v":1`) || before == 0 {
		t.Errorf("without a timestamp: %s", text)
	}
}

func TestStructsThatCannotBeRows(t *testing.T) {
	for want, rows := range map[string]Rows{
		"a struct is wanted": Structs([]int{1}),
		"no field of":        Structs([]struct{ A int }{{1}}),
		"unknown option": Structs([]struct {
			A int `braid:"a,tag"`
		}{{1}}),
		"it is not exported": Structs([]struct {
			a int `braid:"a"`
		}{{1}}),
		"can be a symbol": Structs([]struct {
			A int `braid:"a,symbol"`
		}{{1}}),
		"names no column": Structs([]struct {
			A int `braid:",omitempty"`
		}{{1}}),
		"is no column's": Structs([]struct {
			A []int `braid:"a"`
		}{{nil}}),
		"a time.Time is tagge": Structs([]struct {
			A time.Time `braid:"a"`
		}{{}}),
		"row 2 is nil": Structs([]*usage{{Note: "x"}, nil}),
		"no rows":      Structs([]usage{}),
	} {
		if _, err := rows.Payload(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %s", err, want)
		}
	}
}

func BenchmarkBuilder(b *testing.B) {
	rows := NewRows()
	hosts := []string{"host_1", "host_2", "host_3", "host_4"}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		rows.Symbol("host", hosts[n%4]).Symbol("region", "eu-west-1").Int64("usage_user", int64(n)).
			Int64("usage_system", 2).Float64("load", 0.25).AtNanos(int64(n))
		if n++; rows.Len() == 10_000 {
			rows.Reset()
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
}
