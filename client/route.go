package client

import (
	"fmt"
	"strings"

	"github.com/seed-551dd829/braid/internal/api"
)

// Route is the way that a write takes. Whichever it is, its identity is the same, and failover, draining and fencing
// are followed: a write that named a primary goes to the one that stands in for it, or, if none does, to any other.
//
// As text it is "gateway", "direct", "primary.p1" or "direct.p1".
type Route string

const (
	// Gateway is the cluster's address: any gateway takes the write, encodes it together with others, and sends it to
	// the least-loaded primary.
	Gateway Route = "gateway"
	// Direct encodes the rows here and sends them straight to the least-loaded primary. No gateway is needed, and its
	// share of the work is saved; a write is a group of its own, so it is for writes of many rows.
	Direct Route = "direct"
)

// Primary is through a gateway to a primary of choice, by its id.
func Primary(id string) Route { return Route("primary." + id) }

// DirectTo is Direct to a primary of choice, by its id.
func DirectTo(id string) Route { return Route("direct." + id) }

// split returns whether the route goes round the gateways, and the primary that it names, if any.
func (r Route) split() (direct bool, primary string) {
	kind, primary, _ := strings.Cut(string(r), ".")
	return kind == "direct", primary
}

func (r Route) check() error {
	kind, primary, named := strings.Cut(string(r), ".")
	switch {
	case !named && (r == Gateway || r == Direct):
		return nil
	case !named || kind != "primary" && kind != "direct":
		return fmt.Errorf(`route %q: is gateway, direct, primary.ID or direct.ID`, string(r))
	}
	if err := api.CheckNode(primary); err != nil {
		return fmt.Errorf("route %q: %w", string(r), err)
	}
	return nil
}
