package sequencer

import (
	"sync"

	"github.com/seed-551dd829/braid/sequencer/kv"
)

// readAhead asks a store on the other side of a network for what a commit is going to read, in two journeys: first
// what requests name, then what is found under the numbers that came back. With the numbers that n remembers of earlier
// commits all of it is asked for in the first. Without it a transaction of many groups would wait for each of its reads
// in turn. It decides nothing: what it leaves out is read when it is needed, and what was wrongly guessed is not used.
func readAhead(t kv.Txn, shard int, requests []*Request, n *Numbers) error {
	ahead, ok := t.(kv.Ahead)
	if !ok {
		return nil
	}
	keys, spans, err := numbered(n, requests)
	if err != nil {
		return err
	}
	ahead.ReadAhead(append(named(shard, requests), keys...), spans)
	if keys, spans, err = numbered(learning{t, n}, requests); err != nil {
		return err
	}
	ahead.ReadAhead(keys, spans)
	return nil
}

// Numbers remembers which numbers tables and incarnations of producers have, so that what lies under them can be read
// before they have been read. Nothing is decided by what it remembers. The nil Numbers remembers nothing. It is safe for
// concurrent use.
type Numbers struct {
	mu        sync.Mutex
	tables    map[string]uint64
	producers map[string]uint64
}

// NewNumbers returns what has no memory yet.
func NewNumbers() *Numbers {
	return &Numbers{tables: make(map[string]uint64), producers: make(map[string]uint64)}
}

// numbersMax bounds how many tables, and how many producers, are remembered: about a megabyte. Past it all are learned
// anew.
const numbersMax = 1 << 13

func (n *Numbers) table(name string) (id uint64, err error) {
	if n != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		id = n.tables[name]
	}
	return id, nil
}

func (n *Numbers) incarnation(producer string) (number uint64, err error) {
	if n != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		number = n.producers[producer]
	}
	return number, nil
}

func (n *Numbers) learn(of map[string]uint64, name string, number uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(of) >= numbersMax {
		clear(of)
	}
	of[name] = number
}

// learning reads numbers from the store, and has them remembered.
type learning struct {
	kv.Reader
	memory *Numbers
}

func (l learning) table(name string) (id uint64, err error) {
	t, err := getTable(l.Reader, name)
	if err == nil && t.id != 0 && l.memory != nil {
		l.memory.learn(l.memory.tables, name, t.id)
	}
	return t.id, err
}

func (l learning) incarnation(producer string) (number uint64, err error) {
	p, err := getProducer(l.Reader, producer)
	if err != nil || p == nil {
		return 0, err
	}
	if l.memory != nil {
		l.memory.learn(l.memory.producers, producer, p.incarnation)
	}
	return p.incarnation, nil
}

// numbers tells the number of a table, and of a producer's incarnation; 0 is one that there is not.
type numbers interface {
	table(name string) (uint64, error)
	incarnation(producer string) (uint64, error)
}

// named lists the keys that requests name: nodes, tables, producers, and what every commit reads.
func named(shard int, requests []*Request) [][]byte {
	keys := [][]byte{appendNumbers(nil, kindTick), appendNumbers(nil, kindLogHead, uint64(shard))}
	for _, r := range requests {
		keys = append(keys, appendName(nil, kindNode, r.Node))
		for i := range r.Groups {
			g := &r.Groups[i]
			keys = append(keys, appendName(nil, kindTable, g.Table))
			for _, producer := range producersOf(g) {
				keys = append(keys, appendName(nil, kindProducer, producer))
			}
		}
	}
	return keys
}

// producersOf lists the producers of a group and its writes, neighbours of one name once.
func producersOf(g *Group) (ids []string) {
	add := func(id string) {
		if id != "" && (len(ids) == 0 || ids[len(ids)-1] != id) {
			ids = append(ids, id)
		}
	}
	add(g.ID.Producer)
	for i := range g.Writes {
		add(g.Writes[i].ID.Producer)
	}
	return ids
}

// numbered lists what lies under the numbers of tables and incarnations: columns, answers, plain keys.
func numbered(of numbers, requests []*Request) (keys [][]byte, spans []kv.Span, err error) {
	for _, q := range requests {
		for i := range q.Groups {
			g := &q.Groups[i]
			table, err := of.table(g.Table)
			if err != nil {
				return nil, nil, err
			}
			if table == 0 {
				continue
			}
			if n := uint64(g.Fingerprint.Columns()); n > 0 {
				keys = append(keys, appendColumnKey(nil, table, n-1))
			}
			for _, id := range producersOf(g) {
				incarnation, err := of.incarnation(id)
				if err != nil {
					return nil, nil, err
				}
				if incarnation != 0 {
					spans = append(spans, answersOf(sequencesOf{incarnation, table}))
				}
			}
			for k := range g.Writes {
				if key := g.Writes[k].Key; key != "" {
					keys = append(keys, appendPlainKey(nil, table, key))
				}
			}
		}
	}
	return keys, spans, nil
}

// answersOf is where a producer's answers for a table lie, and settled before them.
func answersOf(of sequencesOf) kv.Span {
	prefix := appendNumbers(nil, kindAnswer, of.incarnation, of.table)
	return kv.Span{Begin: prefix, End: successor(prefix)}
}
