package arrowrows_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/client/arrowrows"
	"github.com/seed-551dd829/braid/internal/cluster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startUp runs a whole cluster in this process, and connects to it.
func startUp(t *testing.T) *client.Client {
	t.Helper()
	dir := t.TempDir() // before everything: it is removed after everything
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan cluster.Up, 1), make(chan error, 1)
	go func() {
		ended <- cluster.Run(ctx, cluster.Config{DataDir: dir, NATS: "127.0.0.1:0", HTTP: "127.0.0.1:0",
			Primaries: 1, Replicas: 1, Sequencers: 1}, slog.New(slog.DiscardHandler), func(up cluster.Up) { ready <- up })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case up := <-ready:
		c, err := client.Connect(ctx, "", client.WithInProcess(up.InProcess), client.WithLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		return c
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return nil
}

// TestI4_EveryWayOfReadingGivesTheSame on a real cluster: Arrow batches, rows, and rows as they are committed.
func TestI4_EveryWayOfReadingGivesTheSame(t *testing.T) {
	c := startUp(t)
	var want strings.Builder
	const writes = 20
	followed := make(chan string, 1)
	go func() {
		var got strings.Builder
		for row, err := range c.Table("cpu").Follow(t.Context(), 1, client.ToTxID(writes)) {
			if err != nil {
				fmt.Fprintln(&got, err)
				break
			}
			fmt.Fprintln(&got, row.TxID(), row.Value("host"), row.Value("n"))
		}
		followed <- got.String()
	}()
	for i := range writes {
		text := fmt.Sprintf("cpu,host=a n=%di 1\ncpu,host=b n=%di 2\n", 2*i, 2*i+1)
		result, err := c.Table("cpu").Write(t.Context(), client.LineProtocol([]byte(text)))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&want, "%d a %d\n%d b %d\n", result.TxID, 2*i, result.TxID, 2*i+1)
	}
	if got := <-followed; got != want.String() {
		t.Errorf("followed:\n%swant\n%s", got, want.String())
	}
	for _, node := range []string{"p1", "r1"} {
		if err := c.Wait(t.Context(), node, "cpu", writes); err != nil {
			t.Fatal(err)
		}
		batches, err := arrowrows.Read(t.Context(), c, "cpu", client.FromNode(node), client.WithTxIDs())
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for b, err := range batches.Batches() {
			if err != nil {
				t.Fatal(err)
			}
			hosts := b.Column(2).(*array.Dictionary)
			for i := range int(b.NumRows()) {
				fmt.Fprintln(&got, b.Column(1).ValueStr(i), hosts.ValueStr(i), b.Column(3).ValueStr(i))
			}
		}
		if got.String() != want.String() || batches.TxID() != writes || batches.Node() != node {
			t.Errorf("%s up to %d:\n%swant\n%s", batches.Node(), batches.TxID(), got.String(), want.String())
		}
	}
	if _, err := arrowrows.Read(t.Context(), c, "mem"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("a table that is not there: %v", err)
	}
}
