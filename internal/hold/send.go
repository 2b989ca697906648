package hold

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// Ask sends one request to a node's hold subject and returns the answer's payload, with the errors of bus.Request.
type Ask func(ctx context.Context, node string, request []byte) ([]byte, error)

// OverNATS asks over nc, which stays the caller's.
func OverNATS(nc *nats.Conn, subjects api.Subjects) Ask {
	return func(ctx context.Context, node string, request []byte) ([]byte, error) {
		m, err := bus.Request(ctx, nc, subjects.NodeHold(node), nil, request)
		if err != nil {
			return nil, err
		}
		return m.Data, nil
	}
}

// errNotWhole says that a node took all pieces and does not say that it has the whole segment.
var errNotWhole = errors.New("not held as a whole")

// Send brings a segment of size bytes to a node, piece by piece. nil means that the node is a holder of it.
func (ask Ask) Send(ctx context.Context, node string, id api.SegmentID, r io.ReaderAt, size int64) error {
	piece := make([]byte, min(size, api.HoldPieceBytes))
	var request []byte
	for offset := int64(0); offset < size; offset += int64(len(piece)) {
		piece = piece[:min(size-offset, int64(len(piece)))]
		if n, err := r.ReadAt(piece, offset); n < len(piece) {
			return fmt.Errorf("read segment %s at %d: %w", id, offset, err)
		}
		request = api.AppendHoldRequest(request[:0], &api.HoldRequest{
			Kind: api.HoldPiece, Segment: id, Offset: uint64(offset), Total: uint64(size), Data: piece,
		})
		data, err := ask(ctx, node, request)
		if err != nil {
			return fmt.Errorf("node %s, segment %s: %w", node, id, err)
		}
		var a api.HoldAnswer
		if err := json.Unmarshal(data, &a); err != nil {
			return fmt.Errorf("node %s, segment %s: %w: %w", node, id, bus.ErrUnknown, err)
		}
		if a.Whole { // it may have had it already
			return nil
		}
	}
	return fmt.Errorf("node %s, segment %s: %w", node, id, errNotWhole)
}

// Drop tells a node that it may let a copy go.
func (ask Ask) Drop(ctx context.Context, node string, id api.SegmentID) error {
	_, err := ask(ctx, node, api.AppendHoldRequest(nil, &api.HoldRequest{Kind: api.HoldDrop, Segment: id}))
	return err
}

// Settle asks a node to bring a segment into the object store and to confirm it, if it can.
func (ask Ask) Settle(ctx context.Context, node string, id api.SegmentID) (a api.HoldSettleAnswer, err error) {
	data, err := ask(ctx, node, api.AppendHoldRequest(nil, &api.HoldRequest{Kind: api.HoldSettle, Segment: id}))
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return a, fmt.Errorf("node %s, segment %s: %w", node, id, err)
	}
	return a, nil
}
