package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// fakeTable is what all fake nodes hold: transaction n has 1 + n%3 rows, voided ones have none.
type fakeTable struct {
	void map[uint64]bool
}

// rowsOf are the values of a transaction's rows, as the tests name them.
func (f *fakeTable) rowsOf(txid uint64) (out []string) {
	if f.void[txid] {
		return nil
	}
	for i := range 1 + txid%3 {
		out = append(out, fmt.Sprintf("%d.%d", txid, i))
	}
	return out
}

// between are the rows of a range of TxIDs.
func (f *fakeTable) between(from, to uint64) (out []string) {
	for txid := from; txid <= to; txid++ {
		out = append(out, f.rowsOf(txid)...)
	}
	return out
}

// fakeNode serves the table `cpu` as a node does, and makes mistakes where it is told to.
type fakeNode struct {
	t     *testing.T
	id    string
	table *fakeTable
	http  *httptest.Server

	dead  chan struct{} // closed: no more heartbeats
	quiet sync.Once     // closes it

	mu      sync.Mutex
	lag     uint64 // as its heartbeats say
	applied uint64
	grown   chan struct{}
	asked   []url.Values
	// spoil changes an answer, which is then cut off if it has become shorter.
	spoil func(q url.Values, answer []byte) []byte
	// claim changes up to where an answer says that it is complete, and leave which TxIDs it has.
	claim func(complete uint64) uint64
	leave func(txid uint64) bool
	hang  bool // answers do not end
}

func startNode(t *testing.T, id string, table *fakeTable, applied uint64) *fakeNode {
	t.Helper()
	n := &fakeNode{t: t, id: id, table: table, applied: applied, grown: make(chan struct{}), dead: make(chan struct{})}
	n.http = httptest.NewServer(n)
	t.Cleanup(n.stop)
	return n
}

// stop ends the node as a process ends: connections break, and it is heard no more.
func (n *fakeNode) stop() {
	n.quiet.Do(func() { close(n.dead) })
	n.http.CloseClientConnections()
	n.http.Close()
}

// beat says that the node lives, until it stops or is quiet.
func (n *fakeNode) beat(c *cluster) {
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for {
		n.mu.Lock()
		h := api.Heartbeat{ID: n.id, Role: api.Replica, State: api.Live, Epoch: 1, HTTP: n.member().HTTP, Lag: n.lag}
		n.mu.Unlock()
		text, err := json.Marshal(h)
		if err == nil {
			err = c.beats.Publish(api.Subjects{}.Heartbeat(n.id), text)
		}
		if err != nil {
			n.t.Error(err)
		}
		select {
		case <-every.C:
		case <-n.dead:
			return
		}
	}
}

func (n *fakeNode) member() api.Node {
	return api.Node{ID: n.id, Role: api.Replica, State: api.Live, Epoch: 1,
		HTTP: strings.TrimPrefix(n.http.URL, "http://")}
}

// apply lets the node know transactions up to a TxID.
func (n *fakeNode) apply(txid uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.applied = txid
	close(n.grown)
	n.grown = make(chan struct{})
}

// change makes it make mistakes, from the next answer on.
func (n *fakeNode) change(how func(*fakeNode)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	how(n)
}

func (n *fakeNode) questions() []url.Values {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

func (n *fakeNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	from, to := max(number64(q.Get("from_txid"), 1), 1), number64(q.Get("to_txid"), 1<<63)
	n.mu.Lock()
	n.asked = append(n.asked, q)
	n.mu.Unlock()
	complete := min(to, n.until(r, from, waitOf(q)))
	if complete == 0 || r.URL.Path != "/tables/cpu" {
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(api.Errorf(api.NotFound, "no such table"))
		return
	}
	n.mu.Lock()
	spoil, claim, leave, hang := n.spoil, n.claim, n.leave, n.hang
	n.mu.Unlock()
	answer := n.answer(q, from, complete, leave)
	if claim != nil {
		complete = claim(complete)
	}
	w.Header().Set(api.HeaderTxID, strconv.FormatUint(complete, 10))
	whole := len(answer)
	if spoil != nil {
		answer = spoil(q, answer)
	}
	w.(http.Flusher).Flush() // chunked: the end must be said
	if _, err := w.Write(answer); err != nil || len(answer) < whole {
		w.(http.Flusher).Flush()
		if hang {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	}
}

// until waits for a TxID as a node does, and returns what is applied then.
func (n *fakeNode) until(r *http.Request, from uint64, wait time.Duration) uint64 {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		n.mu.Lock()
		applied, grown := n.applied, n.grown
		n.mu.Unlock()
		if applied >= from || wait == 0 {
			return applied
		}
		select {
		case <-grown:
		case <-timer.C:
			return applied
		case <-r.Context().Done():
			return applied
		}
	}
}

// answer is what the node's formats make of a range, without the TxIDs that leave names.
func (n *fakeNode) answer(q url.Values, from, to uint64, leave func(uint64) bool) []byte {
	format, txid := q.Get("format"), ""
	if format == "" {
		format = "ndjson"
	}
	if q.Get("txid") == "1" {
		if txid = q.Get("txid_column"); txid == "" {
			txid = "txid"
		}
	}
	schema, err := api.NewSchema([]api.Column{{Name: api.TimestampColumn, Type: api.Timestamp},
		{Name: "host", Type: api.Tag}, {Name: "txid", Type: api.String}})
	if err != nil {
		panic(err)
	}
	var out bytes.Buffer
	w, err := columnar.NewWriter(&out, format, schema, txid)
	for id := from; id <= to && err == nil; id++ {
		if leave != nil && leave(id) || n.table.void[id] {
			continue
		}
		err = writeFake(w, schema, id, n.table.rowsOf(id))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err)
	}
	return out.Bytes()
}

func writeFake(w columnar.Writer, schema api.Schema, txid uint64, rows []string) error {
	var text strings.Builder
	for i, name := range rows {
		fmt.Fprintf(&text, "{\"timestamp\":%d,\"host\":\"h%d\",\"txid\":%q}\n", txid, i, name)
	}
	batch, refusal := columnar.ParseNDJSON([]byte(text.String()), "cpu", 0)
	if refusal != nil {
		return refusal
	}
	defer batch.Release()
	if _, refusal := batch.Missing(schema); refusal != nil {
		return refusal
	}
	stream, err := columnar.Encode(nil, schema, []*columnar.Batch{batch})
	if err != nil {
		return err
	}
	decoded, err := columnar.Decode(stream, schema)
	if err != nil {
		return err
	}
	return w.Write(decoded, 0, decoded.Len(), txid)
}

func number64(text string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n
	}
	return otherwise
}

// fakeNodes starts a cluster of nodes that hold one table, and a client.
func fakeNodes(t *testing.T, table *fakeTable, applied ...uint64) (*cluster, *Client, []*fakeNode) {
	t.Helper()
	c := startCluster(t)
	var nodes []*fakeNode
	c.topology = api.Topology{Version: 1, Shards: 1}
	for i, a := range applied {
		n := startNode(t, fmt.Sprintf("n%d", i+1), table, a)
		nodes = append(nodes, n)
		c.topology.Nodes = append(c.topology.Nodes, n.member())
	}
	c.beats = natstest.Connect(t, c.server)
	for _, n := range nodes {
		var beating sync.WaitGroup
		beating.Go(func() { n.beat(c) })
		t.Cleanup(func() { n.stop(); beating.Wait() })
	}
	return c, c.connect(), nodes
}

// named is how the tests name a row: its column txid has that name.
func named(t *testing.T, row Row) string {
	t.Helper()
	var name, host string
	if err := row.Scan("txid", &name, "host", &host); err != nil {
		t.Fatal(err)
	}
	txid, place, _ := strings.Cut(name, ".")
	if number64(txid, 0) != row.TxID() || uint64(row.Nanos()) != row.TxID() || host != "h"+place {
		t.Fatalf("row %s has TxID %d, time %d, host %s", name, row.TxID(), row.Nanos(), host)
	}
	return name
}
