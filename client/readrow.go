package client

import (
	"database/sql"
	"fmt"
	"math"
	"time"

	"github.com/seed-551dd829/braid/internal/columnar"
)

// Row is one row of a table, as it was read. It stays what it is for as long as it is kept; but it keeps the rows that
// came with it in memory, while the values that it gives are copies.
type Row struct {
	batch *rowBatch
	at    int
	last  bool
}

// rowBatch are rows that came together. Their columns are those of an answer: the timestamp, the TxIDs, the others.
type rowBatch struct {
	*columnar.Rows
	columns *rowColumns
}

// rowColumns are the columns of an answer's rows, without the TxIDs.
type rowColumns struct {
	all   []Column
	index map[string]int
}

func newRowColumns(all []Column) *rowColumns {
	c := &rowColumns{all: all, index: make(map[string]int, len(all))}
	for i := range all {
		c.index[all[i].Name] = i
	}
	return c
}

// txidAt is where the TxIDs stand in an answer.
const txidAt = 1

func (b *rowBatch) txid(row int) uint64 { return b.Word(txidAt, row) }

// TxID is the row's transaction.
func (r Row) TxID() uint64 { return r.batch.txid(r.at) }

// Last says that this is the last row of its transaction: whoever has it has all rows up to its TxID, and goes on
// with the next.
func (r Row) Last() bool { return r.last }

// Time is the row's timestamp, in UTC.
func (r Row) Time() time.Time { return time.Unix(0, r.Nanos()).UTC() }

// Nanos is the row's timestamp in nanoseconds since 1970.
func (r Row) Nanos() int64 { return int64(r.batch.Word(0, r.at)) }

// Columns are the table's, as the answer had them that brought the row: the timestamp first, the others in the order in
// which the table got them. They must not be changed.
func (r Row) Columns() []Column { return r.batch.columns.all }

// At returns the value in the column of that place in Columns.
func (r Row) At(column int) Value {
	c := r.batch.columns.all[column]
	if column > 0 {
		column++ // behind the TxIDs
	}
	if r.batch.IsNull(column, r.at) {
		return Value{}
	}
	v := Value{kind: c.Kind}
	switch c.Kind {
	case KindTag, KindString:
		v.text = own(r.batch.Text(column, r.at))
	case KindBool:
		if r.batch.Truth(column, r.at) {
			v.bits = 1
		}
	default:
		v.bits = r.batch.Word(column, r.at)
	}
	return v
}

// Value returns the value in a column. It is a null if the row has none there, or the table no such column.
func (r Row) Value(column string) Value {
	i, ok := r.batch.columns.index[column]
	if !ok {
		return Value{}
	}
	return r.At(i)
}

// Scan puts values into variables, which are given behind their columns' names:
//
//	var host string
//	var usage sql.Null[int64]
//	err := row.Scan("host", &host, "usage", &usage)
//
// A variable is an *int64, *uint64, *float64, *bool, *string (for tags and strings), *time.Time, a *sql.Null of one of
// these, or a *Value, which takes everything. Nothing is converted: another kind is an error, and so is a null for a
// variable that cannot be null. A column that the table does not have is null.
func (r Row) Scan(columnsAndVariables ...any) error {
	if len(columnsAndVariables)%2 != 0 {
		return fmt.Errorf("scan: %d arguments, but columns and variables come in pairs", len(columnsAndVariables))
	}
	for i := 0; i < len(columnsAndVariables); i += 2 {
		column, ok := columnsAndVariables[i].(string)
		if !ok {
			return fmt.Errorf("scan: argument %d is a %T, but a column's name belongs there", i+1, columnsAndVariables[i])
		}
		if err := r.Value(column).scan(columnsAndVariables[i+1]); err != nil {
			return fmt.Errorf("scan TxID %d, column %q: %w", r.TxID(), column, err)
		}
	}
	return nil
}

func (v Value) scan(to any) error {
	switch to := to.(type) {
	case *Value:
		*to = v
		return nil
	case *int64:
		return v.into(KindInt64, func() { *to = int64(v.bits) })
	case *uint64:
		return v.into(KindUint64, func() { *to = v.bits })
	case *float64:
		return v.into(KindFloat64, func() { *to = math.Float64frombits(v.bits) })
	case *bool:
		return v.into(KindBool, func() { *to = v.bits != 0 })
	case *time.Time:
		return v.into(KindTimestamp, func() { *to, _ = v.Time() })
	case *string:
		return v.intoText(to)
	}
	return v.scanNull(to)
}

func (v Value) scanNull(to any) error {
	switch to := to.(type) {
	case *sql.Null[int64]:
		return scanNull(v, to)
	case *sql.Null[uint64]:
		return scanNull(v, to)
	case *sql.Null[float64]:
		return scanNull(v, to)
	case *sql.Null[bool]:
		return scanNull(v, to)
	case *sql.Null[string]:
		return scanNull(v, to)
	case *sql.Null[time.Time]:
		return scanNull(v, to)
	}
	return fmt.Errorf("a %T cannot be scanned into", to)
}

func scanNull[T any](v Value, to *sql.Null[T]) error {
	if v.IsNull() {
		*to = sql.Null[T]{}
		return nil
	}
	if err := v.scan(&to.V); err != nil {
		return err
	}
	to.Valid = true
	return nil
}

func (v Value) into(k Kind, set func()) error {
	if v.kind != k {
		return v.mismatch(k.String())
	}
	set()
	return nil
}

func (v Value) intoText(to *string) error {
	if v.kind != KindTag && v.kind != KindString {
		return v.mismatch("tag or string")
	}
	*to = v.text
	return nil
}

func (v Value) mismatch(want string) error {
	if v.IsNull() {
		return fmt.Errorf("null, where the variable takes a %s: sql.Null takes both", want)
	}
	return fmt.Errorf("a %s, where the variable takes a %s", v.kind, want)
}
