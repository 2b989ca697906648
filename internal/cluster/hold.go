package cluster

import (
	"context"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/hold"
)

// startHolder makes the node a holder of other nodes' segments, and settles what earlier processes of this node have
// left. The node has registered, which fenced their epochs.
func (n *node) startHolder(ctx context.Context) error {
	h, err := hold.New(hold.Config{ID: n.cfg.ID, SegmentsDir: n.segments()}, hold.Deps{
		FS: n.env.FS, Objects: n.objects, Sequencer: n.seq, Logger: n.log, Registerer: n.env.registerer(n.cfg.ID),
		Stands: n.replicator.Pending,
	}, n.nc, n.env.Subjects)
	if err != nil {
		return err
	}
	n.stack.start(ctx, "holder", h.Run)
	return nil
}

// holders are the other nodes, as a primary sees them.
type holders struct {
	*hold.Peers
	hold.Ask
}

// peersEvery is how often nodes that have been silent are forgotten.
const peersEvery = 200 * time.Millisecond

// startPeers follows the heartbeats of the other nodes: the primary asks those that live to hold its segments.
func (n *node) startPeers(ctx context.Context) (holders, error) {
	f, err := bus.NewFollower(n.nc, n.log, nil)
	if err != nil {
		return holders{}, err
	}
	peers := hold.NewPeers(n.cfg.ID, time.Now)
	stop, err := f.Follow(n.env.Subjects.Heartbeat("*"), bus.JSON(func(h api.Heartbeat) error {
		peers.Heard(h)
		return nil
	}))
	if err != nil {
		return holders{}, err
	}
	n.stack.start(ctx, "peers", func(ctx context.Context) error {
		ticker := time.NewTicker(peersEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return stop()
			case <-ticker.C:
				peers.Refresh()
			}
		}
	})
	return holders{peers, hold.OverNATS(n.nc, n.env.Subjects)}, nil
}
