package api

import "fmt"

// A change of the membership that somebody decides about others names the version of the topology that it was decided
// on, and is refused as Conflict, with expected and current version, if that is not the one in the store. Whoever
// decided then looks again. So two who decide at once do no harm, and a request that is repeated because its answer was
// lost does nothing the second time.

// FailNodeRequest declares a node dead and fences its epoch. Refused besides: NotFound; Fenced if the epoch is not the
// registered one; Invalid if the node is stopped or dead already, or StandIn cannot stand in.
type FailNodeRequest struct {
	ID      string `json:"id"`
	Epoch   uint64 `json:"epoch"`
	Version uint64 `json:"version"`
	// StandIn is the live replica that becomes primary standing in for the node; "" only fences. It is for a primary
	// in whose place nobody stands yet, and for one that stands in for another itself: then StandIn stands in for that
	// other one. Such a node is a replica again in any case.
	StandIn string `json:"stand_in,omitempty"`
}

// StandInRequest makes a live replica the stand-in of a dead primary that has none: no replica lived when it died, or
// its stand-in has left. Refused besides: NotFound, Invalid.
type StandInRequest struct {
	ID      string `json:"id"`
	StandIn string `json:"stand_in"`
	Version uint64 `json:"version"`
}

// RoleRequest is an operator's decision, `braid.registry.promote` or `.demote`: a live node has another role for good.
// The registry remembers it, whatever role the node's process registers with later. A stand-in that is promoted stands
// in for nobody any more. Refused besides: NotFound, Invalid.
type RoleRequest struct {
	ID      string `json:"id"`
	Version uint64 `json:"version"`
}

// RemoveRequest is an operator's decision: the node is no member any more, and what its process of before has not
// committed it never will. Its stand-in is a primary for good. A node that registers under the id afterwards is a new
// one. Refused besides: NotFound; Invalid unless the node is stopped or dead; Unavailable while a pending record is on
// its disk and no other member's.
type RemoveRequest struct {
	ID      string `json:"id"`
	Version uint64 `json:"version"`
}

// TopologyAnswer is the topology after a change.
type TopologyAnswer struct {
	Topology Topology `json:"topology"`
}

// Lease is a lease as it stands in the store: a counter that its holder bumps. Another takes it after it has seen it
// unchanged for long enough by its own clock. The zero value is a lease that nobody has had.
type Lease struct {
	Holder  string `json:"holder"`
	Counter uint64 `json:"counter"`
}

// LeaseRequest bumps a lease for Holder, or takes it, if it still is as it was seen. With no Holder it only reads.
type LeaseRequest struct {
	Name   string `json:"name"`
	Holder string `json:"holder,omitempty"`
	Seen   Lease  `json:"seen"`
}

// LeaseAnswer is the lease as it is now, and whether it was bumped.
type LeaseAnswer struct {
	Lease  Lease `json:"lease"`
	Bumped bool  `json:"bumped"`
}

// CheckLease says why name cannot be a lease's name, or nil. The sequencers' own lease is none of them.
func CheckLease(name string) error {
	if CheckNode(name) != nil || name == TicksLease {
		return fmt.Errorf("lease name %s must be made of 1 to 63 of a-z 0-9 - _, and not be %s", Quote(name), TicksLease)
	}
	return nil
}

// The leases of a cluster.
const (
	TicksLease    = "ticks"    // held by the sequencer that bumps the tick counter
	FailoverLease = "failover" // held by the failover instance that acts
)

// VersionError refuses a change that was decided on another version of the topology than the current one.
func VersionError(expected, current uint64) *Error {
	e := Errorf(Conflict, "the topology is at version %d, this was decided at version %d: look again", current, expected)
	e.Expected, e.Current = &expected, &current
	return e
}
