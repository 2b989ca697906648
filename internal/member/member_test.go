package member_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/member"
)

func TestFolderIsLockedAndKeepsItsMark(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "p1")
	f, err := member.OpenFolder(disk.OS, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := member.OpenFolder(disk.OS, dir); err == nil {
		t.Fatal("a second process got the folder")
	}
	mark := f.Mark
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, err = member.OpenFolder(disk.OS, dir)
	if err != nil {
		t.Fatal(err)
	}
	if f.Mark != mark || len(mark) != 32 {
		t.Fatalf("mark %q after %q", f.Mark, mark)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// sequencer answers with errs one after the other, then accepts.
type sequencer struct {
	errs     []error
	attempts []string
	states   []api.NodeStateRequest
}

func (s *sequencer) next() error {
	if len(s.errs) == 0 {
		return nil
	}
	err := s.errs[0]
	s.errs = s.errs[1:]
	return err
}

func (s *sequencer) RegisterNode(
	_ context.Context, r api.RegisterNodeRequest,
) (api.RegisterNodeAnswer, error) {
	s.attempts = append(s.attempts, r.Attempt)
	return api.RegisterNodeAnswer{Epoch: 7}, s.next()
}

func (s *sequencer) SetNodeState(
	_ context.Context, r api.NodeStateRequest,
) (api.NodeStateAnswer, error) {
	s.states = append(s.states, r)
	return api.NodeStateAnswer{}, s.next()
}

var config = member.Config{ID: "p1", Role: api.Primary, HTTP: "127.0.0.1:1", Mark: "m"}

func registry(s *sequencer) *member.Registry {
	return member.NewRegistry(config, s, slog.New(slog.DiscardHandler))
}

// TestRegisterAsksAgainUnderOneAttempt: an answer that is lost must not cost a second epoch.
func TestRegisterAsksAgainUnderOneAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sequencer{errs: []error{bus.ErrNoResponders, bus.ErrUnknown, api.Errorf(api.Unavailable, "busy")}}
		r := registry(s)
		answer, err := r.Register(t.Context(), 0)
		if err != nil || answer.Epoch != 7 {
			t.Fatalf("%+v %v", answer, err)
		}
		if len(s.attempts) != 4 || s.attempts[0] == "" || s.attempts[0] != s.attempts[3] {
			t.Fatalf("attempts %q", s.attempts)
		}
		// Another registration is another attempt: it is to get another epoch.
		if _, err := r.Register(t.Context(), 0); err != nil || s.attempts[4] == s.attempts[3] {
			t.Fatalf("%v attempts %q", err, s.attempts)
		}
	})
}

func TestRegisterRefusedIsFinal(t *testing.T) {
	s := &sequencer{errs: []error{api.Errorf(api.Forbidden, "another data folder owns p1")}}
	_, err := registry(s).Register(t.Context(), 0)
	if !api.IsName(err, api.Forbidden) || len(s.attempts) != 1 {
		t.Fatalf("%v after %d attempts", err, len(s.attempts))
	}
}

// TestI6_StateIsConditionalOnEpoch: the request carries the epoch, and a refusal is final.
func TestI6_StateIsConditionalOnEpoch(t *testing.T) {
	s := &sequencer{errs: []error{api.Errorf(api.Fenced, "epoch 7 is fenced")}}
	if _, err := registry(s).SetState(t.Context(), 7, api.Live); !api.IsName(err, api.Fenced) {
		t.Fatalf("%v", err)
	}
	if len(s.states) != 1 || s.states[0].Epoch != 7 {
		t.Fatalf("asked with %+v", s.states)
	}
}

func TestRegisterEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s := &sequencer{errs: []error{bus.ErrNoResponders}}
		if _, err := registry(s).Register(ctx, 0); !errors.Is(err, context.Canceled) {
			t.Fatalf("%v", err)
		}
	})
}
