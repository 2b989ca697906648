package failover

import (
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// action is something that the core wants done. Whoever does it tells the core the outcome, except for publish and
// note, which have none. Their String is what the scripts in testdata show.
type action interface{ String() string }

// bump is a request about the lease; with an empty Holder it only reads. Outcome: core.leaseAnswered.
type bump struct{ api.LeaseRequest }

// look reads the topology. Outcome: core.topologyAnswered.
type look struct{}

// ask asks a node whether it lives, for Config.AskTimeout. Outcome: core.asked.
type ask struct {
	id    string
	epoch uint64
}

// fail declares a node dead. Outcome: core.decided.
type fail struct {
	api.FailNodeRequest
	silent time.Duration
	why    string // what asking it has brought
	place  string // whose place StandIn takes
	lag    uint64 // of StandIn
}

// standIn gives a dead primary a stand-in. Outcome: core.decided.
type standIn struct {
	api.StandInRequest
	lag uint64
}

// publish announces the topology.
type publish struct{ api.Topology }

// note is for whoever reads the log.
type note struct {
	warn bool
	text string
	args []any // as slog takes them
}

func (a bump) String() string {
	if a.Holder == "" {
		return "read the lease"
	}
	return fmt.Sprintf("bump the lease, seen %s/%d", a.Seen.Holder, a.Seen.Counter)
}
func (look) String() string  { return "read the topology" }
func (a ask) String() string { return fmt.Sprintf("ask %s/%d", a.id, a.epoch) }
func (a fail) String() string {
	s := fmt.Sprintf("declare %s/%d dead at version %d: silent for %s, %s", a.ID, a.Epoch, a.Version, a.silent, a.why)
	if a.StandIn != "" {
		s += fmt.Sprintf("; %s (lag %d) stands in for %s", a.StandIn, a.lag, a.place)
	}
	return s
}
func (a standIn) String() string {
	return fmt.Sprintf("%s (lag %d) stands in for %s at version %d", a.StandIn, a.lag, a.ID, a.Version)
}
func (a publish) String() string { return fmt.Sprintf("publish version %d", a.Version) }
func (a note) String() string {
	s := "note: " + a.text
	for i := 0; i+1 < len(a.args); i += 2 {
		s += fmt.Sprintf(" %v=%v", a.args[i], a.args[i+1])
	}
	return s
}
