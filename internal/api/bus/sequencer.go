package bus

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
)

// Sequencer asks the sequencer. Every method is one attempt, bounded by its context; the errors are those of Request.
type Sequencer struct {
	nc       *nats.Conn
	subjects api.Subjects
}

// NewSequencer uses nc, which stays the caller's.
func NewSequencer(nc *nats.Conn, subjects api.Subjects) *Sequencer {
	return &Sequencer{nc: nc, subjects: subjects}
}

// Commit asks for the TxIDs of a request's groups; the answers are in their order.
func (s *Sequencer) Commit(ctx context.Context, shard int, r *api.CommitRequest) ([]api.GroupAnswer, error) {
	msg, err := Request(ctx, s.nc, s.subjects.Commit(shard), nil, api.AppendCommitRequest(nil, r))
	if err != nil {
		return nil, err
	}
	answers, err := api.ParseCommitAnswer(msg.Data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if len(answers) != len(r.Groups) {
		return nil, fmt.Errorf("%w: %d answers to %d groups", ErrUnknown, len(answers), len(r.Groups))
	}
	return answers, nil
}

// Log reads a piece of a shard's commit log.
func (s *Sequencer) Log(ctx context.Context, shard int, r api.LogRequest) (api.LogAnswer, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return api.LogAnswer{}, err
	}
	msg, err := Request(ctx, s.nc, s.subjects.Log(shard), nil, data)
	if err != nil {
		return api.LogAnswer{}, err
	}
	return api.ParseLogAnswer(msg.Data)
}

// Heads reads how far each shard's log goes.
func (s *Sequencer) Heads(ctx context.Context) ([]uint64, error) {
	a, err := Ask[api.HeadsAnswer](ctx, s.nc, s.subjects.Heads(), struct{}{})
	return a.Heads, err
}

// Schema grows or reads a table's schema.
func (s *Sequencer) Schema(ctx context.Context, r api.SchemaRequest) (api.SchemaAnswer, error) {
	return Ask[api.SchemaAnswer](ctx, s.nc, s.subjects.Schema(), r)
}

// Tables lists tables and their heads.
func (s *Sequencer) Tables(ctx context.Context, r api.TablesRequest) (api.TablesAnswer, error) {
	return Ask[api.TablesAnswer](ctx, s.nc, s.subjects.Tables(), r)
}

// RegisterNode starts a node's process: a new epoch, and its earlier ones are fenced.
func (s *Sequencer) RegisterNode(
	ctx context.Context, r api.RegisterNodeRequest,
) (api.RegisterNodeAnswer, error) {
	return Ask[api.RegisterNodeAnswer](ctx, s.nc, s.subjects.RegisterNode(), r)
}

// SetNodeState changes a node's state, if its epoch is still the registered one.
func (s *Sequencer) SetNodeState(
	ctx context.Context, r api.NodeStateRequest,
) (api.NodeStateAnswer, error) {
	return Ask[api.NodeStateAnswer](ctx, s.nc, s.subjects.NodeState(), r)
}

// FailNode declares a node dead.
func (s *Sequencer) FailNode(ctx context.Context, r api.FailNodeRequest) (api.TopologyAnswer, error) {
	return Ask[api.TopologyAnswer](ctx, s.nc, s.subjects.FailNode(), r)
}

// StandIn gives a dead primary a stand-in.
func (s *Sequencer) StandIn(ctx context.Context, r api.StandInRequest) (api.TopologyAnswer, error) {
	return Ask[api.TopologyAnswer](ctx, s.nc, s.subjects.StandIn(), r)
}

// Promote makes a live replica a primary for good.
func (s *Sequencer) Promote(ctx context.Context, r api.RoleRequest) (api.TopologyAnswer, error) {
	return Ask[api.TopologyAnswer](ctx, s.nc, s.subjects.Promote(), r)
}

// Demote makes a live primary a replica for good.
func (s *Sequencer) Demote(ctx context.Context, r api.RoleRequest) (api.TopologyAnswer, error) {
	return Ask[api.TopologyAnswer](ctx, s.nc, s.subjects.Demote(), r)
}

// Remove ends a node's membership.
func (s *Sequencer) Remove(ctx context.Context, r api.RemoveRequest) (api.TopologyAnswer, error) {
	return Ask[api.TopologyAnswer](ctx, s.nc, s.subjects.Remove(), r)
}

// Lease bumps a lease, or reads it.
func (s *Sequencer) Lease(ctx context.Context, r api.LeaseRequest) (api.LeaseAnswer, error) {
	return Ask[api.LeaseAnswer](ctx, s.nc, s.subjects.Lease(), r)
}

// RegisterProducer registers a producer under a new epoch.
func (s *Sequencer) RegisterProducer(
	ctx context.Context, r api.RegisterProducerRequest,
) (api.RegisterProducerAnswer, error) {
	return Ask[api.RegisterProducerAnswer](ctx, s.nc, s.subjects.RegisterProducer(), r)
}

// RenewProducer keeps a living producer from expiring.
func (s *Sequencer) RenewProducer(ctx context.Context, r api.RenewProducerRequest) error {
	_, err := Ask[struct{}](ctx, s.nc, s.subjects.RenewProducer(), r)
	return err
}

// Topology reads the membership.
func (s *Sequencer) Topology(ctx context.Context) (api.Topology, error) {
	return Ask[api.Topology](ctx, s.nc, s.subjects.TopologyGet(), struct{}{})
}

// SegmentState asks what the store knows of a segment.
func (s *Sequencer) SegmentState(ctx context.Context, id api.SegmentID) (api.SegmentStateAnswer, error) {
	return Ask[api.SegmentStateAnswer](ctx, s.nc, s.subjects.SegmentState(), api.SegmentStateRequest{Segment: id})
}

// Confirm states that a segment is in the object store. It asks until all of its records are confirmed, and returns how
// many became so.
func (s *Sequencer) Confirm(ctx context.Context, id api.SegmentID) (confirmed int, err error) {
	for {
		a, err := Ask[api.ConfirmAnswer](ctx, s.nc, s.subjects.Confirm(), api.ConfirmRequest{Segment: id})
		confirmed += a.Confirmed
		if err != nil || !a.More {
			return confirmed, err
		}
	}
}

// Void gives up a pending record.
func (s *Sequencer) Void(ctx context.Context, r api.VoidRequest) (api.VoidAnswer, error) {
	return Ask[api.VoidAnswer](ctx, s.nc, s.subjects.Void(), r)
}

// Pending lists pending records.
func (s *Sequencer) Pending(ctx context.Context, r api.PendingRequest) (api.PendingAnswer, error) {
	return Ask[api.PendingAnswer](ctx, s.nc, s.subjects.Pending(), r)
}

// Ask is one request and its answer in JSON, to any subject.
func Ask[T any](ctx context.Context, nc *nats.Conn, subject string, request any) (answer T, err error) {
	data, err := json.Marshal(request)
	if err != nil {
		return answer, err
	}
	msg, err := Request(ctx, nc, subject, nil, data)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return answer, fmt.Errorf("%w: answer of %s: %w", ErrUnknown, subject, err)
	}
	return answer, nil
}
