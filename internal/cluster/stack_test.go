package cluster

import (
	"context"
	"errors"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStackStopsTopDown(t *testing.T) {
	s := newStack()
	var order []string
	for _, name := range []string{"nats", "sequencer", "node"} {
		err := s.startReady(t.Context(), name, func(ctx context.Context, ready func()) error {
			ready()
			<-ctx.Done()
			order = append(order, name)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"node", "sequencer", "nats"}; !slices.Equal(order, want) {
		t.Fatalf("stopped in order %v, want %v", order, want)
	}
}

func TestStackReportsThePartThatFails(t *testing.T) {
	s := newStack()
	boom := errors.New("disk on fire")
	s.start(t.Context(), "healthy", func(ctx context.Context) error { <-ctx.Done(); return nil })
	err := s.startReady(t.Context(), "broken", func(context.Context, func()) error { return boom })
	if !errors.Is(err, boom) {
		t.Fatalf("startReady returned %v", err)
	}
	if err := s.stop(); err != nil {
		t.Fatalf("stop returned %v, which is known", err)
	}
}
