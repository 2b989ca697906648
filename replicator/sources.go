package replicator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/objstore"
)

// source is a place that may have a segment. What it returns is not trusted.
type source func(ctx context.Context, id api.SegmentID) (io.ReadCloser, error)

func fromObjects(objects objstore.Store) source {
	return func(ctx context.Context, id api.SegmentID) (io.ReadCloser, error) {
		body, _, err := objects.Get(ctx, id.Key())
		return body, err
	}
}

// errNoPeer says that no other node could give the segment.
var errNoPeer = errors.New("no other node has it")

// fromPeers asks the other nodes of the topology, one after the other.
func (s *Service) fromPeers(ctx context.Context, id api.SegmentID) (io.ReadCloser, error) {
	topology, err := s.deps.Topology(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the other nodes: %w", err)
	}
	errs := []error{errNoPeer}
	for _, n := range topology.Nodes {
		if n.ID == s.cfg.ID || n.HTTP == "" {
			continue
		}
		body, err := s.fromPeer(ctx, n, id)
		if err == nil {
			return body, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (s *Service) fromPeer(ctx context.Context, n api.Node, id api.SegmentID) (io.ReadCloser, error) {
	url := fmt.Sprintf("http://%s/segments/%s", n.HTTP, id)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("node %s: %s", n.ID, answer.Status), answer.Body.Close())
	}
	return answer.Body, nil
}
