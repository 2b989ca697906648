package gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// surroundings are what carries a gateway beside Deps: goroutines, the clock and NATS, or a simulated world.
type surroundings struct {
	now func() time.Time
	// await waits until something has changed, a moment has come, or ctx ends. A nil channel never does.
	await func(ctx context.Context, changed <-chan struct{}, until time.Time)
	start func(func())       // runs something beside
	alarm func(at time.Time) // has due called
	// request sends a frame to a primary and returns the data of its answer, with the errors of bus.Request.
	request func(ctx context.Context, primary string, frame []byte) ([]byte, error)
	// probe asks a primary whether it is there, with the errors of bus.Request.
	probe func(ctx context.Context, primary string) error
	newID func() string // for a producer or its attempt to register, never twice the same
}

func newSurroundings() *surroundings {
	return &surroundings{now: time.Now, await: await, newID: freshProducer}
}

// pause waits, and says whether ctx let it.
func (e *surroundings) pause(ctx context.Context, d time.Duration) bool {
	e.await(ctx, nil, e.now().Add(d))
	return ctx.Err() == nil
}

func await(ctx context.Context, changed <-chan struct{}, until time.Time) {
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	case <-ctx.Done():
	}
}

func freshProducer() string {
	var b [12]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return "gw-" + hex.EncodeToString(b[:])
}

// ask is the request of a Service.
func (s *Service) ask(ctx context.Context, primary string, frame []byte) ([]byte, error) {
	header := nats.Header{api.HeaderSender: s.sender}
	msg, err := bus.Request(ctx, s.deps.Conn, s.deps.Subjects.PrimaryWrite(primary), header, frame)
	if err != nil {
		return nil, err
	}
	return msg.Data, nil
}

// askPresence is the probe of a Service: a message without a group, on the connection that no payload delays.
func (s *Service) askPresence(ctx context.Context, primary string) error {
	_, err := bus.Request(ctx, s.deps.Beats, s.deps.Subjects.PrimaryWrite(primary), nil, nil)
	return err
}
