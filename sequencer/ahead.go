package sequencer

import "github.com/seed-551dd829/braid/sequencer/kv"

// readAhead asks a store on the other side of a network for what a commit is going to read, in two journeys: first
// what requests name, then what is found under the numbers that came back. Without it a transaction of many groups
// would wait for each of its reads in turn. It decides nothing; what it leaves out is read when it is needed.
func readAhead(t kv.Txn, shard int, requests []*Request) error {
	ahead, ok := t.(kv.Ahead)
	if !ok {
		return nil
	}
	ahead.ReadAhead(named(shard, requests), nil)
	keys, spans, err := numbered(t, requests)
	if err != nil {
		return err
	}
	ahead.ReadAhead(keys, spans)
	return nil
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
func numbered(r kv.Reader, requests []*Request) (keys [][]byte, spans []kv.Span, err error) {
	for _, q := range requests {
		for i := range q.Groups {
			g := &q.Groups[i]
			tbl, err := getTable(r, g.Table)
			if err != nil {
				return nil, nil, err
			}
			if tbl.id == 0 {
				continue
			}
			if n := uint64(g.Fingerprint.Columns()); n > 0 && n <= tbl.columns {
				keys = append(keys, appendColumnKey(nil, tbl.id, n-1))
			}
			for _, id := range producersOf(g) {
				p, err := getProducer(r, id)
				if err != nil {
					return nil, nil, err
				}
				if p != nil {
					spans = append(spans, answersOf(sequencesOf{p.incarnation, tbl.id}))
				}
			}
			for k := range g.Writes {
				if key := g.Writes[k].Key; key != "" {
					keys = append(keys, appendPlainKey(nil, tbl.id, key))
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
