package api

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// ColumnType is a column's type. Its number is stored and hashed: never change one.
type ColumnType uint8

const (
	Timestamp ColumnType = 1 // int64 nanoseconds since 1970 UTC; only the first column
	Tag       ColumnType = 2 // dictionary-encoded string
	Int64     ColumnType = 3
	Uint64    ColumnType = 4
	Float64   ColumnType = 5
	Boolean   ColumnType = 6
	String    ColumnType = 7
)

var columnTypeNames = [...]string{Timestamp: "timestamp", Tag: "tag", Int64: "int64", Uint64: "uint64",
	Float64: "float64", Boolean: "boolean", String: "string"}

// String returns the type's word, as errors, `braid tables` and JSON spell it.
func (t ColumnType) String() string {
	if t >= Timestamp && int(t) < len(columnTypeNames) {
		return columnTypeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// MarshalText spells the type as its word.
func (t ColumnType) MarshalText() ([]byte, error) {
	if t < Timestamp || int(t) >= len(columnTypeNames) {
		return nil, fmt.Errorf("unknown column type %d", uint8(t))
	}
	return []byte(columnTypeNames[t]), nil
}

// UnmarshalText reads the type's word.
func (t *ColumnType) UnmarshalText(text []byte) error {
	for i, name := range columnTypeNames {
		if name != "" && name == string(text) {
			*t = ColumnType(i)
			return nil
		}
	}
	return fmt.Errorf("unknown column type %s", Quote(text))
}

// Column is one column of a table.
type Column struct {
	Name string     `json:"name"`
	Type ColumnType `json:"type"`
}

// FingerprintSize is the size of an encoded fingerprint.
const FingerprintSize = 16

// Fingerprint names the first n columns of a table: n as a big-endian uint32, then 12 bytes of a hash chained over
// those columns. It is enough to say exactly what a group's columns are, without a copy of the schema.
type Fingerprint [FingerprintSize]byte

// Columns returns n, the number of columns that the fingerprint names.
func (f Fingerprint) Columns() int { return int(binary.BigEndian.Uint32(f[:4])) }

func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// Extend returns the fingerprint of one column more. The zero Fingerprint names no column.
func (f Fingerprint) Extend(c Column) Fingerprint {
	h := sha256.New()
	h.Write(f[:])
	h.Write([]byte{byte(c.Type)})
	h.Write([]byte(c.Name))
	var out Fingerprint
	binary.BigEndian.PutUint32(out[:4], uint32(f.Columns()+1))
	copy(out[4:], h.Sum(nil))
	return out
}

// Schema is an ordered list of columns that only grows. Schemas are values: Extend copies nothing that a holder of
// an older one can see change.
type Schema struct {
	columns []Column
	prints  []Fingerprint // prints[i] names columns[:i+1]
	index   map[string]int
}

// NewSchema builds a schema. Columns have distinct names; the first is the designated timestamp and no other is.
func NewSchema(columns []Column) (Schema, error) {
	s := Schema{
		columns: append([]Column(nil), columns...),
		prints:  make([]Fingerprint, len(columns)),
		index:   make(map[string]int, len(columns)),
	}
	if len(columns) == 0 || columns[0] != (Column{TimestampColumn, Timestamp}) {
		return Schema{}, fmt.Errorf("the first column of a schema must be %s", TimestampColumn)
	}
	if len(columns) > ColumnsMax {
		return Schema{}, fmt.Errorf("%d columns, at most %d are allowed", len(columns), ColumnsMax)
	}
	var f Fingerprint
	for i, c := range columns {
		if i > 0 {
			if err := CheckColumn(c.Name); err != nil {
				return Schema{}, err
			}
			if c.Type < Tag || c.Type > String {
				return Schema{}, fmt.Errorf("column %q has the unknown type %d", c.Name, c.Type)
			}
		}
		if _, twice := s.index[c.Name]; twice {
			return Schema{}, fmt.Errorf("column %q is there twice", c.Name)
		}
		f = f.Extend(c)
		s.prints[i], s.index[c.Name] = f, i
	}
	return s, nil
}

// Columns returns the columns, which the caller must not change.
func (s Schema) Columns() []Column { return s.columns }

// Len returns the number of columns; 0 for the zero Schema, which is the schema of a table that does not exist.
func (s Schema) Len() int { return len(s.columns) }

// Index returns a column's place, and whether there is such a column.
func (s Schema) Index(name string) (int, bool) {
	i, ok := s.index[name]
	return i, ok
}

// Fingerprint names the first n columns, 1 <= n <= Len.
func (s Schema) Fingerprint(n int) Fingerprint { return s.prints[n-1] }

// Prefix returns the schema that f names, and whether it names a prefix of this one.
func (s Schema) Prefix(f Fingerprint) (Schema, bool) {
	n := f.Columns()
	if n < 1 || n > len(s.columns) || s.prints[n-1] != f {
		return Schema{}, false
	}
	if n == len(s.columns) {
		return s, true
	}
	p, err := NewSchema(s.columns[:n])
	return p, err == nil
}
