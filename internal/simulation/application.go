package simulation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/history"
	"github.com/seed-551dd829/braid/internal/outbox"
	"github.com/seed-551dd829/braid/internal/sim"
)

// application is a client whose writes outlive it on a disk of its own: the SDK's outbox.Box, whole, over the network
// to the primaries. What is written anew here is what parses, encodes and sends a group.
type application struct {
	w      *world
	c      *client // how it asks the sequencer; it writes nothing itself
	disk   *sim.Disk
	starts int
	box    *outbox.Box
	left   int // writes to make
	ids    int
	kept   []*keptWrite // of all its processes
	byRows map[string]*keptWrite
	byTxID map[string]*keptWrite
	done   bool
}

// keptWrite is one write as the application has it.
type keptWrite struct {
	history.Write
	table string
	taken bool     // it is on the disk, the box has said
	back  bool     // the application has it back
	sent  []*write // as each batch of each process had it; a late copy of one may arrive when nobody waits any more
}

// answered notes that nobody waits for the write any more.
func (k *keptWrite) answered() {
	for _, w := range k.sent {
		w.waiting = false
	}
}

func newApplication(w *world, name string) *application {
	a := &application{w: w, disk: sim.NewDisk(w.e, w.chaos), left: 5 + w.e.Rand.IntN(30),
		byRows: make(map[string]*keptWrite), byTxID: make(map[string]*keptWrite)}
	a.c = &client{w: w, name: name, head: make(map[string]uint64)}
	a.start()
	return a
}

func (a *application) start() {
	e, c := a.w.e, a.c
	c.p = e.Start(c.name)
	p := c.p
	a.starts++
	c.catalog = &schemas{asker: asker{a.w, p}, known: make(map[string]api.Schema)}
	c.routes = newRoutes(a.w, p)
	fs := sim.SlowAppends(a.w.bug.outboxDisk(a.disk.Attach(p)), p)
	p.OnEnd(func() { e.After(a.w.restart(), a.start) })
	p.Go(func(ctx context.Context) {
		box, err := outbox.Open(outbox.Config{Dir: "outbox", Producer: c.name, BytesMax: 40_000,
			FileBytesMax: 500 + e.Rand.Int64N(2000), BatchWrites: 1 + e.Rand.IntN(5), Tables: 1 + e.Rand.IntN(3),
			Pause: e.Between(50*time.Millisecond, 300*time.Millisecond)}, a.deps(p, fs))
		if err != nil {
			a.end(p, err)
		}
		a.box = box
		p.Go(func(ctx context.Context) { a.end(p, box.Run(ctx)) })
		a.write(ctx, p)
	})
}

// end ends the process, as an application does whose outbox has ended. The next one begins anew.
func (a *application) end(p *sim.Process, err error) {
	p.Living()
	// Without the error: it may hold the random name of a temporary file, and a trace is the same each time.
	a.w.e.Trace(a.c.name, "ends, broken: %t", errors.Is(err, outbox.ErrBroken))
	p.End()
}

func (a *application) deps(p *sim.Process, fs disk.FS) outbox.Deps {
	return outbox.Deps{FS: fs, Logger: a.w.log, Carrier: a,
		Register: func(ctx context.Context, r api.RegisterProducerRequest) (api.RegisterProducerAnswer, error) {
			if a.w.bug == EpochNotRaised && r.Last != 0 {
				return api.RegisterProducerAnswer{Epoch: r.Last, Known: true, RenewSeconds: 1}, nil
			}
			return a.c.catalog.RegisterProducer(ctx, r)
		},
		Renew: func(ctx context.Context, r api.RenewProducerRequest) error { return a.c.catalog.RenewProducer(ctx, r) },
		Report: func(_ context.Context, u outbox.Undelivered) error {
			if a.w.e.Rand.IntN(4) == 0 {
				return errors.New("not now")
			}
			k := a.byRows[string(u.Write.Payload)]
			k.back = true
			k.answered()
			if k.Outcome == history.Acknowledged && !u.Refusal.Unknown && !a.w.table(k.table).Voided(k.TxID) {
				a.fail(k, 3, "was stored, and is given back as refused")
			}
			return nil
		},
		NewID: func() string { a.ids++; return fmt.Sprintf("%s-%d", a.c.name, a.ids) },
		Host:  outbox.Host{Now: p.Clock, Await: p.Await, Go: p.Go},
	}
}

// write makes writes, until there are enough.
func (a *application) write(ctx context.Context, p *sim.Process) {
	for ; a.left > 0 && !(a.w.over && a.left > 3); a.left-- {
		p.Sleep(a.w.e.Between(0, 200*time.Millisecond))
		k := &keptWrite{table: a.w.tables[a.w.e.Rand.IntN(len(a.w.tables))]}
		a.w.values++
		row := fmt.Sprintf("a:%d", a.w.values)
		k.Outcome, k.Sent, k.Rows, k.Content = history.Unknown, int64(a.w.e.Now()), 1, sum(row+"\n")
		if k.Locked = a.w.e.Rand.IntN(5) == 0; k.Locked {
			k.Expected = a.c.head[k.table]
		}
		a.kept = append(a.kept, k)
		rows := fmt.Sprintf("{\"timestamp\":%d,%q%s}\n", a.w.values, "a", strings.TrimPrefix(row, "a"))
		a.byRows[rows] = k
		err := a.box.Add(ctx, outbox.Write{Table: k.table, ContentType: api.TypeNDJSON, Payload: []byte(rows),
			Locked: k.Locked, Expected: k.Expected}, nil)
		k.taken = err == nil
		if errors.Is(err, outbox.ErrBroken) {
			a.end(p, err)
		}
	}
	if err := a.box.Delivered(ctx); err != nil {
		a.end(p, err)
	}
	a.done = true
}

// Prepare parses and encodes writes as one group.
func (a *application) Prepare(ctx context.Context, table string, writes []*outbox.Write) (outbox.Load, error) {
	var batch []*write
	for _, kept := range writes {
		b, err := columnar.ParseNDJSON(kept.Payload, table, kept.Time)
		if err != nil {
			panic(err) // of rows that are ours
		}
		k := a.byRows[string(kept.Payload)]
		k.sent = append(k.sent, &write{batch: b, Write: k.Write, waiting: true,
			meta: api.WriteMeta{Rows: 1, Locked: kept.Locked, Expected: kept.Expected}})
		batch = append(batch, k.sent[len(k.sent)-1])
	}
	for ctx.Err() == nil {
		schema, ok := a.c.schema(ctx, table, batch)
		if ok {
			return outbox.Load{Taken: len(writes), Send: func(
				ctx context.Context, ids []api.ProducerSeq,
			) ([]outbox.Outcome, error) {
				return a.send(ctx, table, schema, writes, batch, ids)
			}}, nil
		}
	}
	return outbox.Load{}, ctx.Err()
}

// send sends the group to one primary after the other until there is an answer.
func (a *application) send(ctx context.Context, table string, schema api.Schema, kept []*outbox.Write,
	batch []*write, ids []api.ProducerSeq) ([]outbox.Outcome, error) {
	for i, w := range batch {
		w.meta.ID = a.w.bug.outboxID(ids[i])
	}
	for ctx.Err() == nil {
		pause := a.c.attempt(ctx, table, schema, batch)
		var outcomes []outbox.Outcome
		for i, w := range batch {
			switch {
			case a.c.expired:
				a.c.expired = false
				return nil, api.Errorf(api.Expired, "or fenced")
			case w.Outcome == history.Acknowledged:
				a.acknowledged(table, a.byRows[string(kept[i].Payload)], w)
				outcomes = append(outcomes, outbox.Outcome{TxID: w.TxID, Rows: 1})
			case w.voided:
				outcomes = append(outcomes, outbox.Outcome{Refusal: &outbox.Refusal{Name: string(api.Voided)}})
			case w.Outcome == history.Conflicted:
				a.byRows[string(kept[i].Payload)].Write = w.Write
				outcomes = append(outcomes, outbox.Outcome{Refusal: &outbox.Refusal{Name: string(api.Conflict),
					Expected: w.Expected, Current: w.Current}})
			}
		}
		if len(outcomes) == len(batch) {
			for _, w := range kept {
				a.byRows[string(w.Payload)].answered()
			}
			return outcomes, nil
		}
		a.c.p.Sleep(max(pause, time.Millisecond))
	}
	return nil, ctx.Err()
}

// acknowledged notes an answer, which must be the write's own and the same each time (I3).
func (a *application) acknowledged(table string, k *keptWrite, w *write) {
	key := fmt.Sprint(table, " ", w.TxID)
	if other := a.byTxID[key]; other != nil && other != k {
		a.fail(k, 3, fmt.Sprintf("has TxID %d, which is another write's", w.TxID))
	}
	a.byTxID[key] = k
	if k.Outcome == history.Acknowledged && k.TxID != w.TxID {
		a.fail(k, 3, fmt.Sprintf("has TxIDs %d and %d", k.TxID, w.TxID))
	}
	k.Write = w.Write
}

func (a *application) fail(k *keptWrite, invariant int, what string) {
	a.w.fail(history.Violation{Invariant: invariant, Check: "outbox", Table: k.table,
		Detail: fmt.Sprintf("a write of %s, sent at %s, %s", a.c.name, time.Duration(k.Sent), what)})
}

// unrest says what is still to be done; "" if nothing is.
func (a *application) unrest() string {
	if !a.done || a.c.p.Dead() || a.box == nil {
		return a.c.name + " still writes"
	}
	if s := a.box.State(); s.Open+s.Refused > 0 {
		return fmt.Sprintf("%s has %d writes to deliver and %d to take back", a.c.name, s.Open, s.Refused)
	}
	return ""
}

// judge is the end: whatever was on the disk was answered, or given back (I2).
func (a *application) judge() {
	for _, k := range a.kept {
		if k.taken && k.Outcome == history.Unknown && !k.back {
			a.fail(k, 2, "was on the application's disk, and is lost")
		}
		a.w.record(k.table, k.Write)
	}
}
