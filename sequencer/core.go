// Package sequencer is the only place with shared state: it assigns TxIDs, keeps the commit logs, schemas, identities
// and the registry, as one transactional layer over an ordered key-value store.
//
// The core decides: functions over one kv.Txn or kv.Reader and plain arguments, without goroutine, clock or chance
// (core.go and the files beside it). A function of the core that refuses, with an *api.Error, has written nothing, so
// that several requests can share a transaction. The shell (service.go) speaks NATS and gathers waiting requests into
// transactions. Any number of instances may run on one store; correctness comes from its transactions alone.
package sequencer

import (
	"errors"
	"fmt"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// Core holds what the decisions depend on besides the store. Times are in ticks: see Tick.
type Core struct {
	Shards int
	// KeyWindow is how long a plain key is remembered, from its first write.
	KeyWindow uint64
	// ProducerIdle is how long a producer is remembered that neither renews nor writes.
	ProducerIdle uint64
	// Numbers saves commits a journey to a store that is far away; nil saves none. No decision depends on it.
	Numbers *Numbers
}

// Cluster is what was fixed when the cluster was created.
type Cluster struct {
	ID     string
	Shards int
}

// ErrLayout says that the store has a layout that this version does not know.
var ErrLayout = errors.New("unknown layout of the store")

// Open reads the cluster that lives in the store, or creates one in an empty store, under the given id and number of
// shards. It refuses a store with a layout that it does not know.
func Open(t kv.Txn, id string, shards int) (Cluster, error) {
	raw, err := t.Get(appendNumbers(nil, kindLayout))
	if err != nil {
		return Cluster{}, err
	}
	if raw == nil {
		if err := checkEmpty(t); err != nil {
			return Cluster{}, err
		}
		t.Set(appendNumbers(nil, kindLayout), []byte{'b', 'r', 'a', 'i', 'd', layoutVersion})
		t.Set(appendNumbers(nil, kindCluster), appendText(newValue(uint64(shards)), id))
		return Cluster{ID: id, Shards: shards}, nil
	}
	if err := checkLayout(raw); err != nil {
		return Cluster{}, err
	}
	return getCluster(t)
}

// checkLayout reads a layout's mark.
func checkLayout(raw []byte) error {
	if len(raw) != 6 || string(raw[:5]) != "braid" {
		return fmt.Errorf("%w: %x is not Braid's mark", ErrLayout, raw)
	}
	if raw[5] != layoutVersion {
		return fmt.Errorf("%w: it has version %d, this program knows version %d; run the version of Braid "+
			"that wrote it", ErrLayout, raw[5], layoutVersion)
	}
	return nil
}

func checkEmpty(t kv.Txn) error {
	pairs, err := t.Range([]byte{0}, []byte{0xff}, 1, false)
	if err == nil && len(pairs) > 0 {
		err = fmt.Errorf("%w: it has keys, %x for one, but no layout's mark; give the sequencer an empty store or the "+
			"one that it had before", ErrLayout, pairs[0].Key)
	}
	return err
}

func getCluster(r kv.Reader) (Cluster, error) {
	raw, err := r.Get(appendNumbers(nil, kindCluster))
	if err != nil {
		return Cluster{}, err
	}
	v := openValue(raw)
	c := Cluster{Shards: int(v.number()), ID: v.text()}
	return c, v.end("cluster")
}

func invalid(format string, args ...any) error { return api.Errorf(api.Invalid, format, args...) }
