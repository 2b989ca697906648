package loadtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/history"
)

// ErrVerify is the error of a run that the nodes' contents contradict.
var ErrVerify = errors.New("verification failed")

// verifier asks every node what it holds, and judges it by what the writers were told.
type verifier struct {
	config *Config
	client *client.Client
	heads  map[string]uint64 // before the run
	writes map[string][]history.Write
	result Verification
}

// verify returns an error only if it could not look; what it finds is in the result.
func verify(
	ctx context.Context, c *Config, cl *client.Client, heads map[string]uint64, workers []*worker, tables []string,
) (*Verification, error) {
	start := time.Now()
	v := &verifier{config: c, client: cl, heads: heads, writes: map[string][]history.Write{}}
	v.result = Verification{OK: true, Tables: map[string]TableVerified{}, Verdict: map[string]history.Verdict{}}
	for _, w := range workers {
		for table, records := range w.records {
			v.writes[table] = append(v.writes[table], records...)
		}
		w.records = nil
	}
	if err := v.findNodes(ctx); err != nil {
		return nil, err
	}
	after, err := cl.Heads(ctx)
	if err != nil {
		return nil, err
	}
	for _, table := range tables {
		if err := v.table(ctx, table, after[table]); err != nil {
			return nil, fmt.Errorf("verify table %s: %w", table, err)
		}
	}
	v.result.Seconds = time.Since(start).Seconds()
	return &v.result, nil
}

func (v *verifier) findNodes(ctx context.Context) error {
	nodes, err := v.client.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if oneOf(n.State, "live", "draining", "recovering") {
			v.result.Nodes = append(v.result.Nodes, n.ID)
		} else {
			v.result.Skipped = append(v.result.Skipped, n.ID+" ("+n.State+")")
		}
	}
	if len(v.result.Nodes) == 0 {
		return errors.New("no node is there to be asked")
	}
	return nil
}

func (v *verifier) table(ctx context.Context, table string, head uint64) error {
	base := v.heads[table]
	sum := TableVerified{Base: base, Head: head}
	for _, w := range v.writes[table] {
		switch {
		case w.Outcome == history.Acknowledged && w.Opaque:
			sum.Opaque++
			sum.Acked++
		case w.Outcome == history.Acknowledged:
			sum.Acked++
		case w.Outcome == history.Conflicted:
			sum.Refused++
		}
	}
	seen := history.Table{Name: table, Base: base, Writes: v.writes[table]}
	var nodes []history.Node
	var verdict history.Verdict
	if head > base { // else the table may not even exist
		if err := v.await(ctx, table, head); err != nil {
			return err
		}
		digest, differ, err := v.digests(ctx, table, head)
		if err != nil {
			return err
		}
		sum.Digest = digest
		verdict.Merge(differ)
		if nodes, sum.Rows, err = v.readAll(ctx, table, base+1, head); err != nil {
			return err
		}
	} else {
		nodes = append(nodes, history.Node{ID: "sequencer", Applied: base})
	}
	verdict.Merge(history.Check(seen, nodes))
	v.result.OK = v.result.OK && verdict.OK()
	v.result.Tables[table], v.result.Verdict[table] = sum, verdict
	return nil
}

// await waits until every node has applied the head.
func (v *verifier) await(ctx context.Context, table string, head uint64) error {
	ctx, cancel := context.WithTimeout(ctx, v.config.VerifyTimeout)
	defer cancel()
	for _, id := range v.result.Nodes {
		if err := v.client.Wait(ctx, id, table, head); err != nil {
			return fmt.Errorf("nodes do not hold everything after %s: %w", v.config.VerifyTimeout, err)
		}
	}
	return nil
}

// digests compares the nodes' digests at the head (I4).
func (v *verifier) digests(
	ctx context.Context, table string, head uint64,
) (digest string, verdict history.Verdict, err error) {
	var first client.Digest
	for i, id := range v.result.Nodes {
		d, err := v.client.Digest(ctx, id, table, head)
		if err != nil {
			return "", verdict, err
		}
		if i == 0 {
			first = d
		}
		if d.Sum != first.Sum || d.TxID != first.TxID || d.TxID != head {
			verdict.Add(history.Violation{Invariant: 4, Check: "digest", Table: table, Node: id, TxID: head,
				Detail: fmt.Sprintf("%.16s… at TxID %d; %s has %.16s… at TxID %d",
					d.Sum, d.TxID, v.result.Nodes[0], first.Sum, first.TxID)})
		}
	}
	return first.Sum, verdict, nil
}

// readersMax bounds the nodes that are read from at the same time.
const readersMax = 2

// readAll reads the same transactions from every node, and returns the rows of the first.
func (v *verifier) readAll(ctx context.Context, table string, from, to uint64) ([]history.Node, uint64, error) {
	nodes, rows := make([]history.Node, len(v.result.Nodes)), make([]uint64, len(v.result.Nodes))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readersMax)
	for i, id := range v.result.Nodes {
		group.Go(func() (err error) {
			nodes[i], rows[i], err = v.read(ctx, id, table, from, to)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, 0, err
	}
	return nodes, rows[0], nil
}

// read streams the rows of a node and keeps a checksum for each transaction.
func (v *verifier) read(
	ctx context.Context, id, table string, from, to uint64,
) (history.Node, uint64, error) {
	stream, err := v.client.Rows(ctx, table, client.ReadOptions{
		From: from, To: to, Format: client.FormatArrow, Node: id, TxID: true})
	if err != nil {
		return history.Node{}, 0, err
	}
	defer stream.Close()
	n := history.Node{ID: id, Applied: min(stream.TxID, to)}
	rows, err := readContent(stream, func(s history.Seen) { n.Seen = append(n.Seen, s) })
	if err != nil {
		return history.Node{}, 0, fmt.Errorf("rows of %s: %w", id, err)
	}
	n.Seen = slices.Clip(n.Seen)
	return n, rows, nil
}
