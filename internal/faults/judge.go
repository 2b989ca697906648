//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/history"
	"github.com/seed-551dd829/braid/internal/history/linear"
	"github.com/seed-551dd829/braid/internal/processes"
)

// linearPatience bounds the search for an order of a short history, which takes milliseconds.
const linearPatience = time.Minute

// judge holds what writers were told against what every node has, once no fault happens any more.
type judge struct {
	client   *client.Client
	nodes    []string
	patience time.Duration
	report   *Report
	// contended is what the first node has of the contended table.
	contended []history.Seen
}

func (j *judge) all(ctx context.Context, w *workload) error {
	if err := j.live(ctx); err != nil {
		return err
	}
	heads, err := j.client.Heads(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range w.records.tables() {
		j.count(t)
		if err := j.table(ctx, t, heads[t.Name]); err != nil {
			errs = append(errs, fmt.Errorf("table %s: %w", t.Name, err))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	locks := readBack(w.ops.locks, j.contended)
	last := linear.LockOp{Kind: linear.ReadHead, TxID: heads[contendedTable]}
	last.Client, last.Called, last.Returned = lockers, w.events.Now(), w.events.Now()+1
	last.Outcome = history.Acknowledged
	locks = append(locks, last)
	j.report.LockOps, j.report.RegistryOps = len(locks), len(w.ops.registry)
	return errors.Join(append(errs,
		prefixed("optimistic lock", linear.Lock(0, locks, linearPatience)),
		prefixed("registry", linear.Registry(w.ops.registry, linearPatience)))...)
}

func prefixed(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// live: every node of the plan is a member and live, nobody else is, every primary is one again, and whoever stood in
// for one is a replica again.
func (j *judge) live(ctx context.Context) error {
	return processes.Poll(ctx, j.patience, func() error {
		members, err := j.client.Nodes(ctx)
		if err != nil {
			return err
		}
		if len(members) != len(j.nodes) {
			return fmt.Errorf("%d nodes are registered, the plan has %d: %v", len(members), len(j.nodes), members)
		}
		for _, m := range members {
			role := "primary"
			if m.ID[0] == 'r' {
				role = "replica"
			}
			if m.State != "live" || m.Role != role || m.StandsInFor != "" {
				return fmt.Errorf("when all is healed, node %s is %s, %s, standing in for %q", m.ID, m.Role, m.State,
					m.StandsInFor)
			}
		}
		return nil
	})
}

func (j *judge) table(ctx context.Context, t history.Table, head uint64) error {
	var nodes []history.Node
	var verdict history.Verdict
	var first client.Digest
	for i, id := range j.nodes {
		n, digest, err := j.read(ctx, id, t.Name, head)
		if err != nil {
			return err
		}
		nodes = append(nodes, n)
		if i == 0 {
			first = digest
		}
		if i == 0 && t.Name == contendedTable {
			j.contended = n.Seen
		}
		if digest.Sum != first.Sum || digest.TxID != head {
			verdict.Add(history.Violation{Invariant: 4, Check: "digest", Table: t.Name, Node: id, TxID: head,
				Detail: fmt.Sprintf("%.16s… at TxID %d; %s has %.16s… at TxID %d",
					digest.Sum, digest.TxID, j.nodes[0], first.Sum, first.TxID)})
		}
	}
	verdict.Merge(history.Check(t, nodes))
	j.report.UnknownStored += verdict.UnknownStored
	j.report.UnknownLost += verdict.UnknownLost
	j.report.Transactions += int(head)
	if verdict.OK() {
		return nil
	}
	return fmt.Errorf("%d violations: %v", verdict.Count, verdict.Violations)
}

// read waits until a node has a table's head, and reads all of it.
func (j *judge) read(
	ctx context.Context, id, table string, head uint64,
) (n history.Node, digest client.Digest, err error) {
	if head == 0 {
		return history.Node{ID: id}, digest, nil
	}
	ctx, cancel := context.WithTimeout(ctx, j.patience)
	defer cancel()
	if err := j.client.Wait(ctx, id, table, head); err != nil {
		return n, digest, err
	}
	if digest, err = j.client.Digest(ctx, id, table, head); err != nil {
		return n, digest, err
	}
	stream, err := j.client.Rows(ctx, table, client.ReadOptions{To: head, Node: id, TxID: true})
	if err != nil {
		return n, digest, err
	}
	defer stream.Close()
	n = history.Node{ID: id, Applied: min(stream.TxID, head)}
	n.Seen, err = readSeen(stream)
	return n, digest, err
}

func (j *judge) count(t history.Table) {
	for i := range t.Writes {
		switch t.Writes[i].Outcome {
		case history.Acknowledged:
			j.report.Acknowledged++
		case history.Conflicted:
			j.report.Conflicts++
		}
	}
}
