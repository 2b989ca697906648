package columnar_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
)

// TestI8_BatchesRememberNothingOfEarlierUses gives batches back and takes them again with other
// columns: the same ones, fewer, in another order, of other types, and refused ones.
func TestI8_BatchesRememberNothingOfEarlierUses(t *testing.T) {
	types := []api.ColumnType{api.Tag, api.Int64, api.Float64, api.String}
	r := rand.New(rand.NewPCG(1, 2))
	for use := range 5000 {
		b := columnar.NewBatch("t", nil)
		var want []api.Column
		at := map[string]api.ColumnType{}
		for range r.IntN(8) {
			name, kind := fmt.Sprintf("c%d", r.IntN(6)), types[0]
			if r.IntN(4) == 0 {
				kind = types[r.IntN(len(types))]
			}
			if n := len(want); r.IntN(2) == 0 { // in the usual order
				name = fmt.Sprintf("c%d", n)
			}
			c, err := b.Column([]byte(name), kind, 1)
			known, there := at[name]
			switch {
			case there && known != kind:
				if err == nil {
					t.Fatalf("use %d: %s is %s and taken for %s", use, name, known, kind)
				}
				continue
			case err != nil:
				t.Fatalf("use %d: %v", use, err)
			case c.Name != name || c.Type != kind:
				t.Fatalf("use %d: asked for %s %s, got %s %s", use, name, kind, c.Name, c.Type)
			case !there:
				at[name] = kind
				want = append(want, api.Column{Name: name, Type: kind})
			}
		}
		got := b.Columns()
		if len(got) != len(want) {
			t.Fatalf("use %d: columns %v, want %v", use, got, want)
		}
		for i := range got {
			if got[i].Column != want[i] {
				t.Fatalf("use %d: columns %v, want %v", use, got, want)
			}
		}
		if _, err := b.Column([]byte("timestamp"), api.Int64, 1); err == nil {
			t.Fatalf("use %d: the reserved name is taken", use)
		}
		b.Release()
	}
}

// TestTagsKeepTheirCodesAsDictionariesGrow crosses the sizes at which values are looked for another
// way.
func TestTagsKeepTheirCodesAsDictionariesGrow(t *testing.T) {
	for _, n := range []int{1, 7, 8, 9, 10, 31, 32, 33, 1000} {
		b := columnar.NewBatch("t", nil)
		c, err := b.Column([]byte("tag"), api.Tag, 1)
		if err != nil {
			t.Fatal(err)
		}
		for row := range 2 * n {
			c.PutTag(row, fmt.Appendf(nil, "v%d", row%n))
			if int(c.LastCode()) != row%n {
				t.Fatalf("%d values: value %d has code %d", n, row%n, c.LastCode())
			}
		}
		b.Release()
	}
}
