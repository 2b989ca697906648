//go:build fdb

package sequencer

import (
	"testing"

	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/fdb"
	"github.com/seed-551dd829/braid/sequencer/kv/fdb/fdbtest"
)

func init() {
	benchmarkedStores["fdb"] = func(b *testing.B) kv.Store {
		store, err := fdb.Open(fdb.Options{ClusterFile: fdbtest.Start(b).ClusterFile})
		if err != nil {
			b.Fatal(err)
		}
		return store
	}
}
