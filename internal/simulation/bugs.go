package simulation

import (
	"context"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/sim"
	"github.com/seed-551dd829/braid/primary"
	"github.com/seed-551dd829/braid/replicator"
)

// Bug is a planted mistake: put in through what a machine is given, never in the services themselves.
type Bug string

func (b Bug) force(*sim.Chaos) {}

func (b Bug) objects(_ *node, o objstore.Store) objstore.Store { return o }

func (b Bug) puts(_ *node, o objstore.Store) objstore.Store { return o }

func (b Bug) disk(_ *node, f disk.FS) disk.FS { return f }

func (b Bug) log(_ *node, a asker) replicator.Sequencer { return a }

func (b Bug) commits(_ *node, a asker) primary.Sequencer { return a }

func (b Bug) register(
	_ *node, a asker,
) func(context.Context, api.RegisterNodeRequest) (api.RegisterNodeAnswer, error) {
	return a.RegisterNode
}
