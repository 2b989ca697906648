package linear

import (
	"maps"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/seed-551dd829/braid/internal/history"
)

// RegistryOp is a registration of a producer, or a renewal of one, sent once.
type RegistryOp struct {
	Call
	Producer string
	Renew    bool
	// Epoch is the one that a registration answered, or that a renewal was sent with. A renewal that was refused as
	// fenced is Conflicted.
	Epoch uint64
}

// registry is a state of the model: the largest epoch that anyone was told, and each producer's registered one.
type registry struct {
	largest uint64
	owners  map[string]uint64 // unseen: registered under an epoch that nobody was told
}

const unseen = 0

// Registry checks that epochs only grow, over all producers, and that a producer's registration fences the earlier
// ones at that moment and for good (I6).
func Registry(ops []RegistryOp, timeout time.Duration) error {
	model := porcupine.NondeterministicModel{
		Init: func() []any { return []any{registry{}} },
		Step: func(state, input, _ any) []any { return registryStep(state.(registry), input.(RegistryOp)) },
		Equal: func(a, b any) bool {
			x, y := a.(registry), b.(registry)
			return x.largest == y.largest && maps.Equal(x.owners, y.owners)
		},
	}
	all := make([]porcupine.Operation, len(ops))
	for i, o := range ops {
		all[i] = operation(o.Call, o)
	}
	return check(model.ToModel(), all, timeout)
}

func registryStep(r registry, o RegistryOp) []any {
	owner, known := r.owners[o.Producer]
	switch {
	case o.Renew && o.Outcome == history.Unknown:
		return []any{r}
	case o.Renew && (o.Outcome == history.Acknowledged) == (known && owner == o.Epoch):
		return []any{r}
	case o.Renew:
		return nil
	case o.Outcome == history.Unknown:
		return []any{r, r.with(o.Producer, unseen)}
	case o.Epoch > r.largest:
		return []any{r.with(o.Producer, o.Epoch)}
	}
	return nil
}

func (r registry) with(producer string, epoch uint64) registry {
	owners := maps.Clone(r.owners)
	if owners == nil {
		owners = make(map[string]uint64)
	}
	owners[producer] = epoch
	return registry{max(r.largest, epoch), owners}
}
