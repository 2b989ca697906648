package disk

import (
	"bytes"
	"io/fs"
	"slices"
	"time"
)

// node is an inode of a Memory: a file or a directory, as it is and as a crash would leave it.
type node struct {
	dir bool

	// A file's bytes, those that the last Sync made durable, and the ranges that a failed Sync lost
	// for good.
	data     []byte
	synced   []byte
	lost     []span
	modified time.Time

	// A directory's entries, those that the last SyncDir made durable, and the changes since, in
	// order.
	entries map[string]*node
	durable map[string]*node
	pending []change
}

type span struct{ from, to int }

// change is one atomic change of a directory: an entry put, an entry dropped, or both (a rename in
// place).
type change struct {
	put  string
	node *node
	drop string
}

func newDir() *node {
	return &node{dir: true, entries: map[string]*node{}, durable: map[string]*node{}}
}

func (c change) apply(entries map[string]*node) {
	if c.drop != "" {
		delete(entries, c.drop)
	}
	if c.put != "" {
		entries[c.put] = c.node
	}
}

func (n *node) change(c change) {
	c.apply(n.entries)
	n.pending = append(n.pending, c)
}

func (n *node) syncDir() {
	for _, c := range n.pending {
		c.apply(n.durable)
	}
	n.pending = nil
}

func (n *node) sync() {
	n.synced = append(n.synced[:0:0], n.data...)
	for _, s := range n.lost {
		clear(n.synced[min(s.from, len(n.synced)):min(s.to, len(n.synced))])
	}
}

// failSync marks the bytes that were waiting for a sync as lost: the system has dropped them from
// its list of what is still to be written, so a later sync returns nil without writing them.
func (n *node) failSync() {
	if len(n.data) > len(n.synced) {
		n.lost = append(n.lost, span{len(n.synced), len(n.data)})
	}
}

// forget drops what was lost behind size: whatever is written there later is new.
func (n *node) forget(size int) {
	for i := range n.lost {
		n.lost[i].from, n.lost[i].to = min(n.lost[i].from, size), min(n.lost[i].to, size)
	}
}

// crash leaves what is durable, and if c says so a random part of the rest. done keeps a file with
// two names from being visited twice.
func (n *node) crash(c *crash, done map[*node]bool) {
	if done[n] {
		return
	}
	done[n] = true
	if !n.dir {
		n.crashFile(c)
		return
	}
	if c.random != nil {
		for _, change := range n.pending[:c.random.IntN(len(n.pending)+1)] {
			change.apply(n.durable)
		}
	}
	n.pending = nil
	n.entries = make(map[string]*node, len(n.durable))
	names := make([]string, 0, len(n.durable))
	for name, child := range n.durable {
		n.entries[name] = child
		names = append(names, name)
	}
	slices.Sort(names) // the order draws the random numbers
	for _, name := range names {
		n.durable[name].crash(c, done)
	}
}

func (n *node) crashFile(c *crash) {
	kept := append([]byte(nil), n.synced...)
	extra := len(n.data) - len(kept)
	if c.random != nil && extra > 0 && bytes.HasPrefix(n.data, kept) {
		tail := n.data[len(kept):][:c.random.IntN(extra+1)]
		start := len(kept)
		kept = append(kept, tail...)
		if len(tail) > 0 && c.random.IntN(4) == 0 { // the length got through, the end did not
			clear(kept[start+c.random.IntN(len(tail)):])
		}
	}
	n.data, n.synced, n.lost = kept, append([]byte(nil), kept...), nil
}

func (n *node) info(name string) fs.FileInfo {
	return nodeInfo{name: name, size: int64(len(n.data)), dir: n.dir, modified: n.modified, node: n}
}

// used is the size of all files below n.
func (n *node) used(done map[*node]bool) (bytes int64) {
	if done[n] {
		return 0
	}
	done[n] = true
	bytes = int64(len(n.data))
	for _, child := range n.entries {
		bytes += child.used(done)
	}
	return bytes
}

type nodeInfo struct {
	name     string
	size     int64
	dir      bool
	modified time.Time
	node     *node
}

func (i nodeInfo) Name() string       { return i.name }
func (i nodeInfo) Size() int64        { return i.size }
func (i nodeInfo) ModTime() time.Time { return i.modified }
func (i nodeInfo) IsDir() bool        { return i.dir }
func (i nodeInfo) Sys() any           { return i.node }
func (i nodeInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
