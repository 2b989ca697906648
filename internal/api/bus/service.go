package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/api"
)

// Handler answers a request. It runs on its subscription's goroutine, one request after the other, so it must not
// block: what takes time it hands on, and answers later from wherever that ends.
type Handler func(Incoming)

// ServiceOptions name a service for `nats micro`.
type ServiceOptions struct {
	Name        string // letters, digits, dash, underscore
	Version     string // semantic version
	Description string
	Logger      *slog.Logger
	Registerer  prometheus.Registerer // nil: no metrics
	Inboxes     api.Inboxes           // a request whose answer would go elsewhere is dropped
}

// Service is a set of endpoints that answers micro's discovery. Stop ends it.
type Service struct {
	nc      *nats.Conn
	micro   micro.Service
	inboxes api.Inboxes
	dropped prometheus.Counter
	unsent  prometheus.Counter
	foreign prometheus.Counter
	strays  atomic.Uint64 // as foreign counts
	log     *slog.Logger
}

// NewService registers a service without endpoints on nc, which stays the caller's.
func NewService(nc *nats.Conn, o ServiceOptions) (*Service, error) {
	s := &Service{nc: nc, inboxes: o.Inboxes, log: o.Logger, dropped: prometheus.NewCounter(prometheus.CounterOpts{
		Name:        "braid_bus_slow_consumer_total",
		Help:        "Times that a subscription was full and messages for it were dropped.",
		ConstLabels: prometheus.Labels{"service": o.Name},
	}), unsent: prometheus.NewCounter(prometheus.CounterOpts{
		Name:        "braid_bus_answers_unsent_total",
		Help:        "Answers that could not be sent: whoever asked asks again.",
		ConstLabels: prometheus.Labels{"service": o.Name},
	}), foreign: prometheus.NewCounter(prometheus.CounterOpts{
		Name:        "braid_bus_foreign_replies_total",
		Help:        "Requests dropped because their reply subject is no inbox that services answer to.",
		ConstLabels: prometheus.Labels{"service": o.Name},
	})}
	if o.Registerer != nil {
		for _, c := range []prometheus.Collector{s.dropped, s.unsent, s.foreign} {
			if err := o.Registerer.Register(c); err != nil {
				return nil, fmt.Errorf("service %s: %w", o.Name, err)
			}
		}
	}
	m, err := micro.AddService(nc, micro.Config{
		Name: o.Name, Version: o.Version, Description: o.Description,
		ErrorHandler: func(_ micro.Service, e *micro.NATSError) {
			if errors.Is(e, nats.ErrSlowConsumer) {
				s.dropped.Inc()
				s.log.Warn("subscription full, messages dropped", "subject", e.Subject)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", o.Name, err)
	}
	s.micro = m
	return s, nil
}

// Endpoint says how a subject is listened to.
type Endpoint struct {
	Queue        string // queue group; "": every instance hears every request
	PendingMsgs  int    // waiting messages before the client drops; 0: 65,536
	PendingBytes int    // the same in bytes; 0: 64 MB
}

func (e Endpoint) withDefaults() Endpoint {
	if e.PendingMsgs == 0 {
		e.PendingMsgs = 65536
	}
	if e.PendingBytes == 0 {
		e.PendingBytes = 64 << 20
	}
	return e
}

// Handle listens to a subject under an endpoint's name (letters, digits, dash, underscore), until Stop.
func (s *Service) Handle(name, subject string, e Endpoint, h Handler) error {
	e = e.withDefaults()
	opts := []micro.EndpointOpt{
		micro.WithEndpointSubject(subject),
		micro.WithEndpointPendingLimits(e.PendingMsgs, e.PendingBytes),
	}
	if e.Queue == "" {
		opts = append(opts, micro.WithEndpointQueueGroupDisabled())
	} else {
		opts = append(opts, micro.WithEndpointQueueGroup(e.Queue))
	}
	err := s.micro.AddEndpoint(name, micro.HandlerFunc(func(r micro.Request) {
		s.take(h, Incoming{s: s, subject: r.Subject(), reply: r.Reply(), header: nats.Header(r.Headers()),
			data: r.Data(), done: new(atomic.Bool)})
	}), opts...)
	if err != nil {
		return fmt.Errorf("endpoint %s on %s: %w", name, subject, err)
	}
	return nil
}

// take hands a request to its handler. One whose reply subject is no inbox has no effect: the answer to it would be
// published with this service's rights, on a subject that its sender may have none to.
func (s *Service) take(h Handler, in Incoming) {
	if in.reply != "" {
		user, ok := s.inboxes.Find(in.reply)
		if !ok {
			s.foreign.Inc()
			if n := s.strays.Add(1); n&(n-1) == 0 {
				s.log.Warn("request dropped: its reply subject is no inbox that services answer to",
					"subject", api.Clip(in.subject, api.NameBytesMax), "reply", api.Clip(in.reply, api.NameBytesMax), "times", n)
			}
			return
		}
		in.user = user
	}
	h(in)
}

// Listener is a subject that is listened to for a part of the service's life.
type Listener struct {
	sub     *nats.Subscription
	stopped chan struct{}
}

// Listen listens to a subject until the listener's Stop, which must be called once. It is no endpoint for discovery:
// micro cannot take one away.
func (s *Service) Listen(subject string, e Endpoint, h Handler) (*Listener, error) {
	e = e.withDefaults()
	sub, err := s.nc.QueueSubscribe(subject, e.Queue, func(m *nats.Msg) {
		s.take(h, Incoming{s: s, subject: m.Subject, reply: m.Reply, header: m.Header, data: m.Data,
			done: new(atomic.Bool)})
	})
	if err != nil {
		return nil, fmt.Errorf("listen to %s: %w", subject, err)
	}
	l := &Listener{sub: sub, stopped: make(chan struct{})}
	go s.watch(l)
	return l, sub.SetPendingLimits(e.PendingMsgs, e.PendingBytes)
}

// watch counts when a listener's subscription is full, until it is stopped. A connection that closes while a
// subscription drains does not close its channel.
func (s *Service) watch(l *Listener) {
	full := l.sub.StatusChanged(nats.SubscriptionSlowConsumer)
	for {
		select {
		case <-l.stopped:
			return
		case _, open := <-full:
			if !open {
				return
			}
			s.dropped.Inc()
			s.log.Warn("subscription full, messages dropped", "subject", l.sub.Subject)
		}
	}
}

// Stop ends the listening. What has arrived before is still handled; the server may send a few requests more, which
// are handled too. It does not wait.
func (l *Listener) Stop() error {
	close(l.stopped)
	if err := l.sub.Drain(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("stop listening to %s: %w", l.sub.Subject, err)
	}
	return nil
}

// Stop ends the service: no new request reaches it once Stop has returned, though handlers of requests that had
// arrived before may still be called.
func (s *Service) Stop() error {
	err := s.micro.Stop()
	if err == nil && !s.nc.IsClosed() {
		err = s.nc.FlushTimeout(5 * time.Second)
	}
	if errors.Is(err, nats.ErrConnectionClosed) {
		return nil
	}
	return err
}

// Incoming is one message to an endpoint. It may be kept and answered later from any goroutine. The first answer is
// sent, later ones are not.
type Incoming struct {
	s              *Service
	subject, reply string
	header         nats.Header
	data           []byte
	user           string
	done           *atomic.Bool
}

// Subject is where the request was sent to.
func (r Incoming) Subject() string { return r.subject }

// Header returns the request's headers, nil if it has none.
func (r Incoming) Header() nats.Header { return r.header }

// Data is the payload, which is the receiver's to keep.
func (r Incoming) Data() []byte { return r.data }

// Wants says whether the sender waits for an answer; a plain publish does not.
func (r Incoming) Wants() bool { return r.reply != "" }

// User is the NATS user in whose inbox the answer will be, "" if the inbox names none. The answer is that user's alone,
// where NATS users have rights; that it was this user who asked is as sure as that nobody else would have the answer sent
// there.
func (r Incoming) User() string { return r.user }

// Reply answers. It is nothing for a plain publish. An error is counted, and the caller's to log: whoever asked hears
// nothing.
func (r Incoming) Reply(data []byte, hdr nats.Header) error {
	if r.reply == "" || r.done.Swap(true) {
		return nil
	}
	err := r.s.nc.PublishMsg(&nats.Msg{Subject: r.reply, Header: hdr, Data: data})
	if err != nil {
		r.s.unsent.Inc()
	}
	return err
}

// ReplyJSON answers with v as JSON.
func (r Incoming) ReplyJSON(v any, hdr nats.Header) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return r.Reply(data, hdr)
}

// ReplyError refuses the request in the wire's form: micro's two headers and a JSON body.
func (r Incoming) ReplyError(e *api.Error) error {
	return r.ReplyJSON(e, ErrorHeader(e))
}

// ErrorHeader returns the headers of an answer that is an error.
func ErrorHeader(e *api.Error) nats.Header {
	return nats.Header{
		api.HeaderErrorCode: []string{strconv.Itoa(e.Code)},
		api.HeaderError:     []string{e.Description()},
	}
}
