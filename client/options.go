package client

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
)

type options struct {
	namespace      string
	name           string
	producer       string
	route          Route
	durability     Durability
	memoryMax      int64
	inProcess      nats.InProcessConnProvider
	nats           []nats.Option
	logger         *slog.Logger
	attemptTimeout time.Duration
	followWait     time.Duration
	onRetry        func(error)
	onTopology     func(Topology)
	onError        func(*WriteError)
	trace          func(context.Context, func(key, value string))
}

// Option configures a Client.
type Option func(*options)

const (
	attemptTimeoutDefault = 5 * time.Second
	memoryDefault         = 64 << 20
)

func newOptions(opts []Option) (options, error) {
	o := options{name: "braid-client", attemptTimeout: attemptTimeoutDefault, followWait: followWait, memoryMax: memoryDefault, route: Gateway}
	for _, opt := range opts {
		opt(&o)
	}
	if o.logger == nil {
		o.logger = slog.Default()
	}
	if err := api.CheckNamespace(o.namespace); err != nil {
		return o, err
	}
	if o.producer != "" {
		if err := api.CheckProducer(o.producer); err != nil {
			return o, err
		}
	}
	if o.memoryMax < 1 {
		return o, fmt.Errorf("memory of %d bytes: at least 1 is needed to hold a write", o.memoryMax)
	}
	return o, o.route.check()
}

// WithNamespace names the cluster, where several share one NATS.
func WithNamespace(ns string) Option { return func(o *options) { o.namespace = ns } }

// WithName names the connection in NATS' monitoring; "braid-client" if not given.
func WithName(name string) Option { return func(o *options) { o.name = name } }

// WithNATSOptions passes options on to nats.go: TLS, credentials, handlers, names.
func WithNATSOptions(opts ...nats.Option) Option {
	return func(o *options) { o.nats = append(o.nats, opts...) }
}

// WithInProcess connects to a NATS server in this process, without TCP. The servers given to Connect are not used.
func WithInProcess(p nats.InProcessConnProvider) Option {
	return func(o *options) { o.inProcess = p }
}

// WithProducer gives the client a stable producer id, 1 to 64 of A-Z a-z 0-9 - _, instead of a fresh one. The newest
// process under an id fences the older ones: their writes fail with ErrFenced. So two copies of one application
// cannot interleave.
func WithProducer(id string) Option { return func(o *options) { o.producer = id } }

// WithRoute says which way writes go that do not say so themselves (Via); Gateway if not given.
func WithRoute(r Route) Option { return func(o *options) { o.route = r } }

// WithDurability is for writes that do not say so themselves (Durable); the cluster's default if not given.
func WithDurability(d Durability) Option { return func(o *options) { o.durability = d } }

// WithMemory bounds the bytes of all open writes, 64 MB if not given. Past it a writer waits for room, and gets
// ErrOverloaded if its context ends before there is any. A single write that is larger goes alone. Each Writer may hold
// as much again in rows.
func WithMemory(bytes int64) Option { return func(o *options) { o.memoryMax = bytes } }

// WithLogger says where to log what no caller is told, such as a lost connection; slog.Default if not given.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.logger = l } }

// WithAttemptTimeout says how long one attempt may wait for its answer before it is made again, 5 s if not given. Too
// short and a busy cluster gets every write twice; too long and a lost answer delays a write.
func WithAttemptTimeout(d time.Duration) Option {
	return func(o *options) { o.attemptTimeout = d }
}

// WithRetryHook calls f with the error of every attempt that is going to be made again; for counting. It is called on
// the writers' goroutines.
func WithRetryHook(f func(error)) Option { return func(o *options) { o.onRetry = f } }

// WithTopologyHandler calls f with each topology that the client learns, in the order of their versions, the first one
// included. f must not block, nor close the client.
func WithTopologyHandler(f func(Topology)) Option { return func(o *options) { o.onTopology = f } }

// WithErrorHandler calls f with the failure of every write that no call waits for: those of WriteAsync, whether or not
// anybody looks at their futures. If it is not given they are logged. f is called on the client's goroutines and must
// not block for long.
func WithErrorHandler(f func(*WriteError)) Option { return func(o *options) { o.onError = f } }

// WithTrace passes a trace context on: f is called with the context of each write, and sets the headers that the
// write's messages carry. With OpenTelemetry:
//
//	client.WithTrace(func(ctx context.Context, set func(key, value string)) {
//		carrier := propagation.MapCarrier{}
//		otel.GetTextMapPropagator().Inject(ctx, carrier)
//		for k, v := range carrier {
//			set(k, v)
//		}
//	})
func WithTrace(f func(ctx context.Context, set func(key, value string))) Option {
	return func(o *options) { o.trace = f }
}
