package sequencer

import (
	"fmt"

	"github.com/seed-551dd829/braid/internal/api"
)

// holdersMax bounds the holders of a segment.
const holdersMax = 64

// Request is a commit request with the headers of its groups decoded, ready to be decided as often as need be.
type Request struct {
	Node   string
	Epoch  uint64
	Groups []Group
	Size   int // bytes as it arrived
	Writes int // in all groups
}

// Group is one group of a request.
type Group struct {
	api.CommitGroup
	api.GroupHeader
}

// ParseRequest decodes a commit request to a shard, and checks what needs no store. Its error refuses the whole
// request with Invalid: such a request no primary makes.
func (c Core) ParseRequest(data []byte, shard int) (*Request, error) {
	raw, err := api.ParseCommitRequest(data)
	if err != nil {
		return nil, invalid("%v", err)
	}
	r := &Request{Node: raw.Node, Epoch: raw.Epoch, Groups: make([]Group, len(raw.Groups)), Size: len(data)}
	for i := range raw.Groups {
		g := &r.Groups[i]
		g.CommitGroup = raw.Groups[i]
		if g.GroupHeader, err = api.ParseGroupHeader(g.CommitGroup.Header); err != nil {
			return nil, invalid("group %d: %v", i, err)
		}
		if err := c.checkGroup(g, shard); err != nil {
			return nil, invalid("group %d: %v", i, err)
		}
		r.Writes += len(g.Writes)
	}
	return r, nil
}

func (c Core) checkGroup(g *Group, shard int) error {
	if s := api.Shard(g.Table, c.Shards); s != shard {
		return fmt.Errorf("table %s is of shard %d, not %d", g.Table, s, shard)
	}
	if g.State == api.Pending && g.Durability == api.DurabilityObject {
		return fmt.Errorf("table %s: a group of durability object is committed once it is in the object store", g.Table)
	}
	if len(g.Holders) > holdersMax || g.State == api.Pending && len(g.Holders) == 0 {
		return fmt.Errorf("table %s: %d holders of a %s segment", g.Table, len(g.Holders), g.State)
	}
	for _, h := range g.Holders {
		if err := api.CheckNode(h); err != nil {
			return fmt.Errorf("holder: %v", err)
		}
	}
	return g.CheckIdentities()
}
