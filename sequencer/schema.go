package sequencer

import (
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// Schema reads a table's schema; it is empty for a table that has none.
func Schema(r kv.Reader, name string) (api.SchemaAnswer, error) {
	if err := api.CheckTable(name); err != nil {
		return api.SchemaAnswer{}, invalid("%v", err)
	}
	t, err := getTable(r, name)
	if err != nil || t.id == 0 {
		return api.SchemaAnswer{}, err
	}
	columns, _, err := getColumns(r, t.id)
	return api.SchemaAnswer{Columns: columns}, err
}

// getColumns returns all columns and the fingerprint that names them.
func getColumns(r kv.Reader, table uint64) ([]api.Column, api.Fingerprint, error) {
	prefix := appendNumbers(nil, kindColumn, table)
	pairs, err := r.Range(prefix, successor(prefix), 0, false)
	if err != nil {
		return nil, api.Fingerprint{}, err
	}
	columns, print := make([]api.Column, len(pairs)), api.Fingerprint{}
	for i, p := range pairs {
		c, err := decodeColumn(p.Value)
		if err != nil {
			return nil, api.Fingerprint{}, err
		}
		columns[i], print = c.Column, c.print
	}
	return columns, print, nil
}

// GrowSchema adds the columns that a table has not, and makes the table if need be. It is harmless when repeated.
// Refused with Invalid, and nothing changed: a bad name, an unknown type, a column of another type, too many columns.
func (c Core) GrowSchema(t kv.Txn, r api.SchemaRequest) (api.SchemaAnswer, error) {
	if err := api.CheckTable(r.Table); err != nil {
		return api.SchemaAnswer{}, invalid("%v", err)
	}
	tbl, err := getTable(t, r.Table)
	if err != nil {
		return api.SchemaAnswer{}, err
	}
	columns, print, err := getColumns(t, tbl.id)
	if err != nil {
		return api.SchemaAnswer{}, err
	}
	before := len(columns)
	if columns, err = grow(r.Table, columns, r.Columns); err != nil {
		return api.SchemaAnswer{}, err
	}
	if len(columns) == before {
		return api.SchemaAnswer{Columns: columns}, nil
	}
	if tbl.id == 0 {
		if tbl.id, err = increment(t, kindTableID); err != nil {
			return api.SchemaAnswer{}, err
		}
	}
	for i, added := range columns[before:] {
		print = print.Extend(added)
		col := column{Column: added, print: print}
		t.Set(appendColumnKey(nil, tbl.id, uint64(before+i)), col.encode())
	}
	tbl.columns = uint64(len(columns))
	t.Set(appendName(nil, kindTable, r.Table), tbl.encode())
	return api.SchemaAnswer{Columns: columns}, nil
}

// grow returns have with what it has not of want behind it.
func grow(table string, have, want []api.Column) ([]api.Column, error) {
	if len(want) > api.ColumnsMax {
		return nil, invalid("table %s: %d columns, at most %d are allowed", table, len(want), api.ColumnsMax)
	}
	types := make(map[string]api.ColumnType, len(have)+len(want))
	for _, c := range have {
		types[c.Name] = c.Type
	}
	if len(have) == 0 && len(want) > 0 {
		have = []api.Column{{Name: api.TimestampColumn, Type: api.Timestamp}}
	}
	for _, c := range want {
		if err := api.CheckColumn(c.Name); err != nil {
			return nil, invalid("table %s: %v", table, err)
		}
		switch known, there := types[c.Name]; {
		case c.Type < api.Tag || c.Type > api.String:
			return nil, invalid("table %s: column %q has the unknown type %d", table, c.Name, uint8(c.Type))
		case there && known != c.Type:
			return nil, invalid("table %s: column %q is %s, not %s", table, c.Name, known, c.Type)
		case !there:
			types[c.Name] = c.Type
			have = append(have, c)
		}
	}
	if len(have) > api.ColumnsMax {
		return nil, invalid("table %s: %d columns, at most %d are allowed, %s included",
			table, len(have), api.ColumnsMax, api.TimestampColumn)
	}
	return have, nil
}
