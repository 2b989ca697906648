package client

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// Kind is the type of a column, or of a value: then it may be KindNull.
type Kind uint8

// The kinds. A column has one for good.
const (
	KindNull      Kind = 0 // no value
	KindTimestamp Kind = Kind(api.Timestamp)
	KindTag       Kind = Kind(api.Tag) // QuestDB's symbol: a string from a small set
	KindInt64     Kind = Kind(api.Int64)
	KindUint64    Kind = Kind(api.Uint64)
	KindFloat64   Kind = Kind(api.Float64)
	KindBool      Kind = Kind(api.Boolean)
	KindString    Kind = Kind(api.String)
)

// String is the word that Braid's errors and tools have for the kind.
func (k Kind) String() string {
	if k == KindNull {
		return "null"
	}
	return api.ColumnType(k).String()
}

// Column is one column of a table.
type Column struct {
	Name string
	Kind Kind
}

func publicColumns(columns []api.Column) []Column {
	out := make([]Column, len(columns))
	for i, c := range columns {
		out[i] = Column{c.Name, Kind(c.Type)}
	}
	return out
}

// Value is one value of a row, of one of the kinds. The zero Value is a null.
type Value struct {
	kind Kind
	bits uint64
	text string
}

// Kind says what the value is.
func (v Value) Kind() Kind { return v.kind }

// IsNull says that there is no value.
func (v Value) IsNull() bool { return v.kind == KindNull }

// Int64 returns the value, and whether it is an int64: a null is none, and nothing is converted. So do the others.
func (v Value) Int64() (n int64, ok bool) { return int64(v.of(KindInt64)), v.kind == KindInt64 }

// Uint64 returns the value, and whether it is a uint64.
func (v Value) Uint64() (n uint64, ok bool) { return v.of(KindUint64), v.kind == KindUint64 }

// Float64 returns the value, and whether it is a float64.
func (v Value) Float64() (f float64, ok bool) {
	return math.Float64frombits(v.of(KindFloat64)), v.kind == KindFloat64
}

// Bool returns the value, and whether it is a boolean.
func (v Value) Bool() (b, ok bool) { return v.of(KindBool) != 0, v.kind == KindBool }

// Text returns the value, and whether it is a tag or a string.
func (v Value) Text() (s string, ok bool) { return v.text, v.kind == KindTag || v.kind == KindString }

// Time returns the value in UTC, and whether it is a timestamp.
func (v Value) Time() (t time.Time, ok bool) {
	if v.kind != KindTimestamp {
		return time.Time{}, false
	}
	return time.Unix(0, int64(v.bits)).UTC(), true
}

func (v Value) of(k Kind) uint64 {
	if v.kind != k {
		return 0
	}
	return v.bits
}

// Any returns an int64, uint64, float64, bool, string or time.Time, nil for a null.
func (v Value) Any() any {
	switch v.kind {
	case KindNull:
		return nil
	case KindTimestamp:
		return time.Unix(0, int64(v.bits)).UTC()
	case KindInt64:
		return int64(v.bits)
	case KindUint64:
		return v.bits
	case KindFloat64:
		return math.Float64frombits(v.bits)
	case KindBool:
		return v.bits != 0
	}
	return v.text
}

// String prints the value so that it reads back the same: a timestamp as nanoseconds since 1970, a float with the
// fewest digits, a null as "null".
func (v Value) String() string {
	switch v.kind {
	case KindNull:
		return "null"
	case KindUint64:
		return strconv.FormatUint(v.bits, 10)
	case KindFloat64:
		return strconv.FormatFloat(math.Float64frombits(v.bits), 'g', -1, 64)
	case KindBool:
		return strconv.FormatBool(v.bits != 0)
	case KindTag, KindString:
		return v.text
	}
	return strconv.FormatInt(int64(v.bits), 10)
}

// own copies what a text shares with the rows that it was read with, which a string that is kept would keep as a whole.
func own(s string) string { return strings.Clone(s) }
