package main

import (
	"context"
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/seed-551dd829/braid/client"
)

type tablesCmd struct {
	natsFlags
	JSON bool `help:"Print JSON." name:"json"`
}

// tableStatus is a table as the sequencer and every node see it.
type tableStatus struct {
	Name    string               `json:"name"`
	Head    uint64               `json:"head"`
	Columns int                  `json:"columns"`
	Rows    uint64               `json:"rows"` // on the node that is furthest ahead
	Nodes   map[string]nodeTable `json:"nodes"`
}

type nodeTable struct {
	Applied uint64 `json:"applied"` // TxID
	Rows    uint64 `json:"rows"`
	// Problem is why the table stands there, or has rows that cannot be read.
	Problem string `json:"problem,omitempty"`
}

// tablesStatus is the output of `braid tables --json`.
type tablesStatus struct {
	Tables []tableStatus `json:"tables"`
	// Silent are the nodes that did not answer, with the reason.
	Silent map[string]string `json:"silent,omitempty"`
}

// Run prints each table with its head, its rows and how far each node is.
func (c *tablesCmd) Run(p *process) (err error) {
	ctx, cancel := context.WithTimeout(p.ctx, askTimeout)
	defer cancel()
	cl, err := c.client(ctx, p)
	if err != nil {
		return err
	}
	defer closing(cl, &err)
	status, nodes, err := collectTables(ctx, cl)
	if err != nil {
		return err
	}
	if c.JSON {
		printJSON(p, status)
		return nil
	}
	return c.print(p, status, nodes)
}

func collectTables(ctx context.Context, cl *client.Client) (status tablesStatus, nodes []string, err error) {
	heads, err := cl.Tables(ctx)
	if err != nil {
		return tablesStatus{}, nil, err
	}
	status = tablesStatus{Tables: make([]tableStatus, len(heads)), Silent: make(map[string]string)}
	byName := make(map[string]*tableStatus, len(heads))
	for i, h := range heads {
		status.Tables[i] = tableStatus{
			Name: h.Name, Head: h.Head, Columns: h.Columns, Nodes: make(map[string]nodeTable),
		}
		byName[h.Name] = &status.Tables[i]
	}
	members, err := cl.Nodes(ctx)
	if err != nil {
		return tablesStatus{}, nil, err
	}
	for _, m := range members {
		tables, err := cl.NodeTables(ctx, m.ID)
		if err != nil {
			status.Silent[m.ID] = fmt.Sprintf("%s: %v", m.State, err)
			continue
		}
		nodes = append(nodes, m.ID)
		for _, t := range tables {
			if s := byName[t.Name]; s != nil { // a table may have appeared since the heads were read
				s.Nodes[m.ID] = nodeTable{Applied: t.Applied, Rows: t.Rows, Problem: t.Problem}
				s.Rows = max(s.Rows, t.Rows)
			}
		}
	}
	return status, nodes, nil
}

func (c *tablesCmd) print(p *process, status tablesStatus, nodes []string) error {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "TABLE\tHEAD\tROWS\tCOLUMNS")
	for _, n := range nodes {
		fmt.Fprintf(w, "\t%s", n)
	}
	fmt.Fprintln(w)
	for _, t := range status.Tables {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d", t.Name, t.Head, t.Rows, t.Columns)
		for _, n := range nodes {
			fmt.Fprintf(w, "\t%s", progress(t, n))
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(status.Tables) == 0 {
		fmt.Fprintln(p.stdout, "There is no table yet. Try: curl -d 'cpu,host=a usage=1i' http://127.0.0.1:9000/write")
	}
	for _, t := range status.Tables {
		for _, n := range nodes {
			if problem := t.Nodes[n].Problem; problem != "" {
				fmt.Fprintf(p.stdout, "%s on %s: %s\n", t.Name, n, problem)
			}
		}
	}
	for _, id := range sortedKeys(status.Silent) {
		fmt.Fprintf(p.stderr, "%s did not answer: %s\n", id, status.Silent[id])
	}
	return nil
}

// progress is a node's cell: its rows, and the TxID where it stands if that is not the head.
func progress(t tableStatus, node string) string {
	n := t.Nodes[node]
	if n.Applied == t.Head {
		return strconv.FormatUint(n.Rows, 10)
	}
	return fmt.Sprintf("%d (at %d)", n.Rows, n.Applied)
}
