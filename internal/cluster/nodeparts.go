package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/member"
	"github.com/seed-551dd829/braid/primary"
	"github.com/seed-551dd829/braid/replicator"
)

func (n *node) segments() string { return filepath.Join(n.cfg.DataDir, "segments") }

// settle decides about this node's own segments of earlier epochs. Registering came first and has fenced them, so
// that nobody can commit one after it was looked at.
func (n *node) settle(ctx context.Context, epoch uint64) error {
	report, err := primary.Settle(ctx, primary.SettleConfig{
		ID: n.cfg.ID, Epoch: epoch, SegmentsDir: n.segments(),
	}, primary.SettleDeps{FS: n.env.FS, Objects: n.objects, Logger: n.log})
	if err != nil {
		return fmt.Errorf("settle old segments: %w", err)
	}
	if report != (primary.Report{}) {
		n.log.Info("old segments settled", "epoch", epoch, "report", report)
	}
	return nil
}

// startParts starts what goes on whatever becomes of the node's epoch and role.
func (n *node) startParts(ctx context.Context) (err error) {
	if err := n.startReplicator(ctx); err != nil {
		return err
	}
	if err := n.startHolder(ctx); err != nil {
		return err
	}
	n.holders, err = n.startPeers(ctx)
	return err
}

// startReplicator starts what follows the logs and serves reads.
func (n *node) startReplicator(ctx context.Context) (err error) {
	n.replicator, err = replicator.New(replicator.Config{
		ID: n.cfg.ID, DataDir: n.cfg.DataDir, SegmentsDir: n.segments(),
		ScrubBytes: n.cfg.ScrubBytes, ScrubPause: n.cfg.ScrubPause,
	}, replicator.Deps{
		Conn: n.nc, Subjects: n.env.Subjects, FS: n.env.FS, Objects: n.objects, Sequencer: n.seq, Catalog: n.catalog,
		Shards: n.shards, Logger: n.log, Registerer: n.env.registerer(n.cfg.ID),
		Topology: n.seq.Topology, Trust: n.env.HTTP.Trust, Token: n.env.HTTP.Token,
	})
	if err != nil {
		return err
	}
	n.member.ReportProgress(n.replicator.Lag, n.replicator.Applied, n.standing)
	n.stack.start(ctx, "replicator", n.replicator.Run)
	n.stack.start(ctx, "http", func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, n.replicator.StopWaiting)
		defer stop()
		return n.env.serve(ctx, n.http, n.env.mux(n.readyz, n.replicator.Handler()))
	})
	return nil
}

// standing is what the node's heartbeats tell of tables that stand.
func (n *node) standing() api.Standing {
	names := slices.Sorted(maps.Keys(n.replicator.Standing()))
	return api.Standing{TablesStanding: len(names), StandingNames: names[:min(len(names), api.StandingNamesMax)]}
}

// startInfo answers `info`: who this node is, and how far it has come; and `drain`, at once: the state in the topology
// tells how far that has come.
func (n *node) startInfo(ctx context.Context, l *life) error {
	s, err := bus.NewService(n.beats, bus.ServiceOptions{
		Name: "braid-node", Version: api.Version, Description: "node " + n.cfg.ID, Logger: n.log,
		Registerer: n.env.registerer(n.cfg.ID),
		Inboxes:    n.env.Subjects.Inboxes,
	})
	if err != nil {
		return err
	}
	answer := func(r bus.Incoming) {
		if err := r.ReplyJSON(n.member.Info(api.Version), nil); err != nil {
			n.log.Warn("info not answered", "error", err)
		}
	}
	err = errors.Join(
		s.Handle("info", n.env.Subjects.NodeInfo(n.cfg.ID), bus.Endpoint{}, answer),
		s.Handle("drain", n.env.Subjects.NodeDrain(n.cfg.ID), bus.Endpoint{}, func(r bus.Incoming) {
			n.log.Info("told to drain")
			l.leave()
			answer(r)
		}))
	if err != nil {
		return errors.Join(err, s.Stop())
	}
	n.stack.start(ctx, "info", func(ctx context.Context) error {
		<-ctx.Done()
		return s.Stop()
	})
	return nil
}

// newPrimary makes the primary service for an epoch, and has heartbeats tell its load.
func (n *node) newPrimary(epoch, firstSequence uint64) (*primaryPart, error) {
	metrics := &scope{Registerer: n.env.registerer(n.cfg.ID)}
	p, err := primary.New(primary.Config{
		ID: n.cfg.ID, Epoch: epoch, FirstSequence: firstSequence, SegmentsDir: n.segments(),
		SealInterval: n.cfg.sealInterval(), WALCopies: n.cfg.WALCopies, WALSealInterval: n.cfg.walSealInterval(),
	}, primary.Deps{
		Conn: n.nc, Subjects: n.env.Subjects, FS: n.env.FS, Objects: n.objects, Sequencer: n.seq, Catalog: n.catalog,
		Shards: n.shards, Logger: n.log.With("epoch", epoch), Registerer: metrics,
		Holders: n.holders,
	})
	if err != nil {
		metrics.close()
		return nil, err
	}
	n.member.ReportLoad(func() member.Load {
		l := p.Load()
		return member.Load{Fraction: l.Fraction, FreeBytes: l.FreeBytes, Senders: l.Senders,
			Unable: cmp.Or(n.link.unable(), l.Unable)}
	})
	return &primaryPart{epoch: epoch, service: p, metrics: metrics}, nil
}

// readyz says why the node cannot do what it is there for. It is the only word that is heard of one that is cut off from
// NATS.
func (n *node) readyz() error {
	h, _ := n.member.Heartbeat()
	switch {
	case h.State != api.Live:
		return fmt.Errorf("node %s is %s", n.cfg.ID, h.State)
	case h.Unable != "":
		return fmt.Errorf("node %s cannot take writes: %s", n.cfg.ID, h.Unable)
	}
	return nil
}
