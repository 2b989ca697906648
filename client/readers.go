package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/bearer"
	"github.com/seed-551dd829/braid/internal/topology"
)

var errNoNode = errors.New("no node can be read from")

// errStalled gives a node up that has sent nothing for stallMax.
var errStalled = errors.New("it has sent nothing for too long")

// stallMax is how long a node may send nothing of an answer. It is more than a node waits for a damaged file that it
// fetches again, and bounds how long a read hangs at a node that has vanished.
const stallMax = 30 * time.Second

// readers are the nodes to ask, the best one first: those that are heard, as they are ahead; then those that the
// topology knows to live, for a client that has just connected.
func (p *primaries) readers(now time.Time) []api.Node {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.view.Readers(now)
	known, _ := p.view.Topology()
	for _, state := range []api.State{api.Live, api.Draining} {
		for _, n := range known.Nodes {
			heard := slices.ContainsFunc(all, func(h api.Node) bool { return h.ID == n.ID })
			if n.State == state && !heard {
				all = append(all, n)
			}
		}
	}
	return slices.DeleteFunc(all, func(n api.Node) bool { return n.HTTP == "" })
}

func (p *primaries) member(node string) (n api.Node, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n, ok = p.view.Node(node); ok {
		n.HTTP, _ = p.view.Address(node)
	}
	return n, ok && n.HTTP != ""
}

func (p *primaries) settled(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.view.Settled(now)
}

// readersOf returns the nodes to ask, the best one first; if node is not "" that one alone.
func (c *Client) readersOf(ctx context.Context, node string) ([]api.Node, error) {
	if err := c.isOpen(); err != nil {
		return nil, err
	}
	// Right after Connect, who is ahead becomes clear with the first heartbeats.
	for now := time.Now(); node == "" && !c.primaries.settled(now) && now.Before(c.connected.Add(topology.HeartbeatMax)); {
		if !c.pause(ctx, 10*time.Millisecond) {
			break
		}
		now = time.Now()
	}
	for refreshed := false; ; refreshed = true {
		if n, ok := c.primaries.member(node); ok {
			return []api.Node{n}, nil
		}
		if all := c.primaries.readers(time.Now()); node == "" && len(all) > 0 {
			return all, nil
		}
		switch {
		case !refreshed:
			if _, err := c.topology(ctx); err != nil {
				return nil, err
			}
		case node != "":
			return nil, fmt.Errorf("%w: node %s", ErrNotFound, api.Quote(node))
		default:
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, errNoNode)
		}
	}
}

// reply is a node's answer. Whoever has it closes its body.
type reply struct {
	node   string
	header http.Header
	body   io.ReadCloser
}

// get asks a node, or all that can be read from, the best one first, until one answers.
func (c *Client) get(ctx context.Context, node, path string, query url.Values) (*reply, error) {
	nodes, err := c.readersOf(ctx, node)
	if err != nil {
		return nil, err
	}
	err = nil
	for _, n := range nodes {
		r, failed := c.getFrom(ctx, n, path, query)
		if failed == nil {
			return r, nil
		}
		if err == nil || errors.Is(err, ErrNotFound) { // what only one node does not have is not what matters
			err = failed
		}
		again := errors.Is(failed, ErrUnavailable) || errors.Is(failed, ErrOverloaded) || errors.Is(failed, ErrNotFound)
		if !again || ctx.Err() != nil || c.isOpen() != nil {
			break
		}
	}
	return nil, err
}

// newHTTPClient is for reads. An answer that does not come, or stops coming, is getFrom's to give up.
func newHTTPClient(trust *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: connectMax}).DialContext,
		TLSClientConfig:     trust,
		TLSHandshakeTimeout: connectMax,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     time.Minute,
	}, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // no node sends elsewhere, and the token is for nodes
	}}
}

// connectMax bounds how long a node that has vanished holds a read up, before the next one is asked.
const connectMax = 5 * time.Second

// getFrom asks one node. The answer ends with ctx and with the client.
func (c *Client) getFrom(ctx context.Context, n api.Node, path string, query url.Values) (_ *reply, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer func() {
		if err != nil {
			cancel(nil)
		}
	}()
	if !c.spawn(func() {
		select {
		case <-c.closed:
			cancel(ErrClosed)
		case <-ctx.Done():
		}
	}) {
		return nil, ErrClosed
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, api.HTTPURL(n.HTTP)+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("node %s at %q: %w", n.ID, n.HTTP, err)
	}
	bearer.Set(request, c.opts.httpToken)
	body := &guarded{node: n.ID, cancel: cancel, cause: func() error { return context.Cause(ctx) }}
	body.stall = time.AfterFunc(stallMax+waitOf(query), func() { cancel(errStalled) })
	response, err := c.http.Do(request)
	body.stall.Stop()
	if err != nil {
		return nil, body.failed(err)
	}
	body.ReadCloser = response.Body
	if response.StatusCode == http.StatusOK {
		return &reply{n.ID, response.Header, body}, nil
	}
	defer body.Close()
	return nil, refusal(n.ID, response.Status, body)
}

// refusal reads a node's error.
func refusal(node, status string, body io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(body, 64<<10))
	if err != nil {
		return err
	}
	e := new(api.Error)
	if json.Unmarshal(text, e) == nil && e.Name != "" {
		return fmt.Errorf("node %s: %w", node, publicRefusal(e))
	}
	return fmt.Errorf("%w: node %s: %s: %s", ErrUnavailable, node, status, strings.TrimSpace(string(text)))
}

// guarded is the body of an answer. A node that sends nothing for too long is given up; how long its reader takes
// does not count.
type guarded struct {
	io.ReadCloser
	node   string
	stall  *time.Timer
	cancel context.CancelCauseFunc
	cause  func() error // why the request was ended, if it was
}

func (g *guarded) Read(b []byte) (int, error) {
	g.stall.Reset(stallMax)
	n, err := g.ReadCloser.Read(b)
	g.stall.Stop()
	if err != nil && err != io.EOF {
		err = g.failed(err)
	}
	return n, err
}

func (g *guarded) failed(err error) error {
	if cause := g.cause(); cause != nil {
		err = cause
	}
	return fmt.Errorf("%w: node %s: %w", ErrUnavailable, g.node, err)
}

// Close ends the request, if it has not ended. Whoever has read everything leaves the connection to others.
func (g *guarded) Close() error {
	err := g.ReadCloser.Close()
	g.cancel(nil)
	return err
}
