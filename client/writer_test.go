package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/columnar"
)

// stored is a cluster that takes every write, and what it has of each table.
type stored struct {
	*cluster
	mu     sync.Mutex
	rows   map[string]int
	writes map[string]int
	refuse func(table string) *api.Error // nil accepts
}

func storing(t *testing.T) *stored {
	s := &stored{cluster: startCluster(t), rows: map[string]int{}, writes: map[string]int{}}
	s.handle("ingest.>", func(r bus.Incoming) {
		table := strings.TrimPrefix(r.Subject(), "ingest.")
		batch, refusal := columnar.ParseArrow(r.Data(), table, 0)
		if refusal != nil {
			t.Errorf("table %s: %v", table, refusal)
			return
		}
		defer batch.Release()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.refuse != nil {
			if e := s.refuse(table); e != nil {
				s.cluster.refuse(r, e)
				return
			}
		}
		s.rows[table] += batch.Rows()
		s.writes[table]++
		s.accept(r, table, uint64(s.writes[table]))
	})
	return s
}

func (s *stored) has(table string) (rows, writes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows[table], s.writes[table]
}

// TestI3_EveryRowOfAWriterIsStoredOnce: given by several goroutines, flushed by rows, by bytes, by time and by hand.
func TestI3_EveryRowOfAWriterIsStoredOnce(t *testing.T) {
	for name, opts := range map[string][]WriterOption{
		"rows":    {FlushRows(7), FlushEvery(time.Hour)},
		"bytes":   {FlushBytes(1000), FlushEvery(time.Hour)},
		"time":    {FlushEvery(time.Millisecond)},
		"ordered": {FlushRows(50), Ordered()},
	} {
		t.Run(name, func(t *testing.T) {
			s := storing(t)
			w := s.connect().Writer(opts...)
			var all sync.WaitGroup
			for i := range 4 {
				all.Go(func() {
					for n := range 250 {
						table := []string{"cpu", "mem"}[n%2]
						err := w.Table(table).Symbol("host", fmt.Sprint("h", i)).Int64("usage", int64(n)).
							Float64("load", 0.5).Bool("up", true).Uint64("seen", 1).String("note", "x").AtNow(t.Context())
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			if err := w.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, table := range []string{"cpu", "mem"} {
				if rows, writes := s.has(table); rows != 500 || name == "rows" && writes < 2 {
					t.Errorf("table %s has %d rows in %d writes", table, rows, writes)
				}
			}
			if w.bytes != 0 {
				t.Errorf("%d bytes are left over", w.bytes)
			}
		})
	}
}

// TestAWriterFlushesByTimeAlone: nobody asks it to.
func TestAWriterFlushesByTimeAlone(t *testing.T) {
	s := storing(t)
	client := s.connect()
	w := client.Writer(FlushEvery(time.Millisecond))
	if err := w.Table("cpu").Int64("usage", 1).AtNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.await(t.Context(), func() bool { return w.tables["cpu"].answered == 1 }); err != nil {
		t.Fatal(err)
	}
}

// TestI8_ABadRowHarmsNoOther: it is refused, and those around it are stored.
func TestI8_ABadRowHarmsNoOther(t *testing.T) {
	s := storing(t)
	w := s.connect().Writer()
	ctx := t.Context()
	good := func() {
		t.Helper()
		if err := w.Table("cpu").Symbol("host", "a").Int64("usage", 1).AtNow(ctx); err != nil {
			t.Fatal(err)
		}
	}
	good()
	for want, r := range map[string]*WriterRow{
		"is int64 in the rows": w.Table("cpu").Float64("usage", 1),
		"is there twice":       w.Table("cpu").Symbol("host", "a").Symbol("host", "b"),
		"there twice":          w.Table("cpu").Int64("new", 1).Int64("new", 2),
		"NaN is not a number":  w.Table("cpu").Float64("load", math.NaN()),
		"is not UTF-8":         w.Table("cpu").String("note", "\xff"),
		"no value":             w.Table("cpu"),
		"table name":           w.Table("a b").Int64("usage", 1),
		`column name "timesta`: w.Table("cpu").Int64("timestamp", 1),
	} {
		err := r.AtNow(ctx)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %s", err, want)
		}
		good()
	}
	if err := w.Table("cpu").Int64("usage", 1).At(ctx, time.Time{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a time before time: %v", err)
	}
	if err := w.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if rows, _ := s.has("cpu"); rows != 9 {
		t.Errorf("%d rows are stored", rows)
	}
}

// TestFailedFlushesAreDelivered: by Flush or to the function, with their rows, each once.
func TestFailedFlushesAreDelivered(t *testing.T) {
	s := storing(t)
	s.refuse = func(table string) *api.Error {
		if table == "bad" {
			return api.Errorf(api.Invalid, "column \"v\" of the table is float64")
		}
		return nil
	}
	client := s.connect()
	check := func(e *FlushError) {
		t.Helper()
		if e.Table != "bad" || e.Count != 2 || !errors.Is(e, ErrInvalid) {
			t.Errorf("told of %v", e)
		}
		if got := printed(t, e.Rows); !strings.Contains(got, `"v":1}`) || !strings.Contains(got, `"v":2}`) {
			t.Errorf("rows %s", got)
		}
	}
	write := func(w *Writer) error {
		for _, table := range []string{"good", "bad"} {
			for v := range 2 {
				if err := w.Table(table).Int64("v", int64(v+1)).AtNow(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		return w.Flush(t.Context())
	}
	w := client.Writer()
	e := new(FlushError)
	if err := write(w); !errors.As(err, &e) {
		t.Fatalf("error is %v", err)
	}
	check(e)
	if err := w.Flush(t.Context()); err != nil {
		t.Fatalf("told twice: %v", err)
	}
	told := make(chan *FlushError, 2)
	if err := write(client.Writer(OnFlushError(func(e *FlushError) { told <- e }))); err != nil {
		t.Fatal(err)
	}
	check(<-told)
	if rows, _ := s.has("good"); rows != 4 {
		t.Errorf("%d good rows are stored", rows)
	}
}

// TestI7_FailedFlushesAreBounded: they are not dropped, so they stop the writer.
func TestI7_FailedFlushesAreBounded(t *testing.T) {
	s := storing(t)
	s.refuse = func(string) *api.Error { return api.Errorf(api.Invalid, "no") }
	w := s.connect().Writer(FlushRows(1))
	var err error
	for n := 0; err == nil; n++ {
		if n > 10*flushErrorsMax {
			t.Fatal("rows are taken without end")
		}
		if err = w.Table("cpu").Int64("v", 1).AtNow(t.Context()); err == nil {
			continue
		}
		if !errors.Is(err, ErrOverloaded) || n < flushErrorsMax {
			t.Fatalf("after %d rows: %v", n, err)
		}
	}
	all, ok := w.Flush(t.Context()).(interface{ Unwrap() []error })
	if !ok || len(all.Unwrap()) < flushErrorsMax {
		t.Fatal("failed flushes are missing")
	}
	if err := w.Table("cpu").Int64("v", 1).AtNow(t.Context()); err != nil {
		t.Fatalf("after they were picked up: %v", err)
	}
	if err := w.Drain(t.Context()); !errors.Is(err, ErrInvalid) {
		t.Fatalf("drained: %v", err)
	}
}

func TestI7_AWriterWaitsForRoom(t *testing.T) {
	c, in := gated(t)
	w := c.connect(WithMemory(100)).Writer(FlushRows(1))
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	taken, err := 0, error(nil)
	for ; err == nil && taken < 100; taken++ {
		err = w.Table("cpu").Int64("v", 1).AtNow(short)
	}
	if !errors.Is(err, ErrOverloaded) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("after %d rows: %v", taken, err)
	}
	go func() {
		for r := range in {
			c.accept(r, "cpu", 1)
		}
	}()
	defer close(in)
	for range 100 {
		if err := w.Table("cpu").Int64("v", 1).AtNow(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Table("cpu").Int64("v", 1).AtNow(t.Context()); !errors.Is(err, ErrClosed) {
		t.Fatalf("after Drain: %v", err)
	}
}

// TestI4_OrderedFlushesWaitForEachOther: one of a table is open at a time.
func TestI4_OrderedFlushesWaitForEachOther(t *testing.T) {
	c, in := gated(t)
	w := c.connect().Writer(Ordered(), FlushRows(1))
	go func() {
		for v := range 5 {
			if err := w.Table("cpu").Int64("v", int64(v)).AtNow(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}()
	var sequences []string
	for range 5 {
		r := <-in
		if len(in) > 0 {
			t.Fatal("two flushes of a table are open")
		}
		sequences = append(sequences, r.Header().Get(api.HeaderSequence)+"/"+r.Header().Get(api.HeaderSettled))
		c.accept(r, "cpu", 1)
	}
	if !slices.Equal(sequences, []string{"1/0", "2/1", "3/2", "4/3", "5/4"}) {
		t.Errorf("sequences/settled %s", sequences)
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestCloseGivesAWritersRowsBack: those that are gathered, and those that are open.
func TestCloseGivesAWritersRowsBack(t *testing.T) {
	c, in := gated(t)
	client := c.connect()
	w := client.Writer(FlushRows(2), FlushEvery(time.Hour))
	for range 3 {
		if err := w.Table("cpu").Int64("v", 1).AtNow(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	<-in
	err := client.Close()
	all, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("error is %v", err)
	}
	rows := 0
	for _, err := range all.Unwrap()[0].(interface{ Unwrap() []error }).Unwrap() {
		e := new(FlushError)
		if !errors.As(err, &e) || !errors.Is(err, ErrClosed) || errors.Is(err, ErrUnknownOutcome) != (e.Count == 2) {
			t.Errorf("error is %v", err)
		}
		rows += e.Count
	}
	if rows != 3 {
		t.Errorf("%d rows are given back", rows)
	}
	if err := client.Writer().Table("cpu").Int64("v", 1).AtNow(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("a new writer of a closed client: %v", err)
	}
}

func TestDrainOfTheClientFlushesWriters(t *testing.T) {
	s := storing(t)
	client := s.connect()
	w := client.Writer(FlushEvery(time.Hour))
	if err := w.Table("cpu").Int64("v", 1).AtNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := client.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rows, _ := s.has("cpu"); rows != 1 {
		t.Errorf("%d rows are stored", rows)
	}
}
