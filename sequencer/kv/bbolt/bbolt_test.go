package bbolt_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/bbolt"
	"github.com/seed-551dd829/braid/sequencer/kv/kvtest"
)

func open(t *testing.T, dir string) *bbolt.Store {
	t.Helper()
	s, err := bbolt.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSuite(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.Store { return open(t, t.TempDir()) })
}

func TestReopenFindsEverything(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	s := open(t, dir)
	if err := s.Update(ctx, func(x kv.Txn) error { x.Set([]byte("a"), []byte("1")); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	err := s.View(ctx, func(r kv.Reader) error {
		if v, err := r.Get([]byte("a")); string(v) != "1" || err != nil {
			t.Errorf("a is %q, %v", v, err)
		}
		return nil
	})
	if err = errors.Join(err, s.Close()); err != nil {
		t.Error(err)
	}
}

func TestSecondOpenIsRefusedWithAHint(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	_, err := bbolt.Open(dir)
	if err == nil || !strings.Contains(err.Error(), "another process has it open") {
		t.Errorf("a second Open returned %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestContextEndsTheWaitForTheWriter: whoever waits behind a long transaction can give up, and nothing happens.
func TestContextEndsTheWaitForTheWriter(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := context.Background()
	err := s.Update(ctx, func(kv.Txn) error {
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		inner := s.Update(short, func(kv.Txn) error { t.Error("it ran"); return nil })
		if !errors.Is(inner, context.DeadlineExceeded) {
			t.Errorf("the waiting Update returned %v", inner)
		}
		return nil
	})
	if err = errors.Join(err, s.Close()); err != nil {
		t.Error(err)
	}
}
