package sequencer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// TestScripts runs the stories in testdata. Each line of a commit is a group:
//
//	TABLE [GROUP-ID] : WRITE ; WRITE …        GROUP-ID, id=  producer/epoch/sequence/settled
//	WRITE: ROWS [expect=N] [id=…] [key=…]
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{world: newMemoryWorld(t), prints: map[string]api.Fingerprint{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			run, ok := map[string]func(*datadriven.TestData) (string, error){
				"node": s.runNode, "state": s.runState, "producer": s.runProducer, "renew": s.runRenew,
				"schema": s.runSchema, "commit": s.runCommit, "ticks": s.runTicks, "sweep": s.runSweep,
				"log": s.runLog, "tables": s.runTables, "segment": s.runSegment, "keys": s.runKeys,
				"topology": s.runTopology, "confirm": s.runConfirm, "void": s.runVoid, "pending": s.runPending,
				"fail": s.runFail, "standin": s.runStandIn, "promote": s.runRole, "demote": s.runRole,
				"remove": s.runRemove, "lease": s.runLease,
			}[d.Cmd]
			if !ok {
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			out, err := run(d)
			if err != nil {
				return err.Error() + "\n"
			}
			return out
		})
	})
}

type script struct {
	*world
	prints map[string]api.Fingerprint
}

func arg(d *datadriven.TestData, key, fallback string) string {
	for _, a := range d.CmdArgs {
		if a.Key == key && len(a.Vals) > 0 {
			return a.Vals[0]
		}
	}
	return fallback
}

func num(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("%q is no number", s))
	}
	return n
}

func (s *script) runNode(d *datadriven.TestData) (out string, err error) {
	id := arg(d, "id", "")
	err = s.try(func(x kv.Txn) error {
		a, err := s.core.RegisterNode(x, api.RegisterNodeRequest{
			ID: id, Role: api.Role(arg(d, "role", "primary")), HTTP: arg(d, "http", ""),
			Mark: arg(d, "disk", "disk-"+id), Attempt: arg(d, "attempt", "1"),
		})
		out = fmt.Sprintf("epoch %d\n", a.Epoch)
		return err
	})
	return out, err
}

func (s *script) runState(d *datadriven.TestData) (string, error) {
	err := s.try(func(x kv.Txn) error {
		_, err := s.core.SetNodeState(x, api.NodeStateRequest{
			ID: arg(d, "id", ""), Epoch: num(arg(d, "epoch", "0")), State: api.State(arg(d, "to", "")),
		})
		return err
	})
	return "ok\n", err
}

func (s *script) runConfirm(d *datadriven.TestData) (out string, err error) {
	err = s.try(func(x kv.Txn) error {
		done, err := s.core.Confirm(x, api.ConfirmRequest{Segment: segmentArg(d)})
		out = fmt.Sprintf("confirmed %d, from %v on\n", done.Confirmed, done.Indexes)
		return err
	})
	return out, err
}

func (s *script) runVoid(d *datadriven.TestData) (out string, err error) {
	err = s.try(func(x kv.Txn) error {
		a, err := s.core.Void(x, api.VoidRequest{Table: arg(d, "table", "cpu"), TxID: num(arg(d, "txid", "")),
			Index: num(arg(d, "index", ""))})
		out = fmt.Sprintf("void are TxIDs %d to %d, %d rows\n", a.First, a.Last, a.Rows)
		return err
	})
	return out, err
}

func (s *script) runPending(d *datadriven.TestData) (out string, err error) {
	q := api.PendingRequest{Node: arg(d, "node", ""), Limit: int(num(arg(d, "limit", "0")))}
	for {
		var a api.PendingAnswer
		s.view(func(r kv.Reader) error { a, err = Pending(r, q); return nil })
		if err != nil {
			return "", err
		}
		out += fmt.Sprintf("tick %d\n", a.Tick)
		for _, r := range a.Records {
			out += fmt.Sprintf("%s %d-%d, %d rows, segment %s, log record %d, since %d, fenced %v, held by %v\n",
				r.Table, r.First, r.Last, r.Rows, r.Segment, r.Index, r.Since, r.Fenced, r.Holders)
		}
		if q.After = a.Next; q.After == nil {
			return out, nil
		}
	}
}

func segmentArg(d *datadriven.TestData) api.SegmentID {
	return api.SegmentID{Node: arg(d, "node", "p1"), Epoch: num(arg(d, "epoch", "1")),
		Sequence: num(arg(d, "segment", "1"))}
}

func (s *script) runProducer(d *datadriven.TestData) (out string, err error) {
	err = s.try(func(x kv.Txn) error {
		r := api.RegisterProducerRequest{ID: arg(d, "id", ""), Attempt: arg(d, "attempt", "1")}
		a, err := s.core.RegisterProducer(x, r)
		out = fmt.Sprintf("epoch %d, known %v, renew every %d s\n", a.Epoch, a.Known, a.RenewSeconds)
		return err
	})
	return out, err
}

func (s *script) runRenew(d *datadriven.TestData) (string, error) {
	err := s.try(func(x kv.Txn) error {
		return s.core.RenewProducer(x, api.RenewProducerRequest{ID: arg(d, "id", ""), Epoch: num(arg(d, "epoch", "0"))})
	})
	return "ok\n", err
}

// runSchema grows a schema by the columns of its input, name and type a line.
func (s *script) runSchema(d *datadriven.TestData) (string, error) {
	q := api.SchemaRequest{Table: arg(d, "table", "")}
	for line := range strings.Lines(d.Input) {
		name, typ, _ := strings.Cut(strings.TrimSpace(line), " ")
		c := api.Column{Name: name}
		if err := c.Type.UnmarshalText([]byte(typ)); err != nil {
			return "", err
		}
		q.Columns = append(q.Columns, c)
	}
	var a api.SchemaAnswer
	err := s.try(func(x kv.Txn) (err error) { a, err = s.core.GrowSchema(x, q); return err })
	if err != nil {
		return "", err
	}
	schema, err := api.NewSchema(a.Columns)
	if err != nil {
		return "", err
	}
	s.prints[q.Table] = schema.Fingerprint(schema.Len())
	var out strings.Builder
	for _, c := range a.Columns {
		fmt.Fprintf(&out, "%s %s\n", c.Name, c.Type)
	}
	return out.String(), nil
}

func parseSeq(text string) api.ProducerSeq {
	p := strings.Split(text, "/")
	return api.ProducerSeq{Producer: p[0], Epoch: num(p[1]), Sequence: num(p[2]), Settled: num(p[3])}
}

func (s *script) parseGroup(line string) api.GroupHeader {
	head, writes, _ := strings.Cut(line, ":")
	fields := strings.Fields(head)
	h := api.GroupHeader{Table: fields[0], Fingerprint: s.prints[fields[0]]}
	if h.Fingerprint == (api.Fingerprint{}) {
		h.Fingerprint = h.Fingerprint.Extend(api.Column{Name: api.TimestampColumn, Type: api.Timestamp})
	}
	if len(fields) > 1 {
		h.ID = parseSeq(fields[1])
	}
	for text := range strings.SplitSeq(writes, ";") {
		var w api.WriteMeta
		for _, f := range strings.Fields(text) {
			switch name, v, _ := strings.Cut(f, "="); name {
			case "expect":
				w.Locked, w.Expected = true, num(v)
			case "id":
				w.ID = parseSeq(v)
			case "key":
				w.Key = v
			default:
				w.Rows = uint32(num(f))
			}
		}
		h.Writes = append(h.Writes, w)
	}
	return h
}

func (s *script) runCommit(d *datadriven.TestData) (string, error) {
	r := api.CommitRequest{Node: arg(d, "node", "p1"), Epoch: num(arg(d, "epoch", "1"))}
	holders := arg(d, "pending", "")
	for line := range strings.Lines(d.Input) {
		h := s.parseGroup(strings.TrimSpace(line))
		if holders != "" {
			h.Durability = api.DurabilityWAL
		}
		g := group(h, num(arg(d, "segment", "1")))
		if holders != "" {
			g.State, g.Holders = api.Pending, strings.Split(holders, "+")
		}
		r.Groups = append(r.Groups, g)
	}
	request, err := s.core.ParseRequest(api.AppendCommitRequest(nil, &r), 0)
	if err != nil {
		return "", err
	}
	result := s.commit(request).Results[0]
	if result.Err != nil {
		return "", result.Err
	}
	var out strings.Builder
	for i, a := range result.Answers {
		fmt.Fprintf(&out, "%s:%s\n", request.Groups[i].Table, describe(a))
	}
	return out.String(), nil
}

func describe(a api.GroupAnswer) string {
	if a.Err != nil {
		return " " + a.Err.Error()
	}
	var out []string
	for _, o := range a.Writes {
		switch err := o.Error("t"); {
		case err == nil:
			out = append(out, fmt.Sprintf(" txid %d", o.TxID))
		case err.Name == api.Conflict:
			out = append(out, fmt.Sprintf(" conflict (expected %d, head %d)", o.Expected, o.Current))
		default:
			out = append(out, " "+string(err.Name))
		}
	}
	if a.Pending {
		out = append(out, " pending")
	}
	return strings.Join(out, ",")
}

func (s *script) runTicks(d *datadriven.TestData) (string, error) {
	for range num(arg(d, "n", "1")) {
		s.update(func(x kv.Txn) error { _, err := increment(x, kindTick); return err })
	}
	return "ok\n", nil
}

func (s *script) runSweep(d *datadriven.TestData) (out string, err error) {
	err = s.try(func(x kv.Txn) error {
		n, err := s.core.Sweep(x, int(num(arg(d, "limit", "100"))))
		out = fmt.Sprintf("cleared %d\n", n)
		return err
	})
	return out, err
}

func (s *script) runLog(*datadriven.TestData) (string, error) {
	var out strings.Builder
	for _, r := range s.log() {
		fmt.Fprintf(&out, "%d: %s %d-%d, %d rows, segment %s, %s",
			r.Index, r.Table, r.First, r.Last(), r.Rows, r.Segment, r.State)
		if r.Mask != nil {
			fmt.Fprintf(&out, ", writes %0*b", r.Writes, r.Mask)
		}
		fmt.Fprintln(&out)
	}
	return out.String(), nil
}

func (s *script) runTables(*datadriven.TestData) (out string, err error) {
	s.view(func(r kv.Reader) error {
		a, err := Tables(r, api.TablesRequest{})
		for _, t := range a.Tables {
			out += fmt.Sprintf("%s: head %d, %d columns\n", t.Name, t.Head, t.Columns)
		}
		return err
	})
	return out, nil
}

func (s *script) runSegment(d *datadriven.TestData) (out string, err error) {
	s.view(func(r kv.Reader) error {
		a, err := SegmentState(r, segmentArg(d))
		out = fmt.Sprintf("fenced %v, unconfirmed %v, void %v\n", a.Fenced, a.Unconfirmed, a.Voided)
		return err
	})
	return out, nil
}

var kindNames = map[kind]string{kindAnswer: "answers", kindProducer: "producers", kindIdle: "idle index",
	kindLeftover: "leftovers", kindPlain: "plain keys", kindPlainIdle: "plain index"}

// runKeys counts what identities take in the store.
func (s *script) runKeys(*datadriven.TestData) (string, error) {
	counts := map[string]int{}
	s.view(func(r kv.Reader) error {
		pairs, err := r.Range([]byte{0}, []byte{0xff}, 0, false)
		for _, p := range pairs {
			k, kerr := parseKey(p.Key)
			err = errors.Join(err, kerr)
			if name := kindNames[k.kind]; name != "" {
				counts[name]++
			}
		}
		return err
	})
	var out []string
	for name, n := range counts {
		out = append(out, fmt.Sprintf("%s: %d\n", name, n))
	}
	slices.Sort(out)
	return strings.Join(out, ""), nil
}
