package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// queueGroup is the group in which gateways share the writes of a cluster.
const queueGroup = "gateway"

// Sources of requests, as places in the metrics.
const (
	overNATS = 0
	overHTTP = 1
)

// listen begins to take writes over NATS.
func (s *Service) listen() (*bus.Service, error) {
	b, err := bus.NewService(s.deps.Conn, bus.ServiceOptions{
		Name: "braid-gateway", Version: api.Version, Description: "gateway " + s.cfg.ID + ": takes rows into tables",
		Logger: s.log, Registerer: s.deps.Registerer,
		Inboxes: s.deps.Subjects.Inboxes,
	})
	if err != nil {
		return nil, err
	}
	sub := s.deps.Subjects
	for _, e := range []struct{ name, subject string }{
		{"ingest", sub.Ingest()},
		{"ingest-table", sub.IngestTable(">")},
		{"primary-ingest", sub.PrimaryIngest("*")},
		{"primary-ingest-table", sub.PrimaryIngestTable("*", ">")},
	} {
		pending := bus.Endpoint{Queue: queueGroup, PendingMsgs: pendingMsgsMax, PendingBytes: pendingBytesMax}
		if err := b.Handle(e.name, e.subject, pending, s.incoming); err != nil {
			return nil, errors.Join(err, b.Stop())
		}
	}
	// Only what the server has heard of is there: ready must mean that no writer meets "no
	// responders".
	if err := s.deps.Conn.FlushTimeout(listenTimeout); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for writes: %w", err), b.Stop())
	}
	return b, nil
}

// Bounds of what has arrived and is not looked at yet. incoming is quick, but a process that is short of processors may
// not come to it for a tenth of a second, in which hundreds of megabytes arrive; what is over a bound is dropped, and its
// writer waits in vain. They stay below the server's max_pending, which is what it has for this connection as a whole.
const (
	pendingMsgsMax  = 1 << 18
	pendingBytesMax = api.NATSMaxPending / 4 * 3
)

// listenTimeout bounds the wait for the server to know the gateway's subscriptions.
const listenTimeout = 10 * time.Second

// incoming takes one message. It runs on the subscription's goroutine and waits for nothing.
func (s *Service) incoming(in bus.Incoming) {
	a := &natsAnswerer{in: in, s: s}
	r, err := s.decode(in, a)
	if err != nil {
		s.metrics.outcome(err)
		a.refused(err)
		return
	}
	s.take(r, overNATS)
}

func (s *Service) decode(in bus.Incoming, a answerer) (*request, *api.Error) {
	node, table, ok := s.deps.Subjects.ParseIngest(in.Subject())
	if !ok {
		return nil, api.Errorf(api.Invalid, "subject %s is not one to write to", in.Subject())
	}
	if table != "" {
		if err := api.CheckTable(table); err != nil {
			return nil, api.Errorf(api.Invalid, "subject %s: %v", in.Subject(), err)
		}
	}
	o, err := decodeHeaders(in.Header(), s.cfg.Durability, false)
	if err == nil && table != "" && o.table != "" && o.table != table {
		err = api.Errorf(api.Invalid, "header %s says %s, the subject says %s", api.HeaderTable, o.table, table)
	}
	if err != nil {
		if table != "" {
			err = err.InTable(table)
		}
		return nil, err
	}
	if table != "" {
		o.table = table
	}
	return &request{
		options: o, data: in.Data(), primary: node, precision: 1, arrived: time.Now(), answerer: a,
	}, nil
}

// natsAnswerer answers over NATS, or counts the errors of a publish that nobody waits for.
type natsAnswerer struct {
	in bus.Incoming
	s  *Service
}

func (a *natsAnswerer) results(results []api.WriteResult) {
	bad := worst(results)
	if !a.in.Wants() {
		for i := range results {
			if e := results[i].Error; e != nil {
				a.s.unheard.note(a.in.Subject(), e)
			}
		}
		return
	}
	var header nats.Header
	switch {
	case bad != nil:
		header = bus.ErrorHeader(bad)
	case len(results) == 1:
		header = nats.Header{api.HeaderTxID: []string{strconv.FormatUint(results[0].TxID, 10)}}
	}
	limit := a.s.deps.Conn.MaxPayload() - headerRoom
	a.sent(a.in.Reply(appendResults(nil, results, limit), header))
}

func (a *natsAnswerer) refused(e *api.Error) {
	if !a.in.Wants() {
		a.s.unheard.note(a.in.Subject(), e)
		return
	}
	a.sent(a.in.Reply(appendJSON(e), bus.ErrorHeader(e)))
}

func (a *natsAnswerer) empty() {
	e := api.Errorf(api.Invalid, "the payload has no row")
	a.s.metrics.outcome(e)
	if _, table, ok := a.s.deps.Subjects.ParseIngest(a.in.Subject()); ok && table != "" {
		e = e.InTable(table)
	}
	a.refused(e)
}

// sent looks at the error of an answer: the writer will not hear, and asks again under its
// identity.
func (a *natsAnswerer) sent(err error) {
	if err != nil {
		a.s.log.Warn("send an answer", "subject", a.in.Subject(), "error", err)
	}
}

// appendResults is the JSON of api.WriteAnswer. The answer of an accepted write is written by hand:
// there may be a hundred thousand a second. One with errors is shortened if it has more than limit
// bytes.
func appendResults(b []byte, results []api.WriteResult, limit int64) []byte {
	if worst(results) != nil {
		return append(b, refusedResults(results, limit)...)
	}
	b = append(b, `{"results":[`...)
	for i := range results {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"table":`...)
		b = appendJSONString(b, results[i].Table)
		b = append(b, `,"txid":`...)
		b = strconv.AppendUint(b, results[i].TxID, 10)
		b = append(b, `,"rows":`...)
		b = strconv.AppendInt(b, int64(results[i].Rows), 10)
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

// appendJSONString quotes a table's name, which has no control characters, quotes or backslashes
// (api.CheckTable) and is valid UTF-8: only what JSON must escape needs escaping, and none of it
// can be there.
func appendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// unheard counts and logs what nobody is told: the errors of plain publishes.
type unheard struct {
	log     *slog.Logger
	counter *prometheus.CounterVec

	mu     sync.Mutex
	logged time.Time
	quiet  int // errors since, that were not logged
}

// unheardInterval keeps a broken publisher from filling the log.
const unheardInterval = time.Second

func (u *unheard) note(subject string, e *api.Error) {
	u.counter.WithLabelValues(strconv.Itoa(e.Code)).Inc()
	u.mu.Lock()
	defer u.mu.Unlock()
	if time.Since(u.logged) < unheardInterval {
		u.quiet++
		return
	}
	u.log.Warn("a published write was refused, and its sender does not wait for an answer", "subject", subject,
		"code", e.Code, "error", e.Error(), "more", u.quiet)
	u.logged, u.quiet = time.Now(), 0
}
