package sequencer

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/memory"
)

// TestInspectTellsWhatIsThere, also when it is more than one transaction reads.
func TestInspectTellsWhatIsThere(t *testing.T) {
	w := newMemoryWorld(t)
	epoch, f := w.node("p1", "1"), w.schema("cpu", "v", api.Int64)
	w.producer("gw", "1")
	const keys = scanPairs + 1
	for i := range keys {
		w.commit(w.request(api.CommitRequest{Node: "p1", Epoch: epoch,
			Groups: []api.CommitGroup{keyed("cpu", f, fmt.Sprint(i))}}))
	}
	pending := keyed("cpu", f, "pending")
	pending.State, pending.Holders = api.Pending, []string{"p1", "p2"}
	pending.Header = walHeader(t, pending.Header)
	w.commit(w.request(api.CommitRequest{Node: "p1", Epoch: epoch, Groups: []api.CommitGroup{pending}}))

	found, err := Inspect(t.Context(), w.store)
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Nodes) != 1 || found.Nodes[0].ID != "p1" || found.Nodes[0].Epoch != epoch || found.Nodes[0].Fenced {
		t.Errorf("nodes %+v", found.Nodes)
	}
	if len(found.Tables) != 1 || found.Tables[0].Name != "cpu" || found.Tables[0].Head != keys+1 {
		t.Errorf("tables %+v", found.Tables)
	}
	if len(found.Logs) != 1 || found.Logs[0] != (InspectedLog{Head: keys + 1, Unconfirmed: 1}) {
		t.Errorf("logs %+v", found.Logs)
	}
	if found.Producers.Count != 1 || found.Producers.First != w.core.ProducerIdle {
		t.Errorf("producers %+v", found.Producers)
	}
	if found.Keys.Count != keys+1 || found.Keys.First != w.core.KeyWindow {
		t.Errorf("keys %+v", found.Keys)
	}
	if found.Epoch < epoch || found.Cluster == "" {
		t.Errorf("epoch %d of cluster %q", found.Epoch, found.Cluster)
	}
}

// walHeader returns the header with durability wal.
func walHeader(t *testing.T, header []byte) []byte {
	t.Helper()
	h, err := api.ParseGroupHeader(header)
	if err != nil {
		t.Fatal(err)
	}
	h.Durability = api.DurabilityWAL
	return api.AppendGroupHeader(nil, &h)
}

func TestInspectRefusesAStoreWithoutACluster(t *testing.T) {
	store := memory.New(memory.Options{})
	if _, err := Inspect(t.Context(), store); !errors.Is(err, ErrLayout) {
		t.Errorf("an empty store: %v", err)
	}
	if err := store.Update(context.Background(), func(x kv.Txn) error {
		x.Set(appendNumbers(nil, kindLayout), []byte("braid\xff"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(t.Context(), store); !errors.Is(err, ErrLayout) {
		t.Errorf("a store with another layout: %v", err)
	}
}
