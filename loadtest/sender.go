package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/seed-551dd829/braid/client"
)

// sender is a way in. send returns the write's TxID; expected is nil for a write without a lock.
type sender interface {
	send(ctx context.Context, b *batch, expected *uint64) (txid uint64, err error)
}

// sdkSender writes through the SDK: to the cluster's address, or through one primary.
type sdkSender struct {
	client    *client.Client
	primary   string // "": the cluster's address
	direct    bool   // prepared rows go straight to a primary
	anonymous bool
}

func (s *sdkSender) send(ctx context.Context, b *batch, expected *uint64) (uint64, error) {
	opts := make([]client.WriteOption, 0, 3)
	if expected != nil {
		opts = append(opts, client.ExpectTxID(*expected))
	}
	if s.primary != "" {
		opts = append(opts, client.Via(s.primary))
	}
	if s.anonymous {
		opts = append(opts, client.Anonymous())
	}
	var answer client.Answer
	var err error
	switch {
	case s.direct:
		answer, err = s.client.WriteDirect(ctx, b.prepared, opts...)
	case b.prepared != nil:
		answer, err = s.client.Table(b.table).Write(ctx, client.ArrowStream(b.prepared.Arrow()), opts...)
	default:
		answer, err = s.client.Table(b.table).Write(ctx, client.LineProtocol(b.text), opts...)
	}
	if err == nil && answer.Rows != b.rows {
		err = fmt.Errorf("table %s TxID %d: %d rows sent, %d acknowledged", b.table, answer.TxID, b.rows, answer.Rows)
	}
	return answer.TxID, err
}

// httpSender writes with POST /write, as curl would: without an identity.
type httpSender struct {
	url    string
	client *http.Client
}

func (s *httpSender) send(ctx context.Context, b *batch, expected *uint64) (uint64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/write", bytes.NewReader(b.text))
	if err != nil {
		return 0, err
	}
	if expected != nil {
		request.Header.Set("Braid-Expected-TxID", strconv.FormatUint(*expected, 10))
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", client.ErrUnknownOutcome, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", client.ErrUnknownOutcome, err)
	}
	if response.StatusCode == http.StatusNoContent {
		txid, err := strconv.ParseUint(response.Header.Get("Braid-TxID"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%w: answer without a TxID: %w", client.ErrUnknownOutcome, err)
		}
		return txid, nil
	}
	return 0, httpError(b.table, response.StatusCode, body)
}

func httpError(table string, status int, body []byte) error {
	var e struct {
		Name, Message     string
		Line              int
		Expected, Current uint64
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return fmt.Errorf("%w: status %d: %.200q", client.ErrUnknownOutcome, status, body)
	}
	server := &client.ServerError{Code: status, Name: e.Name, Message: e.Message, Table: table}
	switch e.Name {
	case "conflict":
		return &client.ConflictError{Table: table, Expected: e.Expected, Current: e.Current}
	case "invalid":
		return &client.InvalidError{Table: table, Line: e.Line, Message: e.Message}
	case "unavailable":
		return fmt.Errorf("%w: %w", client.ErrUnknownOutcome, server)
	}
	return server
}

// newSenders makes a sender for each writer. Writers share the clients; with Via "primary" and line protocol they
// take turns over the live primaries.
func newSenders(ctx context.Context, c *Config, clients []*client.Client, gateway string) ([]sender, error) {
	senders := make([]sender, c.Writers)
	if c.Via == "http" {
		if gateway == "" {
			return nil, errors.New("--via http needs the gateway's URL (--http)")
		}
		h := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: c.Writers * c.InFlight}}
		for i := range senders {
			senders[i] = &httpSender{gateway, h}
		}
		return senders, nil
	}
	primaries := []string{""}
	if c.Via == "primary" {
		var err error
		if primaries, err = livePrimaries(ctx, clients[0]); err != nil {
			return nil, err
		}
	}
	for i := range senders {
		s := &sdkSender{client: clients[i%len(clients)], anonymous: c.Identity == "none"}
		s.direct = c.Via == "primary" && c.Format == "arrow"
		if !s.direct { // straight to a primary, the SDK takes the least-loaded one
			s.primary = primaries[i%len(primaries)]
		}
		senders[i] = s
	}
	return senders, nil
}

func closeSenders(senders []sender) {
	for _, s := range senders {
		if h, ok := s.(*httpSender); ok {
			h.client.CloseIdleConnections()
		}
	}
}

func livePrimaries(ctx context.Context, c *client.Client) ([]string, error) {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	nodes = slices.DeleteFunc(nodes, func(n client.Node) bool { return n.Role != "primary" || n.State != "live" })
	if len(nodes) == 0 {
		return nil, errors.New("no primary is live")
	}
	ids := make([]string, len(nodes))
	for i, n := range nodes {
		ids[i] = n.ID
	}
	return ids, nil
}
