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
	keys, spans, err := numbered(n.recall, requests)
	if err != nil {
		return err
	}
	ahead.ReadAhead(append(named(shard, requests), keys...), spans)
	if keys, spans, err = numbered(n.from(t), requests); err != nil {
		return err
	}
	ahead.ReadAhead(keys, spans)
	return nil
}

// numberOf tells the number of a table (kindTable) or of a producer's incarnation (kindProducer); 0 if there is none.
type numberOf func(k kind, name string) (uint64, error)

// Numbers remembers which numbers tables and incarnations of producers have, so that what lies under them can be read
// before they have been read. Nothing is decided by what it remembers. The nil Numbers remembers nothing. It is safe for
// concurrent use.
type Numbers struct {
	mu     sync.Mutex
	byName map[numberKey]uint64
}

type numberKey struct {
	kind kind
	name string
}

// NewNumbers returns what has no memory yet.
func NewNumbers() *Numbers { return &Numbers{byName: make(map[numberKey]uint64)} }

// numbersMax bounds what is remembered: about a megabyte. Past it all is learned anew.
const numbersMax = 1 << 14

// recall is a numberOf that knows what is remembered.
func (n *Numbers) recall(k kind, name string) (uint64, error) {
	if n == nil {
		return 0, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byName[numberKey{k, name}], nil
}

func (n *Numbers) learn(k kind, name string, number uint64) {
	if n == nil || number == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.byName) >= numbersMax {
		clear(n.byName)
	}
	n.byName[numberKey{k, name}] = number
}

// from is a numberOf that reads the store, and has what it finds remembered.
func (n *Numbers) from(r kv.Reader) numberOf {
	return func(k kind, name string) (uint64, error) {
		number, err := getNumberOf(r, k, name)
		if err == nil {
			n.learn(k, name, number)
		}
		return number, err
	}
}

func getNumberOf(r kv.Reader, k kind, name string) (uint64, error) {
	if k == kindTable {
		t, err := getTable(r, name)
		return t.id, err
	}
	p, err := getProducer(r, name)
	if err != nil || p == nil {
		return 0, err
	}
	return p.incarnation, nil
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
func numbered(of numberOf, requests []*Request) (keys [][]byte, spans []kv.Span, err error) {
	for _, q := range requests {
		for i := range q.Groups {
			g := &q.Groups[i]
			table, err := of(kindTable, g.Table)
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
				incarnation, err := of(kindProducer, id)
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
