package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/gateway"
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/catalog"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/natstest"
	"github.com/seed-551dd829/braid/internal/segment"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// behaviour is what a fake primary does with a group: decide, unless it is damaged, and answer,
// unless it is silent.
type behaviour func(c *cluster, g segment.Group) (answer api.GroupAnswer, answers bool)

func decides(c *cluster, g segment.Group) (api.GroupAnswer, bool) { return c.decide(g), true }

// cluster is primaries and a sequencer for the gateway to talk to: the rules of design section 6
// over maps, on a real NATS server.
type cluster struct {
	t        testing.TB
	subjects api.Subjects
	server   *server.Server
	nc       *nats.Conn
	stop     chan struct{}

	mu         sync.Mutex
	topology   api.Topology
	beats      map[string]api.Heartbeat // of the primaries that live
	behaviours map[string]behaviour
	services   map[string]*bus.Service
	tables     map[string]*fakeTable
	producers  map[string]uint64
	epochs     uint64
	answers    map[string]api.GroupAnswer // by a group's identity
	outcomes   map[string]api.Outcome     // by a write's identity or key
	seen       map[string]int             // groups that arrived, by primary
	groups     []api.GroupHeader          // all that arrived
	schemaErr  error                      // what the sequencer answers about schemas
}

type fakeTable struct {
	columns []api.Column
	writes  []string // NDJSON rows, by TxID - 1
}

var quiet = slog.New(slog.DiscardHandler)

func (c *cluster) connect(name string) *nats.Conn {
	nc, err := bus.Connect(bus.Options{Servers: c.server.ClientURL(), Name: name, Logger: quiet})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	return nc
}

// newCluster starts live primaries of these ids.
func newCluster(t testing.TB, primaries ...string) *cluster {
	t.Helper()
	c := &cluster{
		t: t, server: natstest.Server(t), stop: make(chan struct{}), subjects: api.Subjects{Namespace: "test"},
		topology: api.Topology{Version: 1, Shards: 1}, beats: map[string]api.Heartbeat{},
		behaviours: map[string]behaviour{}, services: map[string]*bus.Service{}, tables: map[string]*fakeTable{},
		producers: map[string]uint64{}, answers: map[string]api.GroupAnswer{}, outcomes: map[string]api.Outcome{},
		seen: map[string]int{}, epochs: 100,
	}
	c.nc = c.connect("cluster")
	for i, id := range primaries {
		c.topology.Nodes = append(c.topology.Nodes,
			api.Node{ID: id, Role: api.Primary, State: api.Live, Epoch: uint64(i) + 1})
		c.beats[id] = api.Heartbeat{
			ID: id, Role: api.Primary, State: api.Live, Epoch: uint64(i) + 1, FreeBytes: 64 << 20, Senders: 1,
		}
		c.primary(id)
	}
	var beating sync.WaitGroup
	beating.Go(c.beat)
	t.Cleanup(func() { close(c.stop); beating.Wait() })
	return c
}

func (c *cluster) primary(id string) {
	s, err := bus.NewService(c.nc, bus.ServiceOptions{Name: "primary-" + id, Version: "0.1.0", Logger: quiet})
	if err != nil {
		c.t.Fatal(err)
	}
	c.behaviours[id] = decides
	c.services[id] = s
	err = s.Handle("write", c.subjects.PrimaryWrite(id), bus.Endpoint{}, func(in bus.Incoming) {
		if len(in.Data()) == 0 {
			if err := in.Reply(nil, nil); err != nil {
				c.t.Error(err)
			}
			return
		}
		g, err := segment.ParseGroup(in.Data())
		if err != nil {
			c.t.Errorf("primary %s: %v", id, err)
			return
		}
		if in.Header().Get(api.HeaderSender) == "" {
			c.t.Error("a group without its sender")
		}
		c.mu.Lock()
		c.seen[id]++
		c.groups = append(c.groups, g.Header)
		do := c.behaviours[id]
		c.mu.Unlock()
		if a, answers := do(c, g); answers {
			if err := in.Reply(api.AppendGroupAnswer(nil, &a), nil); err != nil {
				c.t.Error(err)
			}
		}
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) beat() {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		c.mu.Lock()
		for _, h := range c.beats {
			data, _ := json.Marshal(h)
			if err := c.nc.Publish(c.subjects.Heartbeat(h.ID), data); err != nil {
				c.t.Error(err)
			}
		}
		c.mu.Unlock()
		select {
		case <-ticker.C:
		case <-c.stop:
			return
		}
	}
}

// does sets what a primary does from now on.
func (c *cluster) does(id string, b behaviour) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.behaviours[id] = b
}

// silence takes a primary's heartbeats away; the topology does not know yet.
func (c *cluster) silence(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.beats, id)
}

// unable has a primary say that it cannot take writes.
func (c *cluster) unable(id, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.beats[id]
	h.Unable = why
	c.beats[id] = h
}

// unlisten ends a primary's subscription, as a process that is gone does.
func (c *cluster) unlisten(id string) {
	if err := c.services[id].Stop(); err != nil {
		c.t.Fatal(err)
	}
}

// decide is the sequencer's transaction for one group.
func (c *cluster) decide(g segment.Group) api.GroupAnswer {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := &g.Header
	if epoch, ok := c.producers[h.ID.Producer]; !ok || epoch != h.ID.Epoch {
		return refusal(h, api.RefusedExpired)
	}
	identity := fmt.Sprintf("%s/%s/%d", h.ID.Producer, h.Table, h.ID.Sequence)
	if a, ok := c.answers[identity]; ok {
		return a
	}
	rows := c.decode(g)
	a := api.GroupAnswer{Writes: make([]api.Outcome, len(h.Writes))}
	for i := range h.Writes {
		a.Writes[i] = c.decideWrite(h.Table, &h.Writes[i], strings.Join(rows[:h.Writes[i].Rows], ""))
		rows = rows[h.Writes[i].Rows:]
	}
	c.answers[identity] = a
	return a
}

func refusal(h *api.GroupHeader, v api.Verdict) api.GroupAnswer {
	return api.GroupAnswer{Writes: slices.Repeat([]api.Outcome{{Verdict: v}}, len(h.Writes))}
}

func (c *cluster) decideWrite(table string, w *api.WriteMeta, rows string) (o api.Outcome) {
	identity := ""
	switch {
	case !w.ID.None():
		identity = fmt.Sprintf("%s/%s/%d", w.ID.Producer, table, w.ID.Sequence)
	case w.Key != "":
		identity = table + " key " + w.Key
	}
	if first, ok := c.outcomes[identity]; ok {
		return first
	}
	t := c.tables[table]
	if head := uint64(len(t.writes)); w.Locked && w.Expected != head {
		o = api.Outcome{Verdict: api.RefusedConflict, Expected: w.Expected, Current: head}
	} else {
		t.writes = append(t.writes, rows)
		o = api.Outcome{Verdict: api.Accepted, TxID: head + 1}
	}
	if identity != "" {
		c.outcomes[identity] = o
	}
	return o
}

// decode returns the group's rows as lines of NDJSON, after checking what a primary checks.
func (c *cluster) decode(g segment.Group) []string {
	t := c.tables[g.Header.Table]
	if t == nil {
		c.t.Errorf("a group of the unknown table %s", g.Header.Table)
		return nil
	}
	whole, err := api.NewSchema(t.columns)
	if err != nil {
		c.t.Error(err)
	}
	schema, ok := whole.Prefix(g.Header.Fingerprint)
	if !ok {
		c.t.Errorf("table %s has no schema %s", g.Header.Table, g.Header.Fingerprint)
		return nil
	}
	if err := columnar.Validate(g.Arrow, schema, g.Header.Rows()); err != nil {
		c.t.Errorf("a primary would refuse the group: %v", err)
	}
	rows, err := columnar.Decode(g.Arrow, schema)
	if err != nil {
		c.t.Error(err)
		return nil
	}
	defer rows.Release()
	var out bytes.Buffer
	w, err := columnar.NewWriter(&out, "ndjson", whole, "")
	if err != nil {
		c.t.Error(err)
		return nil
	}
	if err := w.Write(rows, 0, rows.Len(), 0); err != nil {
		c.t.Error(err)
	}
	if err := w.Close(); err != nil {
		c.t.Error(err)
	}
	return slices.Collect(strings.Lines(out.String()))
}

// The sequencer's part.

func (c *cluster) RegisterProducer(
	_ context.Context, r api.RegisterProducerRequest,
) (api.RegisterProducerAnswer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epochs++
	c.producers[r.ID] = c.epochs
	return api.RegisterProducerAnswer{Epoch: c.epochs, RenewSeconds: 1}, nil
}

func (c *cluster) RenewProducer(_ context.Context, r api.RenewProducerRequest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.producers[r.ID] != r.Epoch {
		return api.Errorf(api.Expired, "producer %s is not registered", r.ID)
	}
	return nil
}

func (c *cluster) Topology(context.Context) (api.Topology, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	topo := c.topology
	topo.Nodes = slices.Clone(topo.Nodes)
	return topo, nil
}

func (c *cluster) schema(_ context.Context, r api.SchemaRequest) (api.SchemaAnswer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.schemaErr != nil {
		return api.SchemaAnswer{}, c.schemaErr
	}
	t := c.tables[r.Table]
	if t == nil {
		if len(r.Columns) == 0 {
			return api.SchemaAnswer{}, nil
		}
		t = &fakeTable{columns: []api.Column{{Name: api.TimestampColumn, Type: api.Timestamp}}}
		c.tables[r.Table] = t
	}
	for _, add := range r.Columns {
		i := slices.IndexFunc(t.columns, func(have api.Column) bool { return have.Name == add.Name })
		if i < 0 {
			t.columns = append(t.columns, add)
		} else if t.columns[i].Type != add.Type {
			return api.SchemaAnswer{}, api.Errorf(api.Invalid, "column %q is %s", add.Name, t.columns[i].Type)
		}
	}
	return api.SchemaAnswer{Columns: slices.Clone(t.columns)}, nil
}

// What tests look at.

func (c *cluster) writes(table string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.tables[table]; t != nil {
		return slices.Clone(t.writes)
	}
	return nil
}

func (c *cluster) columns(table string) []api.Column {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.tables[table]; t != nil {
		return slices.Clone(t.columns)
	}
	return nil
}

func (c *cluster) tableNames() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.tables))
}

func (c *cluster) count(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[id]
}

// running is a gateway and a client of it.
type running struct {
	*cluster
	gateway  *gateway.Service
	client   *nats.Conn
	registry *prometheus.Registry
	stopRun  func() // ends Run and waits for it
}

// start runs a gateway until the test ends, and waits until it is ready.
func (c *cluster) start(cfg gateway.Config) *running {
	c.t.Helper()
	if cfg.ID == "" {
		cfg.ID = "gw"
	}
	r := &running{cluster: c, client: c.connect("client"), registry: prometheus.NewRegistry()}
	g, err := gateway.New(cfg, gateway.Deps{
		Conn: c.connect(cfg.ID), Subjects: c.subjects, Sequencer: c, Catalog: catalog.New(c.schema, 100),
		Logger: quiet, Registerer: r.registry,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	r.gateway = g
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	r.stopRun = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			c.t.Error(err)
		}
	})
	c.t.Cleanup(r.stopRun)
	natstest.Eventually(c.t, "the gateway is ready", g.Ready)
	return r
}

// request sends a write; subject without the namespace.
func (r *running) request(subject string, header nats.Header, data []byte) *nats.Msg {
	r.t.Helper()
	msg, err := r.client.RequestMsg(
		&nats.Msg{Subject: r.subjects.Namespace + "." + subject, Header: header, Data: data}, 20*time.Second)
	if err != nil {
		r.t.Fatalf("request to %s: %v", subject, err)
	}
	return msg
}

// accepted sends a write about one table and returns its TxID.
func (r *running) accepted(subject string, header nats.Header, data string) uint64 {
	r.t.Helper()
	msg := r.request(subject, header, []byte(data))
	if e := bus.ReplyError(msg); e != nil {
		r.t.Fatalf("%s: %v", subject, e)
	}
	var a api.WriteAnswer
	if err := json.Unmarshal(msg.Data, &a); err != nil || len(a.Results) != 1 {
		r.t.Fatalf("%s: answer %s: %v", subject, msg.Data, err)
	}
	if got := msg.Header.Get(api.HeaderTxID); got != fmt.Sprint(a.Results[0].TxID) {
		r.t.Fatalf("%s: header says TxID %q, body %d", subject, got, a.Results[0].TxID)
	}
	return a.Results[0].TxID
}

// refused sends a write and returns its error.
func (r *running) refused(subject string, header nats.Header, data string) *api.Error {
	r.t.Helper()
	msg := r.request(subject, header, []byte(data))
	e := bus.ReplyError(msg)
	if e == nil {
		r.t.Fatalf("%s was accepted: %s", subject, msg.Data)
	}
	if got := msg.Header.Get(api.HeaderErrorCode); got != fmt.Sprint(e.Code) {
		r.t.Fatalf("%s: header says code %q, body %d", subject, got, e.Code)
	}
	return e
}

// gauge reads a metric of the gateway that has no labels.
// counts are the values of a counter that are not 0, by its first label.
func (r *running) counts(name string) map[string]float64 {
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	counts := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if n := m.GetCounter().GetValue(); f.GetName() == name && n > 0 {
				counts[m.GetLabel()[0].GetValue()] = n
			}
		}
	}
	return counts
}

func (r *running) gauge(name string) float64 {
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	r.t.Fatalf("no metric %s", name)
	return 0
}
