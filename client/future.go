package client

import (
	"context"
	"fmt"
)

// Future is the answer to a write that nobody waits for yet. It is safe for concurrent use.
type Future struct {
	table  string
	done   chan struct{}
	result Result // these two are set before done is closed
	err    error
	failed func(error) // told of err, if any; nil: nobody is
}

func newFuture(table string) *Future { return &Future{table: table, done: make(chan struct{})} }

func (f *Future) complete(r Result, err error) {
	f.result, f.err = r, err
	close(f.done)
	if err != nil && f.failed != nil {
		f.failed(err)
	}
}

// Done is closed once there is an answer.
func (f *Future) Done() <-chan struct{} { return f.done }

func (f *Future) isDone() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// Result waits for the answer: what Write would have returned. If ctx ends first it returns an error with the cause of
// that end in it, which says nothing about the write: it goes on, and Result may be called again.
func (f *Future) Result(ctx context.Context) (Result, error) {
	if f.isDone() {
		return f.result, f.err
	}
	select {
	case <-f.done:
		return f.result, f.err
	case <-ctx.Done():
		return Result{}, fmt.Errorf("a write to table %s is not answered yet: %w", f.table, context.Cause(ctx))
	}
}
