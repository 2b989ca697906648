package replicator

import "testing"

// TestHintsJoin: joined hints say as much as each of them; that the log was looked at only counts if nothing else came.
func TestHintsJoin(t *testing.T) {
	for _, c := range []struct{ a, b, want Hint }{
		{Hint{Head: 5}, Hint{Head: 3}, Hint{Head: 5}},
		{Hint{Head: 5, Changed: 9}, Hint{Changed: 4}, Hint{Head: 5, Changed: 4}},
		{Hint{Changed: 4}, Hint{Head: 7}, Hint{Head: 7, Changed: 4}},
		{Hint{}, Hint{Looked: true}, Hint{}},
		{Hint{Head: 5, Looked: true}, Hint{Head: 6, Looked: true}, Hint{Head: 6, Looked: true}},
		{Hint{Head: 5}, Hint{Head: 6, Looked: true}, Hint{Head: 6}},
	} {
		if got := c.a.And(c.b); got != c.want {
			t.Errorf("%+v and %+v: %+v, want %+v", c.a, c.b, got, c.want)
		}
		if got := c.b.And(c.a); got != c.want {
			t.Errorf("%+v and %+v: %+v, want %+v", c.b, c.a, got, c.want)
		}
		h := newHints()
		h.add(c.a)
		if got, ok := h.take(); !ok || got != c.a {
			t.Errorf("%+v alone: %+v, %v", c.a, got, ok)
		}
		h.add(c.a)
		h.add(c.b)
		if got, ok := h.take(); !ok || got != c.want {
			t.Errorf("%+v, then %+v: %+v, %v", c.a, c.b, got, ok)
		}
	}
}
