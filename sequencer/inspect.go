package sequencer

import (
	"bytes"
	"context"
	"fmt"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// Inspection is what a store holds, as far as an operator asks.
type Inspection struct {
	Cluster    string `json:"cluster"`
	Tick       uint64 `json:"tick"`
	TickHolder string `json:"tick_holder"` // the instance that bumps the ticks
	Epoch      uint64 `json:"epoch"`       // the last one that was given
	Topology   uint64 `json:"topology"`    // its version

	Nodes  []InspectedNode  `json:"nodes"`
	Logs   []InspectedLog   `json:"logs"` // by shard
	Tables []InspectedTable `json:"tables"`

	Producers Expiring `json:"producers"`
	Keys      Expiring `json:"keys"`
	Leftovers int      `json:"leftovers"` // expired producers whose answers are not cleared yet
}

// InspectedNode is a node as registered.
type InspectedNode struct {
	api.Node
	Fenced bool `json:"fenced"`
}

// InspectedLog is one shard's commit log: it holds the records 1 to Head.
type InspectedLog struct {
	Shard       int    `json:"shard"`
	Head        uint64 `json:"head"`
	Unconfirmed int    `json:"unconfirmed"` // records whose segment is not in the object store yet
}

// InspectedTable is a table with the shard that its commits are in.
type InspectedTable struct {
	api.TableHead
	Shard int `json:"shard"`
}

// Expiring counts what is remembered for a time.
type Expiring struct {
	Count int    `json:"count"`
	First uint64 `json:"first,omitempty"` // the tick at which the first of them expires
}

// Inspect reads the store and writes nothing. It reads in many small transactions, so that it holds nobody up; while
// the cluster works, its parts may be of different moments. It fails on a store without a cluster.
func Inspect(ctx context.Context, store kv.Store) (Inspection, error) {
	var found Inspection
	err := store.View(ctx, func(r kv.Reader) (err error) {
		found, err = inspectFixed(r)
		return err
	})
	if err != nil {
		return found, err
	}
	for _, part := range []struct {
		kind kind
		each func(parts, []byte) error
	}{
		{kindNode, found.node}, {kindTable, found.table}, {kindUnstored, found.unconfirmed},
		{kindIdle, found.Producers.add}, {kindPlainIdle, found.Keys.add},
		{kindLeftover, func(parts, []byte) error { found.Leftovers++; return nil }},
	} {
		if err := scan(ctx, store, part.kind, part.each); err != nil {
			return found, err
		}
	}
	return found, nil
}

func inspectFixed(r kv.Reader) (found Inspection, err error) {
	mark, err := r.Get(appendNumbers(nil, kindLayout))
	if err != nil {
		return found, err
	}
	if mark == nil {
		return found, fmt.Errorf("%w: the store holds no cluster", ErrLayout)
	}
	if err := checkLayout(mark); err != nil {
		return found, err
	}
	cluster, err := getCluster(r)
	if err != nil {
		return found, err
	}
	lease, err := getLease(r, api.TicksLease)
	if err != nil {
		return found, err
	}
	found.Cluster, found.TickHolder = cluster.ID, lease.Holder
	for number, k := range map[*uint64]kind{&found.Tick: kindTick, &found.Epoch: kindEpoch, &found.Topology: kindTopology} {
		if *number, err = getNumber(r, appendNumbers(nil, k)); err != nil {
			return found, err
		}
	}
	for shard := range cluster.Shards {
		head, err := getNumber(r, appendNumbers(nil, kindLogHead, uint64(shard)))
		if err != nil {
			return found, err
		}
		found.Logs = append(found.Logs, InspectedLog{Shard: shard, Head: head})
	}
	return found, nil
}

// scanPairs bounds one transaction of a scan.
const scanPairs = 1000

// scan calls each for all keys of a kind.
func scan(ctx context.Context, store kv.Store, k kind, each func(parts, []byte) error) error {
	next, end := []byte{byte(k)}, []byte{byte(k) + 1}
	for next != nil {
		pairs, err := page(ctx, store, next, end)
		if err != nil {
			return err
		}
		for _, p := range pairs {
			key, err := parseKey(p.Key)
			if err != nil {
				return err
			}
			if err := each(key, p.Value); err != nil {
				return err
			}
		}
		if next = nil; len(pairs) == scanPairs {
			next = append(pairs[len(pairs)-1].Key, 0)
		}
	}
	return nil
}

// page returns copies of the first pairs from begin on.
func page(ctx context.Context, store kv.Store, begin, end []byte) (pairs []kv.Pair, err error) {
	err = store.View(ctx, func(r kv.Reader) error {
		found, err := r.Range(begin, end, scanPairs, false)
		pairs = pairs[:0] // the store may run this again
		for _, p := range found {
			pairs = append(pairs, kv.Pair{Key: bytes.Clone(p.Key), Value: bytes.Clone(p.Value)})
		}
		return err
	})
	return pairs, err
}

func (i *Inspection) node(key parts, raw []byte) error {
	n, err := decodeNode(key.name, raw)
	i.Nodes = append(i.Nodes, InspectedNode{n.Node, n.fenced})
	return err
}

func (i *Inspection) table(key parts, raw []byte) error {
	t, err := decodeTable(key.name, raw)
	i.Tables = append(i.Tables, InspectedTable{
		TableHead: api.TableHead{Name: key.name, Head: t.head, Columns: int(t.columns)},
		Shard:     api.Shard(key.name, len(i.Logs)),
	})
	return err
}

func (i *Inspection) unconfirmed(key parts, raw []byte) error {
	u, err := decodeUnstored(raw)
	if err != nil || u.void {
		return err
	}
	shard := key.numbers[2]
	if shard >= uint64(len(i.Logs)) {
		return fmt.Errorf("an unconfirmed record of shard %d: %w", shard, errKey)
	}
	i.Logs[shard].Unconfirmed++
	return nil
}

// add counts a key that begins with the tick of its expiry. They come in that order.
func (e *Expiring) add(key parts, _ []byte) error {
	if e.Count == 0 {
		e.First = key.numbers[0]
	}
	e.Count++
	return nil
}
