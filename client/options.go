package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
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
	directory      string
	directoryMax   int64
	fs             disk.FS
	onUndelivered  func(context.Context, Undelivered) error
	registerer     prometheus.Registerer
	tls            *tls.Config
	httpToken      string
	trace          func(context.Context, func(key, value string))
}

// Option configures a Client.
type Option func(*options)

const (
	attemptTimeoutDefault = 5 * time.Second
	memoryDefault         = 64 << 20
)

func newOptions(opts []Option) (options, error) {
	o := options{name: "braid-client", attemptTimeout: attemptTimeoutDefault, followWait: followWait,
		memoryMax: memoryDefault, route: Gateway, fs: disk.OS}
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
	if o.directoryMax < 0 {
		return o, fmt.Errorf("a directory of %d bytes holds no write", o.directoryMax)
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

// WithTLS is for reads from nodes that serve over TLS: what to trust, and a certificate if they want one. The connection
// to NATS has options of its own (nats.Secure, nats.RootCAs).
func WithTLS(config *tls.Config) Option { return func(o *options) { o.tls = config } }

// WithHTTPToken is the bearer token that reads from nodes send, where the cluster asks for one.
func WithHTTPToken(token string) Option { return func(o *options) { o.httpToken = token } }

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

// WithMetrics registers the client's Prometheus metrics, until it is closed: writes by outcome, rows, retries, latency,
// and what is open; with a directory also what waits in it and for how long. Several clients of one process need a registerer each, as prometheus.WrapRegistererWith makes them.
func WithMetrics(r prometheus.Registerer) Option { return func(o *options) { o.registerer = r } }

// WithRetryHook calls f with the error of every attempt that is made again, or of which a copy is sent because its answer
// is late (ErrUnknownOutcome); for counting. f is called from several goroutines and must not block.
func WithRetryHook(f func(error)) Option { return func(o *options) { o.onRetry = f } }

// WithTopologyHandler calls f with each topology that the client learns, in the order of their versions, the first one
// included. f must not block, nor close the client.
func WithTopologyHandler(f func(Topology)) Option { return func(o *options) { o.onTopology = f } }

// WithErrorHandler calls f with the failure of every write that no call waits for: those of WriteAsync, whether or not
// anybody looks at their futures, and also those that were refused at once. If it is not given they are logged. f is called on the client's goroutines and must
// not block for long.
func WithErrorHandler(f func(*WriteError)) Option { return func(o *options) { o.onError = f } }

// WithDirectory keeps writes on disk until the cluster has answered them. A write is synced to the directory before
// WriteAsync returns; Write waits for its answer, too, and if its context ends first the error is ErrKept. From then on
// nothing ends it but an answer: not a restart of the application, nor any outage of the cluster, which need not even
// be there for Connect. When the disk is full, or the directory has its most bytes (WithDirectoryBytes), writers wait.
//
// Of each table writes are delivered in the order in which they were written, once. Many are sent together, straight to
// a primary; Via does not matter to them. Writes with a Key and Anonymous ones are not kept.
//
// A directory is of one process at a time (ErrDirectoryInUse). It has a producer id of its own, that of WithProducer if
// it is given; should there be two copies of it, whichever registers last goes on, and the other gets ErrFenced. Of what
// the other had under way nobody can tell the outcome (ErrUnknownOutcome, when it runs again).
//
// What cannot be delivered is refused to the Write that waits for it, or else handed to WithUndelivered's function,
// and until that has taken it, it stays.
func WithDirectory(path string) Option { return func(o *options) { o.directory = path } }

// WithDirectoryBytes bounds the directory, 1 GB if not given. Past it writers wait for room, and get ErrOverloaded if
// their contexts end before there is any.
func WithDirectoryBytes(n int64) Option { return func(o *options) { o.directoryMax = n } }

// WithUndelivered gives the application writes back that cannot be delivered: refused as they are (*InvalidError,
// *ConflictError), or of unknown outcome (ErrUnknownOutcome), as after the application was away for longer than the
// cluster remembers it (ErrExpired). f is called with one at a time. When it returns nil the write leaves the
// directory; after an error, and if the process ends before, f is called again with the same. Without it they are
// logged and stay.
func WithUndelivered(f func(context.Context, Undelivered) error) Option {
	return func(o *options) { o.onUndelivered = f }
}

// WithTrace passes a trace context on: f is called with the context of each write, and sets the headers that the
// write's messages carry (but not with a directory: another process may send it). With OpenTelemetry:
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
