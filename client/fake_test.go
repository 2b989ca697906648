package client

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is an embedded NATS server with fake services: a registry that knows every producer, and writes that are
// answered by a function.
type cluster struct {
	t       *testing.T
	server  *server.Server
	service *bus.Service
	beats   *nats.Conn // of fake nodes

	mu         sync.Mutex
	registered []string
	forgets    bool // what became of a producer's writes before it registers again
	renewals   int
	renewal    *api.Error // the answer to renewals, nil accepts
	topology   api.Topology
	columns    []api.Column
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	return startClusterOn(t, natstest.Server(t))
}

func startClusterOn(t *testing.T, s *server.Server) *cluster {
	t.Helper()
	c := &cluster{t: t, server: s}
	var err error
	c.service, err = bus.NewService(natstest.Connect(t, c.server), bus.ServiceOptions{
		Name: "fakes", Version: "0.1.0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var subjects api.Subjects
	c.handle(subjects.RegisterProducer(), c.register)
	c.handle(subjects.RenewProducer(), c.renew)
	c.handle(subjects.TopologyGet(), func(r bus.Incoming) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.reply(r, c.topology)
	})
	c.handle(subjects.Schema(), c.schema)
	return c
}

func (c *cluster) handle(subject string, h bus.Handler) {
	c.t.Helper()
	name := strings.NewReplacer(".", "-", ">", "all", "*", "any").Replace(subject)
	if err := c.service.Handle(name, subject, bus.Endpoint{}, h); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) reply(r bus.Incoming, v any) {
	if err := r.ReplyJSON(v, nil); err != nil {
		c.t.Error(err)
	}
}

func (c *cluster) refuse(r bus.Incoming, e *api.Error) {
	if err := r.ReplyError(e); err != nil {
		c.t.Error(err)
	}
}

func (c *cluster) register(r bus.Incoming) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var request api.RegisterProducerRequest
	if err := json.Unmarshal(r.Data(), &request); err != nil {
		c.t.Error(err)
	}
	c.registered = append(c.registered, string(r.Data()))
	c.reply(r, api.RegisterProducerAnswer{
		Epoch: uint64(len(c.registered)), Known: request.Last > 0 && !c.forgets, RenewSeconds: 60})
}

func (c *cluster) renew(r bus.Incoming) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.renewals++
	if c.renewal != nil {
		c.refuse(r, c.renewal)
		return
	}
	c.reply(r, struct{}{})
}

func (c *cluster) schema(r bus.Incoming) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reply(r, api.SchemaAnswer{Columns: c.columns})
}

func (c *cluster) registrations() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.registered)
}

func (c *cluster) connect(opts ...Option) *Client {
	c.t.Helper()
	all := append([]Option{WithInProcess(c.server), WithLogger(slog.New(slog.DiscardHandler))}, opts...)
	client, err := Connect(context.Background(), "", all...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := client.Close(); err != nil {
			c.t.Error(err)
		}
	})
	return client
}

// accept answers a write of one row with a TxID.
func (c *cluster) accept(r bus.Incoming, table string, txid uint64) {
	hdr := map[string][]string{api.HeaderTxID: {strconv.FormatUint(txid, 10)}}
	answer := api.WriteAnswer{Results: []api.WriteResult{{Table: table, TxID: txid, Rows: 1}}}
	if err := r.ReplyJSON(answer, hdr); err != nil {
		c.t.Error(err)
	}
}
