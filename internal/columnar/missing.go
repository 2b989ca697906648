package columnar

import (
	"github.com/seed-551dd829/braid/internal/api"
)

// Missing compares the batch with the table's schema (the zero Schema for a table that has none):
// missing are the columns that the schema must grow by. err is Invalid and names line, column and
// both types if a column of the batch has another type in the schema, or if the table would have
// too many columns.
//
// Values of NDJSON become what the schema has: whole numbers in a float64 column are floats,
// strings in a tag column are tags. It may be called again with a newer schema.
func (b *Batch) Missing(schema api.Schema) (missing []api.Column, err *api.Error) {
	columns := schema.Columns()
	for i, c := range b.columns {
		at, ok := find(schema, i+1, c.Name)
		if !ok {
			if c.soft != nil && c.soft.floatLine != 0 {
				clash := typeClash(c.Name, api.Float64, api.Int64, c.FirstLine)
				return nil, clash.AtLine(c.soft.floatLine).InTable(b.table)
			}
			missing = append(missing, c.Column)
			continue
		}
		c.Name = columns[at].Name // the same memory: later comparisons end at once
		if err := c.become(columns[at].Type); err != nil {
			return nil, err.InTable(b.table)
		}
	}
	if n := max(schema.Len(), 1) + len(missing); n > api.ColumnsMax {
		e := api.Errorf(api.Invalid, "the table would have %d columns, at most %d are allowed", n, api.ColumnsMax)
		return nil, e.InTable(b.table)
	}
	return missing, nil
}

// become makes the column one of type t, if its values may be that.
func (c *Column) become(t api.ColumnType) *api.Error {
	line := c.FirstLine
	got := c.Type
	switch {
	case c.soft != nil && c.Type == api.Int64 && t == api.Float64:
		c.softFloats(c.n)
		c.words, c.soft, c.Type = c.soft.floats, nil, t
		return nil
	case c.soft != nil && c.Type == api.String && t == api.Tag:
		c.stringsToTags()
		return nil
	case c.soft != nil && c.soft.floatLine != 0:
		got, line = api.Float64, c.soft.floatLine
	case c.Type == t:
		return nil
	}
	e := api.Errorf(api.Invalid, "column %q of the table is %s, the value is %s", c.Name, t, got)
	if line > 0 {
		e = e.AtLine(line)
	}
	return e
}

// find is schema.Index with a guess: most batches have the schema's columns in its order.
func find(schema api.Schema, guess int, name string) (int, bool) {
	if columns := schema.Columns(); guess < len(columns) && columns[guess].Name == name {
		return guess, true
	}
	return schema.Index(name)
}

func (c *Column) stringsToTags() {
	for row := range c.n {
		var code uint32
		if !c.isNull(row) {
			code = c.dict.code(c.data[c.offs[row]:c.offs[row+1]])
		}
		c.codes = append(c.codes, code)
	}
	c.Type, c.soft, c.offs, c.data = api.Tag, nil, c.offs[:0], c.data[:0]
}

// SmallestPrefix returns the shortest prefix of schema that has all columns of the batches, so that
// a group names no column that it does not need.
func SmallestPrefix(schema api.Schema, batches []*Batch) api.Schema {
	n := 1
	for _, b := range batches {
		for i, c := range b.columns {
			if i, ok := find(schema, i+1, c.Name); ok {
				n = max(n, i+1)
			}
		}
	}
	if n >= schema.Len() {
		return schema
	}
	p, _ := schema.Prefix(schema.Fingerprint(n))
	return p
}
