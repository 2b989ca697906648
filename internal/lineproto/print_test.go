package lineproto

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
)

// printBatch prints an entry's rows as the oracle does, after a round through a group.
func printBatch(tb testing.TB, e Entry) string {
	tb.Helper()
	missing, bad := e.Batch.Missing(api.Schema{})
	if bad != nil {
		tb.Fatal(bad)
	}
	schema, err := api.NewSchema(append([]api.Column{{Name: api.TimestampColumn, Type: api.Timestamp}}, missing...))
	if err != nil {
		tb.Fatal(err)
	}
	group, err := columnar.Encode(nil, schema, []*columnar.Batch{e.Batch})
	if err != nil {
		tb.Fatal(err)
	}
	if err := columnar.Validate(group, schema, e.Batch.Rows()); err != nil {
		tb.Fatal(err)
	}
	rows, err := columnar.Decode(group, schema)
	if err != nil {
		tb.Fatal(err)
	}
	defer rows.Release()
	var b strings.Builder
	for i := range rows.Len() {
		fmt.Fprintf(&b, "{%v", rows.Value(0, i))
		for k, c := range schema.Columns()[1:] {
			if rows.IsNull(k+1, i) {
				continue
			}
			v := rows.Value(k+1, i)
			if s, ok := v.(string); ok {
				v = strconv.Quote(s)
			}
			fmt.Fprintf(&b, " %q=%v", c.Name, v)
		}
		b.WriteString("}\n")
	}
	return b.String()
}
