package sequencer

import (
	"github.com/seed-551dd829/braid/internal/api"
)

// claim is what the store says to an identity before anything is decided: a refusal, or the first answer, or nothing
// yet. The zero claim is that of a group or a write without identity.
type claim struct {
	verdict   api.Verdict // not 0: refused, without effect
	stored    []byte      // the first answer, at the time of the claim
	sequences *sequences  // of a producer's identity that is not refused
	plain     *plainKey   // of a plain key
}

func (c *claim) any() bool { return c.sequences != nil || c.plain != nil }

// answer is the first answer as of now: a group may hold the same write twice.
func (c *claim) answer(w *api.WriteMeta) []byte {
	switch {
	case c.sequences != nil:
		return c.sequences.answers[w.ID.Sequence]
	case c.plain != nil:
		return c.plain.answer
	}
	return nil
}

// remember keeps the answer under the write's identity.
func (c *claim) remember(w *api.WriteMeta, raw []byte) {
	switch {
	case c.sequences != nil:
		c.sequences.put(w.ID.Sequence, raw)
	case c.plain != nil:
		c.plain.answer, c.plain.fresh = raw, true
	}
}

// sequencesOf names the numbers that one registration of a producer gave to one table.
type sequencesOf struct{ incarnation, table uint64 }

// sequences is what is kept of them: settled, and the answers above it.
type sequences struct {
	sequencesOf
	was     uint64 // settled, as stored
	settled uint64
	old     []uint64          // sequences of the answers as stored, ascending
	answers map[uint64][]byte // all those above settled
	fresh   []uint64          // decided in this transaction
	claimed int               // new ones of the group at hand
}

// settle notes that every sequence up to s has its answer, or that nobody waits for one. It never goes back: a late
// copy says what was true when it was sent.
func (q *sequences) settle(s uint64) {
	if s <= q.settled {
		return
	}
	if s-q.settled <= uint64(len(q.answers)) {
		for n := q.settled + 1; n <= s; n++ {
			delete(q.answers, n)
		}
	} else {
		for n := range q.answers {
			if n <= s {
				delete(q.answers, n)
			}
		}
	}
	q.settled = s
}

// put keeps an answer, unless the same group has settled it already.
func (q *sequences) put(sequence uint64, raw []byte) {
	if sequence <= q.settled {
		return
	}
	q.answers[sequence] = raw
	q.fresh = append(q.fresh, sequence)
}

// claim looks an identity of a producer up, and takes note of its `settled`.
func (x *commitTx) claim(tbl *tableState, id *api.ProducerSeq) (claim, error) {
	if id.None() {
		return claim{}, nil
	}
	p, err := x.producer(id.Producer)
	if err != nil {
		return claim{}, err
	}
	if v := p.verdict(id.Epoch); v != 0 {
		return claim{verdict: v}, nil
	}
	if tbl.id == 0 {
		return claim{}, nil // a table without a schema has no answers: nothing of the group will be decided
	}
	q, err := x.numbers(sequencesOf{p.incarnation, tbl.id})
	if err != nil {
		return claim{}, err
	}
	if q.settle(id.Settled); id.Sequence <= q.settled {
		return claim{verdict: api.RefusedSettled}, nil
	}
	return claim{sequences: q, stored: q.answers[id.Sequence]}, nil
}

// claimWrites fills x.claims with the claims of a group's writes, before any of them is decided: what one write says
// of settled holds for the whole group, so that a request that is run again decides the same. It returns false if a
// producer would have too many answers above settled: then nothing may be decided.
func (x *commitTx) claimWrites(tbl *tableState, g *Group, own claim) (fits bool, err error) {
	x.claims, x.touched = x.claims[:0], x.touched[:0]
	count := func(c claim) {
		if c.sequences != nil && c.stored == nil {
			c.sequences.claimed++
			x.touched = append(x.touched, c.sequences)
		}
	}
	count(own)
	for i := range g.Writes {
		w := &g.Writes[i]
		if w.ID.Sequence-w.ID.Settled > api.AnswersMax {
			// A gateway refuses this before it merges. Whoever sends it straight to a primary must
			// not fill the answers up for the same producer's writes in other groups.
			return false, nil
		}
		c, err := x.claim(tbl, &w.ID)
		if err == nil && w.Key != "" {
			c.plain, err = x.plainKey(tbl.id, w.Key)
		}
		if err != nil {
			return false, err
		}
		count(c)
		x.claims = append(x.claims, c)
	}
	// A write further on may have moved settled past one that came before it.
	for i := range x.claims {
		if c := &x.claims[i]; c.sequences != nil && g.Writes[i].ID.Sequence <= c.sequences.settled {
			*c = claim{verdict: api.RefusedSettled}
		}
	}
	fits = true
	for _, q := range x.touched {
		if q.claimed > 0 && len(q.answers)+q.claimed > api.AnswersMax {
			fits = false
		}
		q.claimed = 0
	}
	return fits, nil
}

// producer returns a registration, nil if there is none, and takes a commit for a sign of life.
func (x *commitTx) producer(id string) (*producer, error) {
	p, seen := x.producers[id]
	if seen {
		return p, nil
	}
	p, err := getProducer(x.t, id)
	if err != nil {
		return nil, err
	}
	if p != nil && x.core.renewal(p, x.tick) {
		x.core.putProducer(x.t, id, p, x.tick)
	}
	x.producers[id] = p
	return p, nil
}

// numbers reads settled and all answers above it in one go.
func (x *commitTx) numbers(of sequencesOf) (*sequences, error) {
	if q, seen := x.sequences[of]; seen {
		return q, nil
	}
	span := answersOf(of)
	pairs, err := x.t.Range(span.Begin, span.End, 0, false)
	if err != nil {
		return nil, err
	}
	q := &sequences{sequencesOf: of, answers: make(map[uint64][]byte, len(pairs)+1)}
	for _, p := range pairs {
		sequence, n := parseNumber(p.Key[len(span.Begin):])
		if n == 0 {
			return nil, errKey
		}
		if sequence != 0 {
			q.old = append(q.old, sequence)
			q.answers[sequence] = p.Value
			continue
		}
		v := openValue(p.Value)
		q.was = v.number()
		if err := v.end("settled"); err != nil {
			return nil, err
		}
	}
	q.settled = q.was
	x.sequences[of] = q
	x.seqOrder = append(x.seqOrder, q)
	return q, nil
}

// clearsMax is how many keys are cleared one by one before a range is cheaper.
const clearsMax = 8

func (x *commitTx) flushSequences(q *sequences) {
	key := func(sequence uint64) []byte {
		x.scratch = appendAnswerKey(x.scratch[:0], q.incarnation, q.table, sequence)
		return x.scratch
	}
	if q.settled != q.was {
		gone := 0
		for gone < len(q.old) && q.old[gone] <= q.settled {
			gone++
		}
		if gone <= clearsMax {
			for _, sequence := range q.old[:gone] {
				x.t.Clear(key(sequence))
			}
		} else {
			begin := appendAnswerKey(nil, q.incarnation, q.table, 1)
			x.t.ClearRange(begin, key(q.settled+1))
		}
		x.t.Set(key(0), newValue(q.settled))
	}
	for _, sequence := range q.fresh {
		if raw, kept := q.answers[sequence]; kept {
			x.t.Set(key(sequence), raw)
		}
	}
}

// plainOf names a plain key: it is scoped to its table.
type plainOf struct {
	table uint64
	key   string
}

// plainKey is what is kept of one.
type plainKey struct {
	plainOf
	answer []byte // nil: it may be used
	stale  uint64 // the tick under which an answer stands in the index whose window has passed
	fresh  bool   // decided in this transaction
}

func (x *commitTx) plainKey(table uint64, key string) (*plainKey, error) {
	of := plainOf{table, key}
	if p, seen := x.plain[of]; seen {
		return p, nil
	}
	x.scratch = appendPlainKey(x.scratch[:0], table, key)
	raw, err := x.t.Get(x.scratch)
	if err != nil {
		return nil, err
	}
	p := &plainKey{plainOf: of}
	if raw != nil {
		v := openValue(raw)
		expires := v.number()
		if !v.ok {
			return nil, v.end("plain key")
		}
		if expires > x.tick {
			p.answer = v.b
		} else {
			p.stale = expires
		}
	}
	x.plain[of] = p
	x.plainOrder = append(x.plainOrder, p)
	return p, nil
}

func (x *commitTx) flushPlain(p *plainKey) {
	if !p.fresh {
		return
	}
	if p.stale != 0 {
		x.t.Clear(appendPlainIdleKey(x.scratch[:0], p.stale, p.table, p.key))
	}
	expires := x.tick + x.core.KeyWindow
	x.scratch = appendPlainKey(x.scratch[:0], p.table, p.key)
	x.t.Set(x.scratch, append(newValue(expires), p.answer...))
	x.scratch = appendPlainIdleKey(x.scratch[:0], expires, p.table, p.key)
	x.t.Set(x.scratch, newValue())
}
