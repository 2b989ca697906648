package columnar_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/seed-551dd829/braid/internal/columnar"
)

// againstJSON compares ParseNDJSON with encoding/json: whatever it takes, encoding/json reads as
// the same number of objects. The other way round encoding/json is laxer (keys twice, lone
// surrogates, bad UTF-8, nesting, large integers), so that only objects of plain values are
// expected to be taken.
func againstJSON(t *testing.T, data []byte) {
	b, err := columnar.ParseNDJSON(data, "m", 0)
	objects, plain := 0, true
	for line := range bytes.SplitSeq(data, []byte{'\n'}) {
		if len(bytes.Trim(line, " \t\r")) == 0 {
			continue
		}
		objects++
		var row map[string]any
		if e := json.Unmarshal(line, &row); e != nil || row == nil {
			if err == nil {
				t.Fatalf("taken, but encoding/json says: %v", e)
			}
			return
		}
		for name, v := range row {
			switch v.(type) {
			case bool, nil:
				plain = plain && name != "timestamp"
			default:
				plain = false
			}
		}
		plain = plain && bytes.Count(line, []byte{':'}) == len(row) && objects == 1 && names(row)
	}
	if err != nil {
		if plain {
			t.Fatalf("refused: %v", err)
		}
		return
	}
	defer b.Release()
	if b.Rows() != objects {
		t.Fatalf("%d rows of %d objects", b.Rows(), objects)
	}
	if _, e := b.Missing(schemaOf(t)); e != nil {
		return // whole numbers, then fractions
	}
	schema := schemaFor(t, b)
	group := encode(t, schema, b)
	if e := columnar.Validate(group, schema, objects); e != nil {
		t.Fatal(e)
	}
}

// names says whether all names are columns' names for certain.
func names(row map[string]any) bool {
	for name := range row {
		for _, c := range name {
			if c < 'a' || c > 'z' {
				return false
			}
		}
		if name == "" || len(name) > 100 {
			return false
		}
	}
	return true
}
