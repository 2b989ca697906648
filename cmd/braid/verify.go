package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-551dd829/braid/client"
)

type verifyCmd struct {
	natsFlags
	Table   string        `arg:"" optional:"" help:"Table to compare. Default: all."`
	Timeout time.Duration `help:"How long to wait for an answer." default:"30s"`
	JSON    bool          `help:"Print JSON." name:"json"`
}

// tableVerdict says whether the nodes hold the same rows of one table.
type tableVerdict struct {
	Table   string            `json:"table"`
	TxID    uint64            `json:"txid"` // the highest that all of them have applied
	Agree   bool              `json:"agree"`
	Digests map[string]string `json:"digests"` // by node
	Silent  map[string]string `json:"silent,omitempty"`
}

// verifyResult is the output of `braid verify --json`.
type verifyResult struct {
	Tables []tableVerdict    `json:"tables"`
	Asked  []string          `json:"asked"`
	Others map[string]string `json:"others,omitempty"` // nodes that are not asked, with their state
}

// Run compares digests: status 0 if all nodes agree, 1 if they differ, 2 if one did not answer.
func (c *verifyCmd) Run(p *process) (err error) {
	ctx, cancel := context.WithTimeout(p.ctx, c.Timeout)
	defer cancel()
	cl, err := c.client(ctx, p)
	if err != nil {
		return err
	}
	defer closing(cl, &err)
	result, err := c.collect(ctx, cl)
	if err != nil {
		return err
	}
	if c.JSON {
		printJSON(p, result)
	} else {
		result.print(p)
	}
	return result.exit()
}

func (c *verifyCmd) collect(ctx context.Context, cl *client.Client) (verifyResult, error) {
	result := verifyResult{Tables: []tableVerdict{}, Others: make(map[string]string)}
	members, err := cl.Nodes(ctx)
	if err != nil {
		return result, err
	}
	for _, m := range members {
		switch m.State {
		case "live", "draining", "recovering":
			result.Asked = append(result.Asked, m.ID)
		default:
			result.Others[m.ID] = m.State
		}
	}
	heads, err := cl.Tables(ctx)
	if err != nil {
		return result, err
	}
	for _, h := range heads {
		if c.Table == "" || c.Table == h.Name {
			result.Tables = append(result.Tables, verifyTable(ctx, cl, h.Name, result.Asked))
		}
	}
	if c.Table != "" && len(result.Tables) == 0 {
		return result, fmt.Errorf("there is no table %q", c.Table)
	}
	return result, nil
}

// verifyTable asks every node where it stands, and then for its digest at the lowest of those places.
func verifyTable(ctx context.Context, cl *client.Client, table string, nodes []string) tableVerdict {
	v := tableVerdict{Table: table, Digests: make(map[string]string), Silent: make(map[string]string)}
	var answering []string
	for _, id := range nodes {
		d, err := cl.Digest(ctx, id, table, 0)
		if err != nil {
			v.Silent[id] = err.Error()
			continue
		}
		if len(answering) == 0 || d.Applied < v.TxID {
			v.TxID = d.Applied
		}
		answering = append(answering, id)
	}
	if v.TxID == 0 { // a node that has nothing yet agrees with everyone about nothing
		v.Agree = len(answering) > 0
		return v
	}
	for _, id := range answering {
		d, err := cl.Digest(ctx, id, table, v.TxID)
		switch {
		case err != nil:
			v.Silent[id] = err.Error()
		case d.TxID != v.TxID:
			v.Digests[id] = fmt.Sprintf("none at TxID %d (nearest %d)", v.TxID, d.TxID)
		default:
			v.Digests[id] = d.Sum
		}
	}
	var first string
	v.Agree = len(v.Digests) > 0
	for _, sum := range v.Digests {
		if first == "" {
			first = sum
		}
		v.Agree = v.Agree && sum == first
	}
	return v
}

func (r verifyResult) print(p *process) {
	for _, t := range r.Tables {
		word := "agree"
		if !t.Agree {
			word = "DIFFER"
		}
		fmt.Fprintf(p.stdout, "%s: %s at TxID %d\n", t.Table, word, t.TxID)
		if !t.Agree {
			for _, id := range sortedKeys(t.Digests) {
				fmt.Fprintf(p.stdout, "  %s %s\n", id, t.Digests[id])
			}
		}
		for _, id := range sortedKeys(t.Silent) {
			fmt.Fprintf(p.stderr, "%s: %s did not answer: %s\n", t.Table, id, t.Silent[id])
		}
	}
	fmt.Fprintf(p.stdout, "%s compared on %s\n", counted(len(r.Tables), "table"), strings.Join(r.Asked, ", "))
	for _, id := range sortedKeys(r.Others) {
		fmt.Fprintf(p.stdout, "not asked: %s (%s)\n", id, r.Others[id])
	}
}

// exit: nodes that differ are worse than one that does not answer.
func (r verifyResult) exit() error {
	status := 0
	for _, t := range r.Tables {
		if len(t.Silent) > 0 {
			status = max(status, 2)
		}
	}
	for _, t := range r.Tables {
		if !t.Agree && len(t.Digests) > 0 {
			status = 1
			break
		}
	}
	if len(r.Asked) == 0 {
		return &exitError{2, "no node is live"}
	}
	if status == 0 {
		return nil
	}
	return &exitError{status: status}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
