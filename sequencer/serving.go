package sequencer

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api/bus"
)

const (
	aliveInterval = 200 * time.Millisecond
	aliveTTL      = 3 * aliveInterval // an instance that is silent for so long has left its shards
	aliveWaiting  = 1024              // signs of life that wait to be looked at; more are dropped, others follow
)

// serving listens to the commits of the shards that this instance prefers, and tells the other instances that it
// lives. It belongs to one goroutine.
type serving struct {
	s         *Service
	bus       *bus.Service
	prefer    *preference
	listeners []*bus.Listener // by shard; nil: another instance serves it
	alive     *nats.Subscription
	heard     chan *nats.Msg
}

// startServing begins with every shard: what others prefer is left to them once they are heard.
func (s *Service) startServing(service *bus.Service) (*serving, error) {
	v := &serving{s: s, bus: service, prefer: newPreference(s.cfg.ID, aliveTTL),
		listeners: make([]*bus.Listener, s.core.Shards), heard: make(chan *nats.Msg, aliveWaiting)}
	var err error
	if v.alive, err = s.deps.Conn.ChanSubscribe(s.deps.Subjects.SequencerAlive("*"), v.heard); err != nil {
		return nil, err
	}
	return v, v.arrange()
}

// run announces this instance and follows the others until ctx ends. It ends with a goodbye, so that the others take
// the shards over at once.
func (v *serving) run(ctx context.Context) error {
	ticker := time.NewTicker(aliveInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return v.stop()
		case m := <-v.heard:
			v.hear(m)
		case <-ticker.C:
			if v.s.well() {
				v.s.publish(v.s.deps.Subjects.SequencerAlive(v.s.cfg.ID), []byte(v.s.cfg.ID))
			}
		}
		if err := v.arrange(); err != nil {
			return errors.Join(err, v.stop())
		}
	}
}

// hear takes a message of an instance: its id, or nothing when it leaves.
func (v *serving) hear(m *nats.Msg) {
	id := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	if len(m.Data) == 0 {
		v.prefer.leave(id)
		return
	}
	v.prefer.hear(id, v.s.since())
}

// arrange listens to the shards that this instance serves now, and to no others.
func (v *serving) arrange() error {
	for shard, mine := range v.prefer.shards(v.s.since(), len(v.listeners), v.s.well()) {
		if mine == (v.listeners[shard] != nil) {
			continue
		}
		if err := v.turn(shard, mine); err != nil {
			return err
		}
		v.s.deps.Logger.Debug("shard", "shard", shard, "served", mine)
	}
	return nil
}

func (v *serving) turn(shard int, on bool) (err error) {
	if on {
		v.listeners[shard], err = v.bus.Listen(v.s.deps.Subjects.Commit(shard), bus.Endpoint{Queue: queueGroup},
			v.s.handleCommit(shard))
		return err
	}
	err = v.listeners[shard].Stop()
	v.listeners[shard] = nil
	return err
}

// stop says goodbye and listens no more.
func (v *serving) stop() error {
	v.s.publish(v.s.deps.Subjects.SequencerAlive(v.s.cfg.ID), nil)
	err := v.alive.Unsubscribe()
	if errors.Is(err, nats.ErrConnectionClosed) {
		err = nil
	}
	for shard, l := range v.listeners {
		if l != nil {
			err = errors.Join(err, v.turn(shard, false))
		}
	}
	return err
}
