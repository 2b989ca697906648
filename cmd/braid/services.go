package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/bearer"
	"github.com/seed-551dd829/braid/internal/certs"
	"github.com/seed-551dd829/braid/internal/cluster"
	"github.com/seed-551dd829/braid/internal/objstore"
)

// trustFlags say whom a process trusts when it asks, and how it says who it is.
type trustFlags struct {
	TLSCA     string `help:"Certificates to trust, PEM." name:"tls-ca" type:"existingfile" placeholder:"FILE"`
	TLSCert   string `help:"Client certificate, PEM." name:"tls-cert" type:"existingfile" placeholder:"FILE"`
	TLSKey    string `help:"Key of the client certificate, PEM." name:"tls-key" type:"existingfile" placeholder:"FILE"`
	HTTPToken string `name:"http-token" help:"Bearer token to send to nodes and gateways over HTTP. Others on this machine can read a command line: use the environment, or the file of --config." placeholder:"TOKEN"`
}

// natsFlags say how to reach NATS. Every command that joins a cluster has them.
type natsFlags struct {
	Server    string `help:"NATS servers, comma-separated." default:"nats://127.0.0.1:4222" short:"s"`
	Namespace string `help:"Prefix of every subject of the cluster."`
	Creds     string `help:"NATS credentials file." type:"existingfile" placeholder:"FILE"`
	trustFlags
	Inbox string `help:"Prefix of the subjects where answers are heard. Default: _INBOX.USER for a user with a password in --server, else _INBOX." placeholder:"PREFIX"`
}

func (f *natsFlags) options() []nats.Option {
	var o []nats.Option
	if f.Creds != "" {
		o = append(o, nats.UserCredentials(f.Creds))
	}
	if f.Inbox != "" {
		o = append(o, nats.CustomInboxPrefix(f.Inbox))
	}
	if f.TLSCA != "" {
		o = append(o, nats.RootCAs(f.TLSCA))
	}
	if f.TLSCert != "" || f.TLSKey != "" {
		o = append(o, nats.ClientCert(f.TLSCert, f.TLSKey))
	}
	return append(o, bus.OwnInbox) // last, as it wants
}

// serviceFlags are what every service of its own process has.
type serviceFlags struct {
	natsFlags
	monitorFlag
	readyFlag
	httpFlags
	Inboxes api.Inboxes `help:"Prefixes of the subjects to answer to; a request that wants its answer elsewhere is dropped. With * for a NATS user's name, as in _INBOX.*., a producer's id belongs to the user that registered it first. Default: _INBOX." placeholder:"PREFIX"`
}

// httpFlags say how a process serves HTTP.
type httpFlags struct {
	HTTPTLSCert string `name:"http-tls-cert" help:"Certificate of the HTTP port, PEM: with it the port speaks TLS only. It is read again for each connection." type:"existingfile" placeholder:"FILE"`
	HTTPTLSKey  string `name:"http-tls-key" help:"Key of that certificate, PEM." type:"existingfile" placeholder:"FILE"`
	HTTPTokens  string `name:"http-tokens" help:"File of the bearer tokens that let read and write over HTTP, one a line: read,write TOKEN. Without it everybody may." type:"existingfile" placeholder:"FILE"`
}

// http is how the process's services serve and ask.
func (f *httpFlags) http(trust *trustFlags) (h cluster.HTTP, err error) {
	if f.HTTPTLSCert != "" || f.HTTPTLSKey != "" {
		if h.Serve, err = certs.Server(f.HTTPTLSCert, f.HTTPTLSKey); err != nil {
			return h, fmt.Errorf("--http-tls-cert, --http-tls-key: %w", err)
		}
	}
	if h.Trust, err = trust.trust(); err != nil {
		return h, err
	}
	if f.HTTPTokens != "" {
		text, err := os.ReadFile(f.HTTPTokens)
		if err != nil {
			return h, err
		}
		if h.Tokens, err = bearer.Parse(string(text)); err != nil {
			return h, fmt.Errorf("%s: %w", f.HTTPTokens, err)
		}
	}
	h.Token = trust.HTTPToken
	return h, nil
}

// trust is what this process trusts when it asks over TLS, and how it says who it is; nil without such flags.
func (f *trustFlags) trust() (*tls.Config, error) {
	if f.TLSCA == "" && f.TLSCert == "" && f.TLSKey == "" {
		return nil, nil
	}
	c, err := certs.Client(f.TLSCA, f.TLSCert, f.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("--tls-ca, --tls-cert, --tls-key: %w", err)
	}
	return c, nil
}

// monitorFlag is for services and the load test: they check what only the server's monitoring port tells.
type monitorFlag struct {
	NATSMonitor string `name:"nats-monitor" help:"The NATS server's monitoring URL, to check its max_pending." placeholder:"URL"`
}

// readyFlag is for services that say when they are ready.
type readyFlag struct {
	JSON bool `help:"Print the ready line as JSON." name:"json"`
}

func (f readyFlag) tell(p *process) func(cluster.Ready) {
	return func(r cluster.Ready) {
		if f.JSON {
			printJSON(p, r)
			return
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s is ready", r.Service, r.ID)
		if r.HTTP != "" {
			fmt.Fprintf(&b, ", HTTP %s", api.HTTPURL(r.HTTP))
		}
		fmt.Fprintln(p.stdout, b.String()+". Try: braid status")
	}
}

// env joins the cluster that the flags name.
func (f *serviceFlags) env(p *process) (cluster.Env, error) {
	if err := errors.Join(api.CheckNamespace(f.Namespace), f.Inboxes.Check()); err != nil {
		return cluster.Env{}, err
	}
	http, err := f.http(&f.trustFlags)
	if err != nil {
		return cluster.Env{}, err
	}
	env := cluster.Env{
		HTTP:     http,
		Subjects: api.Subjects{Namespace: f.Namespace, Inboxes: f.Inboxes}, Logger: p.log, Registry: cluster.NewRegistry(),
		Connect: func(name string) (*nats.Conn, error) {
			return bus.Connect(bus.Options{Servers: f.Server, Name: name, Extra: f.options(), Logger: p.log})
		},
	}
	return env, env.WaitForNATS(p.ctx, f.NATSMonitor)
}

type gatewayCmd struct {
	serviceFlags
	durabilityFlags
	ID            string        `help:"Name in logs and metrics. Default: a random one."`
	HTTP          string        `name:"http" help:"Address for POST /write and reads; port 0 picks a free one." default:"127.0.0.1:9000"`
	MergeInterval time.Duration `help:"How long a small write waits for others of its table." default:"1ms"`
}

// Run runs a gateway until a signal ends it.
func (c *gatewayCmd) Run(p *process) error {
	env, err := c.env(p)
	if err != nil {
		return err
	}
	return cluster.RunGateway(p.ctx, cluster.GatewayConfig{
		ID: c.ID, HTTP: c.HTTP, Durability: c.level(), MergeInterval: c.MergeInterval,
	}, env, c.tell(p))
}

// s3Flags say where --objects s3:BUCKET is. Credentials come the AWS way.
type s3Flags struct {
	S3Endpoint  string `name:"s3-endpoint" env:"BRAID_S3_ENDPOINT" help:"URL of the S3 server. Default: Amazon's. Credentials come the AWS way: AWS_ACCESS_KEY_ID …, AWS_PROFILE, the machine's role." placeholder:"URL"`
	S3Region    string `name:"s3-region" env:"BRAID_S3_REGION" help:"The bucket's region. Default: AWS_REGION or the profile's." placeholder:"REGION"`
	S3PathStyle bool   `name:"s3-path-style" env:"BRAID_S3_PATH_STYLE" help:"Name the bucket in the path, not in the host name; most servers other than Amazon's want it."`
}

func (f s3Flags) config() objstore.S3Config {
	return objstore.S3Config{Endpoint: f.S3Endpoint, Region: f.S3Region, PathStyle: f.S3PathStyle}
}

type sealFlags struct {
	SealInterval time.Duration `help:"Least time between two segments of a primary. Default: 10ms; 100ms on s3, where each costs a PUT."`
}

// scrubFlag is for whatever has a node's files.
type scrubFlag struct {
	ScrubRate int64 `help:"MB a second that a node reads in the background to find damaged files; 0 turns it off." default:"4" placeholder:"MB"`
}

// scrubBytes is the rate as the configuration has it.
func (f scrubFlag) scrubBytes() int64 {
	if f.ScrubRate <= 0 {
		return -1
	}
	return f.ScrubRate << 20
}

// nodeFlags are what a primary and a replica have in common.
type nodeFlags struct {
	serviceFlags
	ID      string `help:"The node's id; it keeps it for life." required:""`
	Data    string `help:"The node's own folder." required:"" type:"path"`
	Objects string `help:"The object store: dir:PATH or s3:BUCKET[/PREFIX]." required:"" placeholder:"STORE"`
	s3Flags
	HTTP      string `name:"http" help:"Address where it serves reads; port 0 picks a free one." default:"127.0.0.1:0"`
	Advertise string `help:"host:port under which others reach --http. Default: where it listens." placeholder:"ADDRESS"`
	scrubFlag
	walFlags
	ReinstateLag uint64 `help:"Lag, in log records, below which a starting node counts as caught up." default:"1000"`
}

func (f *nodeFlags) run(p *process, cfg cluster.NodeConfig) error {
	env, err := f.env(p)
	if err != nil {
		return err
	}
	cfg.ID, cfg.DataDir, cfg.Objects, cfg.HTTP, cfg.Advertise = f.ID, f.Data, f.Objects, f.HTTP, f.Advertise
	cfg.S3, cfg.CaughtUpLag = f.config(), f.ReinstateLag
	cfg.WALCopies, cfg.WALSealInterval = f.WALCopies, f.WALSealInterval
	return cluster.RunNode(p.ctx, cfg, env, f.tell(p))
}

type primaryCmd struct {
	nodeFlags
	sealFlags
}

// Run runs a primary until a signal ends it.
func (c *primaryCmd) Run(p *process) error {
	return c.run(p, cluster.NodeConfig{Role: api.Primary, SealInterval: c.SealInterval})
}

type replicatorCmd struct{ nodeFlags }

// Run runs a replica until a signal ends it.
func (c *replicatorCmd) Run(p *process) error {
	return c.run(p, cluster.NodeConfig{Role: api.Replica})
}

// sequencerCmds is `braid sequencer` alone, and what else can be done with a sequencer's store.
type sequencerCmds struct {
	Run     sequencerCmd `cmd:"" default:"withargs" help:"Run a sequencer; braid sequencer alone does the same."`
	Inspect inspectCmd   `cmd:"" help:"Show what a sequencer's store holds: nodes, tables, logs, what expires. Writes nothing."`
}

type sequencerCmd struct {
	serviceFlags
	ID    string `help:"Name in logs and metrics. Default: a random one."`
	Store string `help:"Where TxIDs live: embedded:DIR, or fdb:CLUSTER_FILE." required:"" placeholder:"STORE"`
	HTTP  string `name:"http" help:"Address for /metrics, /healthz and /readyz; port 0 picks a free one." default:"127.0.0.1:0"`
	memoryFlags
}

// memoryFlags are for whatever has a sequencer.
type memoryFlags struct {
	KeyWindow    time.Duration `help:"How long a plain key (Nats-Msg-Id) is remembered: a repeat within it gets the first answer. The same for all sequencers." default:"2m"`
	ProducerIdle time.Duration `help:"How long a producer's identities are remembered after its last sign of life: the SDK's, a gateway's. An application that comes back later cannot learn what became of what it had sent. The same for all sequencers." default:"168h"`
}

// Run runs a sequencer until a signal ends it.
func (c *sequencerCmd) Run(p *process) error {
	env, err := c.env(p)
	if err != nil {
		return err
	}
	return cluster.RunSequencer(p.ctx, cluster.SequencerConfig{ID: c.ID, Store: c.Store, HTTP: c.HTTP,
		KeyWindow: c.KeyWindow, ProducerIdle: c.ProducerIdle}, env, c.tell(p))
}
