package client

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/seed-551dd829/braid/internal/columnar"
)

// Structs are rows of a slice of structs, or of pointers to structs, whose fields are tagged with their columns:
//
//	type Usage struct {
//		Host  string    `braid:"host,symbol"`
//		Usage int64     `braid:"usage"`
//		Load  *float64  `braid:"load"`      // nil is a null
//		Note  string    `braid:"note,omitempty"` // "" is a null
//		Time  time.Time `braid:",timestamp"`
//	}
//
// Strings are fields unless they are symbols; integers, floats and booleans are columns of their kind, and so are
// pointers to them. Without a timestamp, or where it is zero, a row has the time of this machine's clock. Fields
// without a tag, or with "-", are no columns. The rows are read when they are written.
func Structs[T any](rows []T) Rows { return structs{reflect.ValueOf(rows)} }

type structs struct{ rows reflect.Value }

// Payload returns the rows as an Arrow IPC stream.
func (s structs) Payload() (Payload, error) {
	b, err := s.build()
	if err != nil {
		return Payload{}, err
	}
	return b.Payload()
}

func (s structs) batch() (*columnar.Batch, error) {
	b, err := s.build()
	if err != nil {
		return nil, err
	}
	return b.batch()
}

// build reads the rows, a row after the other.
func (s structs) build() (*Builder, error) {
	fields, err := columnsOf(s.rows.Type().Elem())
	if err != nil {
		return nil, err
	}
	b, now := NewRows(), time.Now()
	for i := range s.rows.Len() {
		row := s.rows.Index(i)
		if row.Kind() == reflect.Pointer {
			if row.IsNil() {
				return nil, &InvalidError{Message: fmt.Sprintf("row %d is nil", i+1)}
			}
			row = row.Elem()
		}
		at := now
		for _, f := range fields {
			f.put(b, row, &at)
		}
		b.At(at)
	}
	return b, b.Err()
}

// structField is a field that is a column.
type structField struct {
	index     []int
	name      string
	omitEmpty bool
	set       func(b *Builder, name string, v reflect.Value) // nil: it is the timestamp
}

func (f *structField) put(b *Builder, row reflect.Value, at *time.Time) {
	v := row.FieldByIndex(f.index)
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch {
	case f.set == nil:
		if t := v.Interface().(time.Time); !t.IsZero() {
			*at = t
		}
	case !f.omitEmpty || !v.IsZero():
		f.set(b, f.name, v)
	}
}

// columnsOf reads a struct's tags.
func columnsOf(t reflect.Type) ([]structField, error) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil, &InvalidError{Message: fmt.Sprintf("rows of type %s: a struct is wanted", t)}
	}
	var fields []structField
	for _, f := range reflect.VisibleFields(t) {
		tag, ok := f.Tag.Lookup("braid")
		if !ok || tag == "-" {
			continue
		}
		field, err := newStructField(f, tag)
		if err != nil {
			return nil, &InvalidError{Message: fmt.Sprintf("field %s of %s: %v", f.Name, t, err)}
		}
		fields = append(fields, field)
	}
	if len(fields) == 0 {
		return nil, &InvalidError{Message: fmt.Sprintf("no field of %s has a tag `braid:\"…\"`", t)}
	}
	return fields, nil
}

func newStructField(f reflect.StructField, tag string) (structField, error) {
	name, options, _ := strings.Cut(tag, ",")
	field := structField{index: f.Index, name: name}
	symbol, timestamp := false, false
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "":
		case "symbol":
			symbol = true
		case "timestamp":
			timestamp = true
		case "omitempty":
			field.omitEmpty = true
		default:
			return field, fmt.Errorf("unknown option %q in its tag", option)
		}
	}
	t := f.Type
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	isTime := t == reflect.TypeFor[time.Time]()
	switch {
	case !f.IsExported():
		return field, fmt.Errorf("it is not exported")
	case timestamp != isTime:
		return field, fmt.Errorf("a time.Time is tagged `braid:\",timestamp\"`, and nothing else is")
	case timestamp:
		return field, nil
	case name == "":
		return field, fmt.Errorf("its tag names no column")
	case symbol && t.Kind() != reflect.String:
		return field, fmt.Errorf("only a string can be a symbol")
	}
	if field.set = setter(t.Kind(), symbol); field.set == nil {
		return field, fmt.Errorf("type %s is no column's", f.Type)
	}
	return field, nil
}

func setter(kind reflect.Kind, symbol bool) func(*Builder, string, reflect.Value) {
	switch kind {
	case reflect.String:
		if symbol {
			return func(b *Builder, name string, v reflect.Value) { b.Symbol(name, v.String()) }
		}
		return func(b *Builder, name string, v reflect.Value) { b.String(name, v.String()) }
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(b *Builder, name string, v reflect.Value) { b.Int64(name, v.Int()) }
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return func(b *Builder, name string, v reflect.Value) { b.Uint64(name, v.Uint()) }
	case reflect.Float32, reflect.Float64:
		return func(b *Builder, name string, v reflect.Value) { b.Float64(name, v.Float()) }
	case reflect.Bool:
		return func(b *Builder, name string, v reflect.Value) { b.Bool(name, v.Bool()) }
	}
	return nil
}
