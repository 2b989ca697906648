package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/seed-551dd829/braid/internal/cluster"
	"github.com/seed-551dd829/braid/sequencer"
)

type inspectCmd struct {
	Store string `help:"The store: fdb:CLUSTER_FILE at any time, embedded:DIR while no sequencer has it open." required:"" placeholder:"STORE"`
	JSON  bool   `help:"Print JSON." name:"json"`
}

// Run prints what the store holds.
func (c *inspectCmd) Run(p *process) error {
	store, err := cluster.OpenStore(c.Store)
	if err != nil {
		return err
	}
	found, err := sequencer.Inspect(p.ctx, store)
	if err := errors.Join(err, store.Close()); err != nil {
		return fmt.Errorf("inspect %s: %w", c.Store, err)
	}
	if c.JSON {
		printJSON(p, found)
		return nil
	}
	return printInspection(p, found)
}

func printInspection(p *process, i sequencer.Inspection) error {
	fmt.Fprintf(p.stdout, "cluster %s, tick %d by %s, epoch %d, topology version %d\n\n",
		i.Cluster, i.Tick, i.TickHolder, i.Epoch, i.Topology)
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tROLE\tSTATE\tEPOCH\tFENCED")
	for _, n := range i.Nodes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%t\n", n.ID, n.Role, n.State, n.Epoch, n.Fenced)
	}
	fmt.Fprintln(w, "\nTABLE\tHEAD\tCOLUMNS\tSHARD\t")
	for _, t := range i.Tables {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t\n", t.Name, t.Head, t.Columns, t.Shard)
	}
	fmt.Fprintln(w, "\nSHARD\tLOG\tUNCONFIRMED\t\t")
	for _, l := range i.Logs {
		fmt.Fprintf(w, "%d\t1 to %d\t%d\t\t\n", l.Shard, l.Head, l.Unconfirmed)
	}
	fmt.Fprintln(w, "\nREMEMBERED\tCOUNT\tFIRST EXPIRES AT TICK\t\t")
	fmt.Fprintf(w, "producers\t%d\t%d\t\t\n", i.Producers.Count, i.Producers.First)
	fmt.Fprintf(w, "plain keys\t%d\t%d\t\t\n", i.Keys.Count, i.Keys.First)
	fmt.Fprintf(w, "expired producers to clear\t%d\t\t\t\n", i.Leftovers)
	return w.Flush()
}
