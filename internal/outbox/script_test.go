package outbox

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestScripts runs the stories in testdata/core: what the records of a folder say, step by step. Every record counts as
// synced. Commands:
//
//	take table=T [n=N] [bytes=B]         the application hands N writes over (1), each B bytes on the disk (100)
//	registered epoch=E [forgotten]       the producer has registered; the cluster has forgotten what was sent before
//	batch table=T [writes=N] [bytes=B]   what would be sent now, numbered if it is not yet
//	accepted table=T txid=N writes=(N,…) the cluster's answers, by ordinal
//	refused table=T write=N [name=W] [unknown]
//	reported writes=(N,…)                the application has refused writes back
//	move                                 what keeps the oldest file is written once more, if that is worth it
//	file                                 the next file is begun
//	clean                                files that hold nothing that is needed are removed
//	crash                                the process dies; the next reads the folder
//	folder                               everything that is open or refused, and the files
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/core", func(t *testing.T, path string) {
		s := &script{core: newCore("app"), time: 1_700_000_000_000_000_000}
		s.file(nil)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			run, ok := map[string]func(*datadriven.TestData) error{
				"take": s.take, "registered": s.registered, "batch": s.batch, "accepted": s.accepted, "refused": s.refused,
				"reported": s.reported, "move": s.move, "file": s.file, "clean": s.clean, "crash": s.crash, "folder": s.folder,
			}[d.Cmd]
			if !ok {
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			s.out.Reset()
			if err := run(d); err != nil {
				fmt.Fprintln(&s.out, "error:", err)
			}
			return s.out.String()
		})
	})
}

// script is a folder: the core, and what its files would say to the next process.
type script struct {
	core  *core
	files []*scriptFile
	time  int64
	out   strings.Builder
}

type scriptFile struct {
	header  header
	records []scriptRecord
}

type scriptRecord struct {
	r    record
	size uint32
}

const scriptHeader = 50 // bytes

func option(d *datadriven.TestData, key, fallback string) string {
	for _, a := range d.CmdArgs {
		if a.Key == key && len(a.Vals) > 0 {
			return a.Vals[0]
		}
	}
	return fallback
}

func count(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("%q is no number", text))
	}
	return n
}

func ordinals(d *datadriven.TestData) (list []uint64) {
	for _, a := range d.CmdArgs {
		if a.Key == "writes" || a.Key == "write" {
			for _, v := range a.Vals {
				list = append(list, count(v))
			}
		}
	}
	return list
}

// put writes a record down, and has the core take it.
func (s *script) put(r record, size uint32) error {
	f := s.files[len(s.files)-1]
	at := place{f.header.Number, s.core.file(f.header.Number).size, size}
	f.records = append(f.records, scriptRecord{r, size})
	return s.core.apply(r, at)
}

func (s *script) take(d *datadriven.TestData) error {
	for range count(option(d, "n", "1")) {
		s.time += 1e9
		w := &Write{Ordinal: s.core.next, Time: s.time, Table: option(d, "table", "")}
		s.core.next++
		if err := s.put(w, uint32(count(option(d, "bytes", "100")))); err != nil {
			return err
		}
		fmt.Fprintf(&s.out, "write %d of %s\n", w.Ordinal, w.Table)
	}
	return nil
}

func (s *script) registered(d *datadriven.TestData) error {
	before := len(s.core.refused)
	if err := s.put(epochRecord{Epoch: count(option(d, "epoch", "")), Known: !d.HasArg("forgotten")}, 15); err != nil {
		return err
	}
	if n := len(s.core.refused) - before; n > 0 {
		fmt.Fprintf(&s.out, "%d writes have an unknown outcome\n", n)
	}
	return nil
}

func (s *script) batch(d *datadriven.TestData) error {
	table := option(d, "table", "")
	entries := s.core.batch(table, int(count(option(d, "writes", "1000"))), int64(count(option(d, "bytes", "1000000"))))
	if len(entries) == 0 {
		fmt.Fprintln(&s.out, "nothing")
		return nil
	}
	verb := "again"
	if entries[0].sequence == 0 {
		var list []uint64
		for _, e := range entries {
			list = append(list, e.ordinal)
		}
		verb = "first"
		if err := s.put(s.core.number(table, list), 30); err != nil {
			return err
		}
	}
	q := s.core.tables[table]
	for i := range entries {
		fmt.Fprintf(&s.out, "%s: write %d, sequence %s, settled %s\n", verb, q.open[i].ordinal,
			sequence(q.open[i].sequence), sequence(s.core.settled(table)))
	}
	return nil
}

// sequence prints epoch and count.
func sequence(n uint64) string { return fmt.Sprintf("%d/%d", n>>32, n&(1<<32-1)) }

func (s *script) accepted(d *datadriven.TestData) error {
	return s.put(acceptedRecord{option(d, "table", ""), count(option(d, "txid", "")), ordinals(d)}, 20)
}

func (s *script) refused(d *datadriven.TestData) error {
	why := Refusal{Name: option(d, "name", "conflict"), Unknown: d.HasArg("unknown")}
	return s.put(refusedRecord{option(d, "table", ""), ordinals(d)[0], why}, 30)
}

func (s *script) reported(d *datadriven.TestData) error {
	return s.put(reportedRecord{ordinals(d)}, 15)
}

func (s *script) move(*datadriven.TestData) error {
	b := &Box{c: s.core}
	list := b.claimLocked()
	for _, m := range list {
		r := movedRecord{Sequence: m.sequence, Refusal: m.refusal, Write: &Write{Ordinal: m.ordinal, Time: m.time, Table: m.table}}
		if err := s.put(r, m.at.size); err != nil {
			return err
		}
		fmt.Fprintf(&s.out, "write %d of %s\n", m.ordinal, m.table)
		if q := s.core.tables[m.table]; q != nil {
			q.busy = false
		}
	}
	if len(list) == 0 {
		fmt.Fprintln(&s.out, "nothing")
	}
	return nil
}

func (s *script) file(*datadriven.TestData) error {
	h := s.core.header()
	s.files = append(s.files, &scriptFile{header: h})
	s.core.begin(h, scriptHeader)
	return nil
}

func (s *script) clean(*datadriven.TestData) error {
	for {
		n, ok := s.core.done()
		if !ok {
			return nil
		}
		s.core.forget()
		s.files = s.files[1:]
		fmt.Fprintf(&s.out, "file %d is removed\n", n)
	}
}

// crash has the next process read the folder. What it finds must be what the process before had.
func (s *script) crash(d *datadriven.TestData) error {
	before := s.state()
	s.core = newCore("app")
	files := s.files
	s.files = nil
	for _, f := range files {
		s.files = append(s.files, &scriptFile{header: f.header})
		s.core.begin(f.header, scriptHeader)
		for _, r := range f.records {
			if err := s.put(r.r, r.size); err != nil {
				return err
			}
		}
	}
	if after := s.state(); after != before {
		return fmt.Errorf("the next process finds\n%sand the process before had\n%s", after, before)
	}
	return nil
}

func (s *script) folder(*datadriven.TestData) error {
	s.out.WriteString(s.state())
	return nil
}

func (s *script) state() string {
	var b strings.Builder
	fmt.Fprintf(&b, "epoch %d, next write %d, %d open\n", s.core.epoch, s.core.next, s.core.open)
	for _, name := range s.core.names() {
		for _, e := range s.core.tables[name].open {
			what := "never sent"
			if e.sequence != 0 {
				what = "may have been sent as " + sequence(e.sequence)
			}
			fmt.Fprintf(&b, "%s: write %d in file %d, %s\n", name, e.ordinal, e.at.file, what)
		}
	}
	for _, r := range s.core.refused {
		unknown := ""
		if r.refusal.Unknown {
			unknown = ", may be stored"
		}
		fmt.Fprintf(&b, "%s: write %d in file %d waits to be taken back: %s%s\n", r.table, r.ordinal, r.at.file,
			r.refusal.Name, unknown)
	}
	if !slices.IsSortedFunc(s.core.files, func(a, b file) int { return int(a.number) - int(b.number) }) {
		b.WriteString("files out of order\n")
	}
	for _, f := range s.core.files {
		fmt.Fprintf(&b, "file %d: %d of %d bytes are needed\n", f.number, f.live, f.size)
	}
	return b.String()
}
