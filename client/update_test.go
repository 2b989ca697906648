package client

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// contended is a cluster with one table, whose head others move as often as wanted.
func contended(t *testing.T, head uint64, others int) *cluster {
	c, first := startCluster(t), head
	c.handle("braid.sequencer.tables", func(r bus.Incoming) {
		c.reply(r, api.TablesAnswer{Tables: []api.TableHead{{Name: "cpu", Head: first}}})
	})
	c.handle("ingest.cpu", func(r bus.Incoming) { // on the endpoint's goroutine alone
		expected := uint64(0)
		for _, d := range r.Header().Get(api.HeaderExpectedTxID) {
			expected = expected*10 + uint64(d-'0')
		}
		if others > 0 {
			others--
			head++
		}
		if expected != head {
			c.refuse(r, api.ConflictError("cpu", expected, head))
			return
		}
		head++
		c.accept(r, "cpu", head)
	})
	return c
}

func TestI5_UpdateWritesUntilItWins(t *testing.T) {
	client := contended(t, 41, 2).connect()
	var heads []uint64
	r, err := client.Table("cpu").Update(t.Context(), func(_ context.Context, head uint64) (Rows, error) {
		heads = append(heads, head)
		return row, nil
	})
	if err != nil || r.TxID != 44 || len(heads) != 3 || heads[0] != 41 || heads[2] != 43 {
		t.Fatalf("%+v, %v, decided on %d", r, err, heads)
	}
	stop := errors.New("enough")
	if _, err := client.Table("cpu").Update(t.Context(), func(context.Context, uint64) (Rows, error) {
		return nil, stop
	}); !errors.Is(err, stop) {
		t.Fatalf("error is %v", err)
	}
	if r, err := client.Table("cpu").Update(t.Context(), func(context.Context, uint64) (Rows, error) {
		return nil, nil
	}); err != nil || r.TxID != 41 || r.Rows != 0 {
		t.Fatalf("nothing to do: %+v, %v", r, err)
	}
}

func TestI5_UpdateEndsWithItsContext(t *testing.T) {
	client := contended(t, 1, 1<<30).connect()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err := client.Table("cpu").Update(ctx, func(context.Context, uint64) (Rows, error) { return row, nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error is %v", err)
	}
}

func TestMetricsTellWhatBecameOfWrites(t *testing.T) {
	registry := prometheus.NewRegistry()
	client := contended(t, 0, 0).connect(WithMetrics(registry))
	if _, err := client.Table("cpu").Write(t.Context(), row, ExpectTxID(0)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Table("cpu").Write(t.Context(), row, ExpectTxID(0)); !errors.Is(err, ErrConflict) {
		t.Fatalf("error is %v", err)
	}
	const want = `
# HELP braid_client_open_writes Writes without an answer.
# TYPE braid_client_open_writes gauge
braid_client_open_writes 0
# HELP braid_client_rows_total Rows that are stored.
# TYPE braid_client_rows_total counter
braid_client_rows_total 1
# HELP braid_client_writes_total Writes that have ended, by outcome: stored, or the kind of error.
# TYPE braid_client_writes_total counter
braid_client_writes_total{outcome="conflict"} 1
braid_client_writes_total{outcome="stored"} 1
`
	err := testutil.GatherAndCompare(registry, strings.NewReader(want), "braid_client_open_writes",
		"braid_client_rows_total", "braid_client_writes_total")
	if err != nil {
		t.Error(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(registry); err != nil || n != 0 {
		t.Errorf("%d metrics are left over, %v", n, err)
	}
}
