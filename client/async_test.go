package client

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// gated is a cluster whose writes are answered when the test says so.
func gated(t *testing.T) (*cluster, chan bus.Incoming) {
	c := startCluster(t)
	in := make(chan bus.Incoming, 100)
	c.handle("ingest.cpu", func(r bus.Incoming) { in <- r })
	return c, in
}

func TestAsyncWritesAnswerInAnyOrder(t *testing.T) {
	c, in := gated(t)
	client := c.connect()
	var futures []*Future
	data := []byte("cpu usage=1i 1")
	for range 3 {
		futures = append(futures, client.Table("cpu").WriteAsync(t.Context(), LineProtocol(data)))
	}
	clear(data) // the bytes are the caller's again
	for range 3 {
		r := <-in
		if string(r.Data()) != "cpu usage=1i 1" {
			t.Errorf("sent %q", r.Data())
		}
		sequence, err := strconv.ParseUint(r.Header().Get(api.HeaderSequence), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		defer c.accept(r, "cpu", sequence)
		if sequence > 1 {
			c.accept(r, "cpu", 10+sequence)
		}
	}
	for i := 2; i > 0; i-- {
		<-futures[i].Done()
		if r, err := futures[i].Result(t.Context()); err != nil || r.TxID != uint64(11+i) {
			t.Errorf("write %d: %+v, %v", i, r, err)
		}
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := futures[0].Result(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without an answer: %v", err)
	}
	if err := client.Flush(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("flushed with an open write: %v", err)
	}
}

func TestDrainWaitsAndTakesNoMore(t *testing.T) {
	c, in := gated(t)
	client := c.connect()
	f := client.Table("cpu").WriteAsync(t.Context(), row)
	r := <-in
	drained := make(chan error)
	go func() { drained <- client.Drain(t.Context()) }()
	natstest.Eventually(t, "no more is taken", func() bool {
		client.open.mu.Lock()
		defer client.open.mu.Unlock()
		return client.open.ended != nil
	})
	if _, err := client.Table("cpu").Write(t.Context(), row); !errors.Is(err, ErrClosed) {
		t.Errorf("a write while draining: %v", err)
	}
	c.accept(r, "cpu", 7)
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
	if got, err := f.Result(t.Context()); err != nil || got.TxID != 7 {
		t.Fatalf("%+v, %v", got, err)
	}
}

// TestCloseReportsOpenWritesAsUnknown: those that were sent, and none that was not.
func TestCloseReportsOpenWritesAsUnknown(t *testing.T) {
	c, in := gated(t)
	failures := make(chan *WriteError, 2)
	client := c.connect(WithErrorHandler(func(e *WriteError) { failures <- e }))
	f := client.Table("cpu").WriteAsync(t.Context(), row)
	<-in
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Result(t.Context()); !errors.Is(err, ErrClosed) || !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("an open write: %v", err)
	}
	if e := <-failures; e.Table != "cpu" || !errors.Is(e, ErrUnknownOutcome) {
		t.Errorf("told of %v", e)
	}
	if _, err := client.Table("cpu").WriteAsync(t.Context(), row).Result(t.Context()); !errors.Is(err, ErrClosed) ||
		errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("a write after Close: %v", err)
	}
}

func TestI7_MemoryIsBounded(t *testing.T) {
	c, in := gated(t)
	client := c.connect(WithMemory(int64(len(row.Data)) + 1))
	first := client.Table("cpu").WriteAsync(t.Context(), row)
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := client.Table("cpu").Write(short, row); !errors.Is(err, ErrOverloaded) || errors.Is(err, ErrUnknownOutcome) {
		t.Fatalf("past the bound: %v", err)
	}
	c.accept(<-in, "cpu", 1)
	if _, err := first.Result(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := client.Table("cpu").WriteAsync(t.Context(), row)
	c.accept(<-in, "cpu", 2)
	if r, err := second.Result(t.Context()); err != nil || r.TxID != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
}

// TestI3_AFencedClientIsFencedForGood: another process has its id, and a stable id has nothing to go on with.
func TestI3_AFencedClientIsFencedForGood(t *testing.T) {
	c, in := gated(t)
	client := c.connect(WithProducer("meter-7"))
	f := client.Table("cpu").WriteAsync(t.Context(), row)
	c.refuse(<-in, api.Errorf(api.Fenced, "a newer epoch"))
	if _, err := f.Result(t.Context()); !errors.Is(err, ErrFenced) {
		t.Fatalf("refused: %v", err)
	}
	if _, err := client.Table("cpu").Write(t.Context(), row); !errors.Is(err, ErrFenced) || c.registrations() != 1 {
		t.Fatalf("after it: %v, %d registrations", err, c.registrations())
	}
	if client.Producer() != "meter-7" {
		t.Errorf("producer %s", client.Producer())
	}
}

func TestTraceContextTravels(t *testing.T) {
	c, in := gated(t)
	type key struct{}
	client := c.connect(WithTrace(func(ctx context.Context, set func(key, value string)) {
		set("traceparent", ctx.Value(key{}).(string))
		set(api.HeaderSequence, "99") // not the application's to say
	}))
	f := client.Table("cpu").WriteAsync(context.WithValue(t.Context(), key{}, "00-1-2-01"), row)
	r := <-in
	if r.Header().Get("traceparent") != "00-1-2-01" || r.Header().Get(api.HeaderSequence) != "1" {
		t.Errorf("headers %v", r.Header())
	}
	c.accept(r, "cpu", 1)
	if _, err := f.Result(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestConnectChecksItsOptions(t *testing.T) {
	c := startCluster(t)
	for name, o := range map[string]Option{
		"route": WithRoute("primary"), "route without an id": WithRoute("primary."), "another route": WithRoute("by sea"),
		"producer": WithProducer("a b"), "namespace": WithNamespace("a b"), "memory": WithMemory(0),
	} {
		if client, err := Connect(t.Context(), "", WithInProcess(c.server), o); err == nil {
			t.Errorf("%s: no error", name)
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := c.connect().Table("cpu").Write(t.Context(), row, Via("primary.")); !errors.Is(err, ErrInvalid) {
		t.Errorf("a write along no route: %v", err)
	}
}
