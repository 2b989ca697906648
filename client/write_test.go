package client

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
)

var row = LineProtocol([]byte("cpu,host=a usage=1i 1"))

// identityHeaders are the headers that make a repeat a repeat.
func identityHeaders(h nats.Header) string {
	return fmt.Sprint(h.Get(api.HeaderProducer), h.Get(api.HeaderProducerEpoch), " ", h.Get(api.HeaderSequence),
		" settled ", h.Get(api.HeaderSettled), " key ", h.Get(api.HeaderMsgID), " expects ",
		h.Get(api.HeaderExpectedTxID))
}

func TestI3_RetriesCarryTheSameBytesAndIdentity(t *testing.T) {
	c := startCluster(t)
	var mu sync.Mutex
	var seen []string
	c.handle("ingest.cpu", func(r bus.Incoming) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, identityHeaders(r.Header())+string(r.Data()))
		switch len(seen) {
		case 1: // no answer at all
		case 2:
			c.refuse(r, api.Errorf(api.Unavailable, "no primary"))
		case 3:
			c.refuse(r, api.OverloadedError(2, "full"))
		default:
			c.accept(r, "cpu", 7)
		}
	})
	var retries atomic.Int32
	client := c.connect(WithAttemptTimeout(50*time.Millisecond), WithRetryHook(func(error) { retries.Add(1) }))
	answer, err := client.Table("cpu").Write(t.Context(), row, ExpectTxID(6))
	if err != nil || answer != (Result{"cpu", 7, 1}) {
		t.Fatalf("%+v, %v", answer, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) < 4 || retries.Load() < 3 { // more on a slow machine
		t.Fatalf("%d attempts, %d retries", len(seen), retries.Load())
	}
	for _, s := range seen[1:] {
		if s != seen[0] {
			t.Errorf("attempts differ:\n%s\n%s", seen[0], s)
		}
	}
}

func TestWriteFindsGatewaysThatComeLater(t *testing.T) {
	c := startCluster(t)
	client := c.connect()
	done := make(chan error, 1)
	go func() {
		_, err := client.Table("cpu").Write(context.Background(), row)
		done <- err
	}()
	natstest.Eventually(t, "registered", func() bool { return c.registrations() == 1 })
	c.handle("ingest.cpu", func(r bus.Incoming) { c.accept(r, "cpu", 1) })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestErrorsAreTyped(t *testing.T) {
	tests := []struct {
		name  string
		reply *api.Error
		check func(error) bool
	}{
		{"conflict", api.ConflictError("cpu", 3, 5), func(err error) bool {
			e := new(ConflictError)
			return errors.As(err, &e) && *e == ConflictError{"cpu", 3, 5}
		}},
		{"invalid", api.Errorf(api.Invalid, "bad").InTable("cpu").AtLine(4), func(err error) bool {
			e := new(InvalidError)
			return errors.As(err, &e) && *e == InvalidError{"cpu", 4, "line 4: bad"}
		}},
		{"fenced", api.Errorf(api.Fenced, "x"), is(ErrFenced)},
		{"expired", api.Errorf(api.Expired, "x"), is(ErrExpired, ErrUnknownOutcome)},
		{"settled", api.Errorf(api.Settled, "x"), is(ErrUnknownOutcome)},
		{"voided", api.Errorf(api.Voided, "x"), is(ErrVoided)},
		{"too large", api.Errorf(api.TooLarge, "x"), is(ErrTooLarge)},
		{"forbidden", api.Errorf(api.Forbidden, "x"), is(ErrUnauthorized)},
		{"overloaded", api.OverloadedError(1, "x"), func(err error) bool {
			return is(ErrOverloaded)(err) && !errors.Is(err, ErrUnknownOutcome)
		}},
		{"unavailable", api.Errorf(api.Unavailable, "x"), is(ErrUnavailable, ErrUnknownOutcome)},
		{"no answer", nil, is(ErrUnknownOutcome)},
	}
	c := startCluster(t)
	var reply atomic.Pointer[api.Error]
	c.handle("ingest.cpu", func(r bus.Incoming) {
		if e := reply.Load(); e != nil {
			c.refuse(r, e)
		}
	})
	client := c.connect()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reply.Store(tt.reply)
			write := func() error {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				_, err := client.Table("cpu").Write(ctx, row)
				return err
			}
			err := write()
			for tt.reply != nil && errors.Is(err, context.DeadlineExceeded) {
				err = write() // the end cut off an attempt, so its error hid the answers to those before
			}
			if !tt.check(err) {
				t.Fatalf("error is %v", err)
			}
		})
	}
}

func is(targets ...error) func(error) bool {
	return func(err error) bool {
		for _, target := range targets {
			if !errors.Is(err, target) {
				return false
			}
		}
		return true
	}
}

func TestNobodyThereIsNotAnUnknownOutcome(t *testing.T) {
	c := startCluster(t)
	client := c.connect()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := client.Table("cpu").Write(ctx, row)
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownOutcome) {
		t.Fatalf("error is %v", err)
	}
}

func TestSettledFollowsTheOldestOpenWrite(t *testing.T) {
	c := startCluster(t)
	held := make(chan bus.Incoming, 1)
	settled := make(chan string, 10)
	c.handle("ingest.cpu", func(r bus.Incoming) {
		settled <- r.Header().Get(api.HeaderSequence) + "/" + r.Header().Get(api.HeaderSettled)
		if string(r.Data()) == "hold" {
			held <- r
			return
		}
		c.accept(r, "cpu", 1)
	})
	client := c.connect()
	write := func(data string) {
		if _, err := client.Table("cpu").Write(t.Context(), LineProtocol([]byte(data))); err != nil {
			t.Error(err)
		}
	}
	write("one")
	done := make(chan struct{})
	go func() { write("hold"); close(done) }()
	hold := <-held
	write("three")
	write("four")
	c.accept(hold, "cpu", 2)
	<-done
	write("five")
	for _, want := range []string{"1/0", "2/1", "3/1", "4/1", "5/4"} {
		if got := <-settled; got != want {
			t.Errorf("sequence/settled is %s, want %s", got, want)
		}
	}
}

func TestExpiredProducerRegistersAgainForNewWrites(t *testing.T) {
	c := startCluster(t)
	var mu sync.Mutex
	var producers []string
	c.handle("ingest.cpu", func(r bus.Incoming) {
		mu.Lock()
		defer mu.Unlock()
		producers = append(producers, r.Header().Get(api.HeaderProducer))
		if len(producers) == 1 {
			c.refuse(r, api.Errorf(api.Expired, "who?"))
			return
		}
		c.accept(r, "cpu", 1)
	})
	client := c.connect()
	if _, err := client.Table("cpu").Write(t.Context(), row); !errors.Is(err, ErrExpired) {
		t.Fatalf("error is %v", err)
	}
	if _, err := client.Table("cpu").Write(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(producers) != 2 || producers[0] == producers[1] || c.registrations() != 2 {
		t.Fatalf("producers %v, %d registrations", producers, c.registrations())
	}
}

func TestRenewalGoesOnUntilTheProducerIsForgotten(t *testing.T) {
	c := startCluster(t)
	client := c.connect()
	ended := make(chan error)
	go func() {
		ended <- client.renewProducer(api.RenewProducerRequest{ID: "c-1", Epoch: 1}, time.Millisecond)
	}()
	natstest.Eventually(t, "three renewals", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.renewals >= 3
	})
	c.mu.Lock()
	c.renewal = api.Errorf(api.Expired, "who?")
	c.mu.Unlock()
	if err := <-ended; !api.IsName(err, api.Expired) {
		t.Fatalf("ended with %v", err)
	}
}

func TestAnonymousAndKeyedWrites(t *testing.T) {
	c := startCluster(t)
	var mu sync.Mutex
	attempts, last := 0, nats.Header{}
	answering := true
	c.handle("primary.p1.ingest.cpu", func(r bus.Incoming) {
		mu.Lock()
		defer mu.Unlock()
		attempts++
		last = r.Header()
		if answering {
			c.accept(r, "cpu", 1)
		}
	})
	client := c.connect(WithAttemptTimeout(20 * time.Millisecond))
	table := client.Table("cpu")
	if _, err := table.Write(t.Context(), row, Via(Primary("p1")), Key("k1"), Durable(WAL)); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if last.Get(api.HeaderMsgID) != "k1" || last.Get(api.HeaderProducer) != "" ||
		last.Get(api.HeaderDurability) != "wal" {
		t.Fatalf("headers of a keyed write: %v", last)
	}
	attempts, answering = 0, false
	mu.Unlock()
	if _, err := table.Write(t.Context(), row, Via(Primary("p1")), Anonymous()); !errors.Is(err, ErrUnknownOutcome) {
		t.Fatalf("error is %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if attempts != 1 || last.Get(api.HeaderMsgID)+last.Get(api.HeaderProducer) != "" {
		t.Fatalf("%d attempts, headers %v", attempts, last)
	}
	if c.registrations() != 0 {
		t.Fatal("registered though no write needed it")
	}
}

func TestWriteAllTellsEachTable(t *testing.T) {
	c := startCluster(t)
	c.handle("ingest", func(r bus.Incoming) {
		// The code is the highest of the tables', and the body has results all the same.
		err := r.ReplyJSON(api.WriteAnswer{Results: []api.WriteResult{
			{Table: "cpu", TxID: 3, Rows: 2},
			{Table: "mem", Error: api.Errorf(api.Invalid, "bad").InTable("mem").AtLine(2)},
		}}, bus.ErrorHeader(api.Errorf(api.Invalid, "bad")))
		if err != nil {
			t.Error(err)
		}
	})
	client := c.connect()
	results, err := client.WriteAll(t.Context(), LineProtocol([]byte("cpu x=1\nmem y=\ncpu x=2")))
	if err != nil || len(results) != 2 {
		t.Fatalf("%v, %v", results, err)
	}
	e := new(InvalidError)
	if results[0].Result != (Result{"cpu", 3, 2}) || !errors.As(results[1].Err, &e) || e.Line != 2 {
		t.Fatalf("results %+v", results)
	}
}

// TestI6_WriteAllOfAStableProducerIsNumberedAsIts: what a newer process fences must not find a way past its fence, and
// what a directory is to keep must be kept.
func TestI6_WriteAllOfAStableProducerIsNumberedAsIts(t *testing.T) {
	text := LineProtocol([]byte("cpu,host=a usage=1i 1\nmem free=\ncpu,host=b usage=2i 2"))
	check := func(results []TableResult, err error, txid uint64) {
		t.Helper()
		if err != nil || len(results) != 2 || results[0].Err != nil || results[0].Result != (Result{"cpu", txid, 2}) {
			t.Fatalf("%+v, %v", results, err)
		}
		e := new(InvalidError)
		if results[1].Table != "mem" || !errors.As(results[1].Err, &e) || e.Line != 2 || e.Table != "mem" {
			t.Fatalf("the second table: %+v", results[1])
		}
	}
	c, in := gated(t)
	stable := c.connect(WithProducer("meter-7"))
	go func() {
		r := <-in
		if r.Header().Get(api.HeaderProducer) != "meter-7" {
			t.Errorf("headers %v", r.Header())
		}
		c.accept(r, "cpu", 5)
	}()
	results, err := stable.WriteAll(t.Context(), text)
	if err == nil {
		results[0].Rows = 2 // the fake gateway says 1
	}
	check(results, err, 5)
	if _, err := stable.WriteAll(t.Context(), LineProtocol([]byte("a x=1\nb x=1")), ExpectTxID(3)); !errors.Is(err, ErrInvalid) {
		t.Errorf("one expected TxID for two tables: %v", err)
	}

	c = startCluster(t)
	p := c.commits()
	kept := c.connect(WithDirectory(filepath.Join(t.TempDir(), "outbox")))
	results, err = kept.WriteAll(t.Context(), text)
	check(results, err, 1)
	if got := p.stored(); len(got) != 1 || got[0] != fmt.Sprint(1<<32+1) {
		t.Errorf("sequences %v", got)
	}
}

func TestClosedClientSaysSo(t *testing.T) {
	c := startCluster(t)
	client := c.connect()
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Table("cpu").Write(t.Context(), row); !errors.Is(err, ErrClosed) {
		t.Fatalf("error is %v", err)
	}
}
