package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

type statusCmd struct {
	natsFlags
	Listen time.Duration `help:"How long to listen for heartbeats." default:"600ms"`
	Watch  bool          `help:"Go on, and redraw, until a signal ends it." short:"w"`
	JSON   bool          `help:"Print JSON; with --watch a line each time." name:"json"`
}

// nodeStatus is a member, and what it says of itself if it was heard.
type nodeStatus struct {
	api.Node
	Heard bool    `json:"heard"`
	Load  float64 `json:"load"`
	Lag   uint64  `json:"lag"`
	// Says is the state in the heartbeat, where it is not the registry's.
	Says api.State `json:"says,omitempty"`
	// Unable is why it cannot take writes now, in its own words.
	Unable string `json:"unable,omitempty"`
	api.Standing
}

// clusterStatus is the output of `braid status --json`.
type clusterStatus struct {
	Cluster string       `json:"cluster"`
	Version uint64       `json:"topology_version"`
	Shards  int          `json:"shards"`
	Nodes   []nodeStatus `json:"nodes"`
	// Pending are the records of durability wal that are not in the object store yet.
	Pending pendingStatus `json:"pending"`
}

// Run prints the topology, and what the nodes say of themselves.
func (c *statusCmd) Run(p *process) error {
	nc, err := bus.Connect(bus.Options{Servers: c.Server, Name: "braid-status", Extra: c.options(), Logger: p.log})
	if err != nil {
		return fmt.Errorf("%w\nIs a cluster running? `braid up` starts one; --server says where it is", err)
	}
	defer nc.Close()
	if c.Watch {
		return c.watch(p, nc)
	}
	status, err := c.collect(p.ctx, nc)
	if err != nil {
		return err
	}
	return c.show(p, status)
}

func (c *statusCmd) show(p *process, status clusterStatus) error {
	if c.JSON {
		printJSON(p, status)
		return nil
	}
	return status.print(p)
}

func (c *statusCmd) collect(ctx context.Context, nc *nats.Conn) (_ clusterStatus, err error) {
	subjects := api.Subjects{Namespace: c.Namespace}
	var mu sync.Mutex
	heard := make(map[string]api.Heartbeat)
	sub, err := nc.Subscribe(subjects.Heartbeat("*"), func(m *nats.Msg) {
		var b api.Heartbeat
		if json.Unmarshal(m.Data, &b) == nil {
			mu.Lock()
			heard[b.ID] = b
			mu.Unlock()
		}
	})
	if err != nil {
		return clusterStatus{}, err
	}
	defer func() { err = errors.Join(err, sub.Unsubscribe()) }()
	bound, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	seq := bus.NewSequencer(nc, subjects)
	topology, err := seq.Topology(bound)
	if err != nil {
		return clusterStatus{}, fmt.Errorf("ask the sequencer: %w", err)
	}
	pending, err := pendingOf(bound, seq)
	if err != nil {
		return clusterStatus{}, err
	}
	select {
	case <-time.After(c.Listen):
	case <-ctx.Done():
		return clusterStatus{}, ctx.Err()
	}
	mu.Lock()
	defer mu.Unlock()
	status := clusterStatus{Cluster: topology.Cluster, Version: topology.Version, Shards: topology.Shards,
		Pending: pending}
	for _, n := range topology.Nodes {
		s := nodeStatus{Node: n}
		if b, ok := heard[n.ID]; ok && b.Epoch == n.Epoch {
			s.Heard, s.Load, s.Lag, s.Standing, s.Unable = true, b.Load, b.Lag, b.Standing, b.Unable
			if b.State != n.State {
				s.Says = b.State
			}
		}
		status.Nodes = append(status.Nodes, s)
	}
	return status, nil
}

func (s clusterStatus) print(p *process) error {
	fmt.Fprintf(p.stdout, "cluster %s, topology version %d\n", s.Cluster, s.Version)
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tROLE\tSTATE\tEPOCH\tLOAD\tLAG\tSTANDING\tHTTP")
	for _, n := range s.Nodes {
		state, load, lag, standing := string(n.State), "-", "-", "-"
		if n.Says != "" {
			state += " (says " + string(n.Says) + ")"
		}
		if n.Heard {
			load, lag, standing = fmt.Sprintf("%.0f%%", n.Load*100), fmt.Sprint(n.Lag), fmt.Sprint(n.TablesStanding)
		} else if n.State != api.Stopped && n.State != api.Dead {
			state += ", silent"
		}
		role := string(n.Role)
		if n.StandsInFor != "" {
			role += " for " + n.StandsInFor
		}
		if n.Unable != "" {
			state += ", unable"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", n.ID, role, state, n.Epoch, load, lag, standing, n.HTTP)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, n := range s.Nodes {
		if n.Unable != "" {
			fmt.Fprintf(p.stdout, "%s cannot take writes: %s\n", n.ID, n.Unable)
		}
		if n.TablesStanding > 0 {
			fmt.Fprintf(p.stdout, "%s: tables stand: %s. Try: braid tables\n", n.ID, n.names())
		}
	}
	return s.Pending.print(p.stdout)
}

// names lists the tables that stand, as far as heartbeats name them.
func (n *nodeStatus) names() string {
	names := strings.Join(n.StandingNames, ", ")
	if more := n.TablesStanding - len(n.StandingNames); more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return names
}
