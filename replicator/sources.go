package replicator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/bearer"
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

// peers are the other nodes of the topology, each a source of its own: one may have a damaged copy.
func (s *Service) peers(ctx context.Context) ([]source, error) {
	topology, err := s.deps.Topology(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the other nodes: %w", err)
	}
	var sources []source
	for _, n := range topology.Nodes {
		if n.ID == s.cfg.ID || n.HTTP == "" {
			continue
		}
		sources = append(sources, func(ctx context.Context, id api.SegmentID) (io.ReadCloser, error) {
			return s.fromPeer(ctx, n, id)
		})
	}
	return sources, nil
}

func (s *Service) fromPeer(ctx context.Context, n api.Node, id api.SegmentID) (io.ReadCloser, error) {
	url := fmt.Sprintf("%s/segments/%s", api.HTTPURL(n.HTTP), id)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	bearer.Set(r, s.deps.Token)
	answer, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("node %s: %s", n.ID, answer.Status), answer.Body.Close())
	}
	return answer.Body, nil
}

// peerTimeout is how long another node may take to answer at all: a host that has vanished takes for ever.
const peerTimeout = 3 * time.Second

func newClient(parallel int, trust *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:       trust,
		TLSHandshakeTimeout:   peerTimeout,
		DialContext:           (&net.Dialer{Timeout: peerTimeout}).DialContext,
		ResponseHeaderTimeout: peerTimeout,
		MaxIdleConnsPerHost:   parallel,
		IdleConnTimeout:       time.Minute,
	}, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // no node sends elsewhere, and the token is for nodes
	}}
}
