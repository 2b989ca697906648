package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/catalog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sequencer holds schemas as the real one does, and counts what it is asked.
type sequencer struct {
	asked   int
	columns map[string][]api.Column
}

func (s *sequencer) fetch(_ context.Context, r api.SchemaRequest) (api.SchemaAnswer, error) {
	s.asked++
	have := s.columns[r.Table]
	if len(have) == 0 && len(r.Columns) > 0 {
		have = []api.Column{{Name: api.TimestampColumn, Type: api.Timestamp}}
	}
	s.columns[r.Table] = append(have, r.Columns...)
	return api.SchemaAnswer{Columns: s.columns[r.Table]}, nil
}

func newSequencer() *sequencer { return &sequencer{columns: make(map[string][]api.Column)} }

func TestSchemaIsAskedOnce(t *testing.T) {
	s := newSequencer()
	c := catalog.New(s.fetch, 10)
	if got, err := c.Schema(t.Context(), "cpu"); err != nil || got.Len() != 0 {
		t.Fatalf("an unknown table has %d columns, %v", got.Len(), err)
	}
	if _, err := c.Grow(t.Context(), "cpu", []api.Column{{Name: "usage", Type: api.Int64}}); err != nil {
		t.Fatal(err)
	}
	asked := s.asked
	for range 3 {
		if got, err := c.Schema(t.Context(), "cpu"); err != nil || got.Len() != 2 {
			t.Fatalf("%d columns, %v", got.Len(), err)
		}
	}
	if s.asked != asked {
		t.Fatalf("asked %d times more", s.asked-asked)
	}
}

// TestResolveFindsWhatAnotherGatewayGrew: a fingerprint that is longer than what is remembered is asked for; every
// older one stays readable; one that names nothing is invalid.
func TestResolveFindsWhatAnotherGatewayGrew(t *testing.T) {
	s := newSequencer()
	mine, other := catalog.New(s.fetch, 10), catalog.New(s.fetch, 10)
	old, err := mine.Grow(t.Context(), "cpu", []api.Column{{Name: "a", Type: api.Int64}})
	if err != nil {
		t.Fatal(err)
	}
	grown, err := other.Grow(t.Context(), "cpu", []api.Column{{Name: "b", Type: api.Tag}})
	if err != nil {
		t.Fatal(err)
	}
	for n, f := range map[int]api.Fingerprint{2: old.Fingerprint(2), 3: grown.Fingerprint(3)} {
		if got, err := mine.Resolve(t.Context(), "cpu", f); err != nil || got.Len() != n {
			t.Fatalf("fingerprint of %d columns gives %d, %v", n, got.Len(), err)
		}
	}
	var wrong api.Fingerprint
	_, err = mine.Resolve(t.Context(), "cpu", wrong.Extend(api.Column{Name: "x", Type: api.Tag}))
	if !api.IsName(err, api.Invalid) {
		t.Fatalf("a fingerprint that names nothing: %v", err)
	}
}

func TestI7_RemembersAtMostItsBound(t *testing.T) {
	s := newSequencer()
	c := catalog.New(s.fetch, 2)
	for i := range 4 {
		if _, err := c.Grow(t.Context(), fmt.Sprint("t", i), []api.Column{{Name: "v", Type: api.Int64}}); err != nil {
			t.Fatal(err)
		}
	}
	asked := s.asked
	if _, err := c.Schema(t.Context(), "t3"); err != nil || s.asked != asked {
		t.Fatalf("the newest table was forgotten, %v", err)
	}
	if _, err := c.Schema(t.Context(), "t0"); err != nil || s.asked != asked+1 {
		t.Fatalf("the oldest table was kept, %v", err)
	}
}

// TestRefreshGivesUpOnALostAnswer: a request whose answer is lost must not keep those who come later.
func TestRefreshGivesUpOnALostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSequencer()
		lost := true
		c := catalog.New(func(ctx context.Context, r api.SchemaRequest) (api.SchemaAnswer, error) {
			if lost {
				<-ctx.Done()
				return api.SchemaAnswer{}, ctx.Err()
			}
			return s.fetch(ctx, r)
		}, 10)
		if _, err := c.Schema(t.Context(), "cpu"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v", err)
		}
		lost = false
		if _, err := c.Schema(t.Context(), "cpu"); err != nil {
			t.Fatal(err)
		}
	})
}

// TestRefreshSeesWhatWasThereBeforeIt: a reading that is under way may have missed it, so a refresh does not join it.
func TestRefreshSeesWhatWasThereBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSequencer()
		release := make(chan struct{})
		c := catalog.New(func(ctx context.Context, r api.SchemaRequest) (api.SchemaAnswer, error) {
			answer, err := s.fetch(ctx, r)
			if len(r.Columns) == 0 {
				<-release
			}
			return answer, err
		}, 10)
		early := make(chan error, 1)
		go func() {
			_, err := c.Refresh(t.Context(), "cpu")
			early <- err
		}()
		synctest.Wait()
		if _, err := s.fetch(t.Context(), api.SchemaRequest{Table: "cpu",
			Columns: []api.Column{{Name: "v", Type: api.Int64}}}); err != nil {
			t.Fatal(err)
		}
		const late = 3
		lengths := make(chan int, late)
		for range late {
			go func() {
				got, err := c.Refresh(t.Context(), "cpu")
				if err != nil {
					t.Error(err)
				}
				lengths <- got.Len()
			}()
		}
		synctest.Wait()
		asked := s.asked
		close(release)
		if err := <-early; err != nil {
			t.Fatal(err)
		}
		for range late {
			if n := <-lengths; n != 2 {
				t.Errorf("%d columns are told", n)
			}
		}
		if s.asked != asked+1 {
			t.Errorf("%d callers asked %d times", late, s.asked-asked)
		}
	})
}
