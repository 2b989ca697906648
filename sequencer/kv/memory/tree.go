package memory

// node is a treap's node. Nodes are never changed: an operation copies the path to what it changes, so that every
// root is a snapshot for as long as someone holds it. Priorities are a hash of the key, which makes the tree's shape
// a function of its keys alone.
type node struct {
	key         string
	value       []byte
	priority    uint64
	left, right *node
}

func priority(key string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd // FNV's high bits depend too little on the last bytes
	return h ^ h>>33
}

func (n *node) get(key []byte) []byte {
	for n != nil {
		switch {
		case string(key) < n.key:
			n = n.left
		case string(key) > n.key:
			n = n.right
		default:
			return n.value
		}
	}
	return nil
}

// split returns the keys below key, and the others.
func split[K ~string | ~[]byte](n *node, key K) (below, rest *node) {
	if n == nil {
		return nil, nil
	}
	c := *n
	if n.key < string(key) {
		c.right, rest = split(n.right, key)
		return &c, rest
	}
	below, c.left = split(n.left, key)
	return below, &c
}

// merge joins two trees, all keys of a below those of b.
func merge(a, b *node) *node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		c := *a
		c.right = merge(a.right, b)
		return &c
	}
	c := *b
	c.left = merge(a, b.left)
	return &c
}

func (n *node) set(key string, value []byte, p uint64) *node {
	switch {
	case n == nil || p > n.priority:
		below, rest := split(n, key)
		return &node{key: key, value: value, priority: p, left: below, right: rest}
	case key == n.key:
		c := *n
		c.value = value
		return &c
	}
	c := *n
	if key < n.key {
		c.left = n.left.set(key, value, p)
	} else {
		c.right = n.right.set(key, value, p)
	}
	return &c
}

func (n *node) clearRange(begin, end string) *node {
	if begin >= end {
		return n
	}
	below, rest := split(n, begin)
	_, above := split(rest, end)
	return merge(below, above)
}

// walk visits begin <= key < end in order, or backwards, until visit returns false.
func (n *node) walk(begin, end []byte, reverse bool, visit func(*node) bool) bool {
	if n == nil {
		return true
	}
	low, high := n.key >= string(begin), n.key < string(end)
	first, second := n.left, n.right
	goFirst, goSecond := low, high
	if reverse {
		first, second, goFirst, goSecond = second, first, goSecond, goFirst
	}
	if goFirst && !first.walk(begin, end, reverse, visit) {
		return false
	}
	if low && high && !visit(n) {
		return false
	}
	return !goSecond || second.walk(begin, end, reverse, visit)
}
