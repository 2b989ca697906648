package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/seed-551dd829/braid/client"
)

// sender is a way in. send returns the write's TxID; expected is nil for a write without a lock.
type sender interface {
	send(ctx context.Context, b *batch, expected *uint64) (txid uint64, err error)
}

// sdkSender writes through the SDK.
type sdkSender struct {
	client     *client.Client
	route      client.Route
	anonymous  bool
	durability client.Durability // "": the cluster's
}

func (s *sdkSender) send(ctx context.Context, b *batch, expected *uint64) (uint64, error) {
	opts := append(make([]client.WriteOption, 0, 4), client.Via(s.route))
	if s.durability != "" {
		opts = append(opts, client.Durable(s.durability))
	}
	if expected != nil {
		opts = append(opts, client.ExpectTxID(*expected))
	}
	if s.anonymous {
		opts = append(opts, client.Anonymous())
	}
	rows := client.Rows(b.prepared)
	if b.prepared == nil {
		rows = client.LineProtocol(b.text)
	}
	answer, err := s.client.Table(b.table).Write(ctx, rows, opts...)
	if err == nil && answer.Rows != b.rows {
		err = fmt.Errorf("table %s TxID %d: %d rows sent, %d acknowledged", b.table, answer.TxID, b.rows, answer.Rows)
	}
	return answer.TxID, err
}

// httpSender writes with POST /write, as curl would: without an identity.
type httpSender struct {
	url        string
	client     *http.Client
	durability string // "": the gateway's
	token      string // "": none
}

// httpTimeout is for a write with its answer. It is more than a gateway takes for the slowest one.
const httpTimeout = time.Minute

func (s *httpSender) send(ctx context.Context, b *batch, expected *uint64) (uint64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/write", bytes.NewReader(b.text))
	if err != nil {
		return 0, err
	}
	if expected != nil {
		request.Header.Set("Braid-Expected-TxID", strconv.FormatUint(*expected, 10))
	}
	if s.durability != "" {
		request.Header.Set("Braid-Durability", s.durability)
	}
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
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

// newSenders makes a sender for each writer. Writers share the clients; with Via "primary" they take turns over the live
// primaries.
func newSenders(ctx context.Context, c *Config, deps *Deps, clients []*client.Client, gateway string) ([]sender, error) {
	senders := make([]sender, c.Writers)
	if c.Via == "http" {
		if gateway == "" {
			return nil, errors.New("--via http needs the gateway's URL (--http)")
		}
		h := &http.Client{Timeout: httpTimeout, Transport: &http.Transport{
			MaxIdleConnsPerHost: c.Writers * c.InFlight, TLSClientConfig: deps.TLS,
		}}
		for i := range senders {
			senders[i] = &httpSender{url: gateway, client: h, durability: c.Durability, token: deps.HTTPToken}
		}
		return senders, nil
	}
	routes, err := routes(ctx, c, clients[0])
	if err != nil {
		return nil, err
	}
	for i := range senders {
		senders[i] = &sdkSender{clients[i%len(clients)], routes[i%len(routes)], c.Identity == "none", client.Durability(c.Durability)}
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

// routes are what the writers take turns in: gateways choose, or each writer has a primary of its own, which failover is
// followed from.
func routes(ctx context.Context, c *Config, cl *client.Client) ([]client.Route, error) {
	if c.Via != "primary" {
		return []client.Route{client.Gateway}, nil
	}
	route := client.Primary
	if c.Format == "arrow" {
		route = client.DirectTo
	}
	nodes, err := cl.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	var all []client.Route
	for _, n := range nodes {
		if n.Role == "primary" && n.State == "live" {
			all = append(all, route(n.ID))
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no primary is live")
	}
	return all, nil
}
