package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/cluster"
)

type upCmd struct {
	Data       string `help:"Folder for everything; it is made if need be." default:"./braid-data" type:"path"`
	NATS       string `name:"nats" help:"Address of the embedded NATS server; port 0 picks a free one." default:"127.0.0.1:4222"`
	HTTP       string `name:"http" help:"Address of the gateway's HTTP port; port 0 picks a free one." default:"127.0.0.1:9000"`
	Namespace  string `help:"Prefix of every subject."`
	Primaries  int    `help:"Number of primaries, p1, p2, …" default:"2"`
	Replicas   int    `help:"Number of replicas, r1, r2, …" default:"1"`
	Sequencers int    `help:"Number of sequencer instances on the one store." default:"1"`
	Failovers  int    `help:"Number of failover instances; 0: nobody stands in for a node that dies." default:"1"`
	Store      string `help:"The sequencer's store, embedded:DIR or fdb:CLUSTER_FILE. Default: embedded:DATA/sequencer." placeholder:"STORE"`
	Objects    string `help:"The object store: dir:PATH or s3:BUCKET[/PREFIX]. Default: dir:DATA/objects." placeholder:"STORE"`
	JSON       bool   `help:"Print the ready line as JSON." name:"json"`
	httpFlags
	trustFlags
	s3Flags
	durabilityFlags
	walFlags
	sealFlags
	scrubFlag
	memoryFlags
}

// durabilityFlags are the same for everything that takes writes.
type durabilityFlags struct {
	Durability string `help:"When a write that does not say counts as durable: object (its segment is in the object store) or wal (it is synced on --wal-copies nodes, and goes to the object store afterwards)." default:"object" enum:"object,wal"`
}

// walFlags are for whatever may be a primary.
type walFlags struct {
	WALCopies       int           `name:"wal-copies" help:"On how many nodes, itself included, a primary has a segment of durability wal synced before it is committed. Too few live nodes is 503." default:"2" placeholder:"N"`
	WALSealInterval time.Duration `name:"wal-seal-interval" help:"Least time between two segments of durability wal. Default: 5ms; 20ms on s3, where each costs a PUT."`
}

func (d durabilityFlags) level() api.Durability {
	level, err := api.ParseDurability(d.Durability)
	if err != nil {
		panic(err) // kong has checked it
	}
	return level
}

// Run runs the cluster until a signal ends it.
func (c *upCmd) Run(p *process) error {
	serving, err := c.http(&c.trustFlags)
	if err != nil {
		return err
	}
	cfg := cluster.Config{
		Serving: serving,
		DataDir: c.Data, NATS: c.NATS, HTTP: c.HTTP, Namespace: c.Namespace,
		Primaries: c.Primaries, Replicas: c.Replicas, Sequencers: c.Sequencers, Failovers: c.Failovers,
		Store: c.Store, Objects: c.Objects, S3: c.config(), Durability: c.level(), SealInterval: c.SealInterval,
		WALCopies: c.WALCopies, WALSealInterval: c.WALSealInterval, ScrubBytes: c.scrubBytes(),
		KeyWindow: c.KeyWindow, ProducerIdle: c.ProducerIdle,
	}
	return cluster.Run(p.ctx, cfg, p.log, func(up cluster.Up) { c.tell(p, up) })
}

func (c *upCmd) tell(p *process, up cluster.Up) {
	if c.JSON {
		printJSON(p, up)
		return
	}
	ids := make([]string, len(up.Nodes))
	for i, n := range up.Nodes {
		ids[i] = n.ID
	}
	at := ""
	if up.NATS != "nats://127.0.0.1:4222" {
		at = " --server " + up.NATS
	}
	fmt.Fprintf(p.stdout, "braid is ready: NATS %s, HTTP %s, nodes %s. "+
		"Try: curl -d 'cpu,host=a usage=1i' %s/write && braid rows cpu%s\n",
		up.NATS, up.HTTP, strings.Join(ids, " "), up.HTTP, at)
}

// printJSON prints v as one line.
func printJSON(p *process, v any) {
	if err := json.NewEncoder(p.stdout).Encode(v); err != nil {
		p.log.Warn("output not written", "error", err)
	}
}
