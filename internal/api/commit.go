package api

import "fmt"

// RecordState says where the bytes of a commit record are. The numbers are stored: never change one.
type RecordState uint8

const (
	Confirmed RecordState = 1 // in the object store
	Pending   RecordState = 2 // on its holders' disks only
	Void      RecordState = 3 // given up by an operator; no node applies it
)

func (s RecordState) String() string {
	switch s {
	case Confirmed:
		return "confirmed"
	case Pending:
		return "pending"
	case Void:
		return "void"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// CommitRequest asks the sequencer for the TxIDs of groups that are durable. It is decided in one transaction. A
// request whose outcome is unknown is sent again unchanged.
type CommitRequest struct {
	Node   string
	Epoch  uint64
	Groups []CommitGroup // in the order of their segments; all tables are of one shard
}

// CommitGroup is one group of a commit request: its header, and where its bytes are.
type CommitGroup struct {
	Segment uint64 // sequence of the segment, of the request's node and epoch
	Offset  uint64 // of the group's frame in the segment
	Length  uint32 // of the frame, in bytes
	CRC     uint32 // CRC-32C, as it stands in the frame
	State   RecordState
	Holders []string // nodes that have the segment synced, if State is Pending
	Header  []byte   // as AppendGroupHeader made it
}

const commitVersion = 1

// AppendCommitRequest encodes r.
func AppendCommitRequest(b []byte, r *CommitRequest) []byte {
	b = append(b, commitVersion)
	b = appendBytes(b, r.Node)
	b = appendUint(b, r.Epoch)
	b = appendUint(b, uint64(len(r.Groups)))
	for i := range r.Groups {
		g := &r.Groups[i]
		b = appendUint(b, g.Segment)
		b = appendUint(b, g.Offset)
		b = appendUint(b, uint64(g.Length))
		b = appendUint(b, uint64(g.CRC))
		b = append(b, byte(g.State))
		b = appendStrings(b, g.Holders)
		b = appendBytes(b, g.Header)
	}
	return b
}

// Size is about what the group takes of a request's CommitBytesMax.
func (g *CommitGroup) Size() int { return len(g.Header) + 32 + 64*len(g.Holders) }

// ParseCommitRequest decodes what AppendCommitRequest wrote. Headers stay encoded and alias b.
func ParseCommitRequest(b []byte) (CommitRequest, error) {
	d := decoder{b: b}
	if v := d.byte(); d.err == nil && v != commitVersion {
		return CommitRequest{}, fmt.Errorf("commit request: unknown version %d", v)
	}
	r := CommitRequest{Node: d.string(), Epoch: d.uint()}
	n := d.count()
	if d.err == nil && (n < 1 || n > CommitGroupsMax) {
		return CommitRequest{}, fmt.Errorf("commit request: %d groups", n)
	}
	r.Groups = make([]CommitGroup, n)
	for i := range r.Groups {
		g := &r.Groups[i]
		g.Segment, g.Offset = d.uint(), d.uint()
		g.Length, g.CRC = d.uvarint32(), d.uvarint32()
		g.State = RecordState(d.byte())
		g.Holders = d.strings()
		g.Header = d.bytes()
		if d.err == nil && g.State != Confirmed && g.State != Pending {
			return CommitRequest{}, fmt.Errorf("commit request: group %d: %s", i, g.State)
		}
	}
	if err := d.end(); err != nil {
		return CommitRequest{}, fmt.Errorf("commit request: %w", err)
	}
	return r, nil
}

// Verdict is what the sequencer decided about one write. The numbers are stored: never change one.
type Verdict uint8

const (
	Accepted        Verdict = 1
	RefusedConflict Verdict = 2
	RefusedFenced   Verdict = 3 // a newer epoch of the producer exists
	RefusedExpired  Verdict = 4 // the producer is not registered: unknown
	RefusedSettled  Verdict = 5 // at or below settled: unknown
	RefusedVoided   Verdict = 6
)

// Outcome is the answer to one write.
type Outcome struct {
	Verdict  Verdict
	TxID     uint64 // if accepted
	Expected uint64 // of a conflict
	Current  uint64 // of a conflict: the head when it was decided
}

// GroupAnswer is the answer to one group: an outcome for each of its writes, or one error for the whole group.
type GroupAnswer struct {
	Err    *Error    // Overloaded or Unavailable: nothing of the group is decided, send it again later
	Writes []Outcome // as many as the group has writes, if Err is nil
	// Pending says that the group's record is not confirmed: a write at `object` must not be acknowledged yet.
	Pending bool
}

// Error returns what the writer of table is told of this outcome; nil if it was accepted.
func (o Outcome) Error(table string) *Error {
	var e *Error
	switch o.Verdict {
	case Accepted:
		return nil
	case RefusedConflict:
		return ConflictError(table, o.Expected, o.Current)
	case RefusedFenced:
		e = Errorf(Fenced, "a newer process of this producer has registered")
	case RefusedExpired:
		e = Errorf(Expired, "the producer is not registered; whether the write was stored is unknown")
	case RefusedSettled:
		e = Errorf(Settled, "the sequence is already settled; whether the write was stored is unknown")
	case RefusedVoided:
		e = Errorf(Voided, "the write was voided by an operator")
	default:
		e = Errorf(Unavailable, "unknown verdict %d", o.Verdict)
	}
	return e.InTable(table)
}

// AppendGroupAnswer encodes a.
func AppendGroupAnswer(b []byte, a *GroupAnswer) []byte {
	if a.Err != nil {
		b = append(b, 0)
		b = appendBytes(b, a.Err.Name)
		b = appendBytes(b, a.Err.Message)
		return appendUint(b, uint64(a.Err.RetryAfterMS))
	}
	if a.Pending {
		b = append(b, 2)
	} else {
		b = append(b, 1)
	}
	b = appendUint(b, uint64(len(a.Writes)))
	for i := range a.Writes {
		b = AppendOutcome(b, a.Writes[i])
	}
	return b
}

// AppendOutcome encodes o; the sequencer stores it as the answer to an identity.
func AppendOutcome(b []byte, o Outcome) []byte {
	b = append(b, byte(o.Verdict))
	switch o.Verdict {
	case Accepted:
		b = appendUint(b, o.TxID)
	case RefusedConflict:
		b = appendUint(appendUint(b, o.Expected), o.Current)
	}
	return b
}

func (d *decoder) outcome() Outcome {
	o := Outcome{Verdict: Verdict(d.byte())}
	switch o.Verdict {
	case Accepted:
		o.TxID = d.uint()
	case RefusedConflict:
		o.Expected, o.Current = d.uint(), d.uint()
	case RefusedFenced, RefusedExpired, RefusedSettled, RefusedVoided:
	default:
		d.fail()
	}
	return o
}

// ParseOutcome decodes what AppendOutcome wrote.
func ParseOutcome(b []byte) (Outcome, error) {
	d := decoder{b: b}
	o := d.outcome()
	return o, d.end()
}

func (d *decoder) groupAnswer() (a GroupAnswer) {
	switch kind := d.byte(); kind {
	case 0:
		name, message := Name(d.string()), d.string()
		a.Err = Errorf(name, "%s", message)
		a.Err.RetryAfterMS = int(d.uint())
	case 1, 2:
		a.Pending = kind == 2
		n := d.count()
		if n > GroupWritesMax {
			d.fail()
			return a
		}
		a.Writes = make([]Outcome, n)
		for i := range a.Writes {
			a.Writes[i] = d.outcome()
		}
	default:
		d.fail()
	}
	return a
}

// ParseGroupAnswer decodes what AppendGroupAnswer wrote.
func ParseGroupAnswer(b []byte) (GroupAnswer, error) {
	d := decoder{b: b}
	a := d.groupAnswer()
	if err := d.end(); err != nil {
		return GroupAnswer{}, fmt.Errorf("group answer: %w", err)
	}
	return a, nil
}

// AppendCommitAnswer encodes the answers to a commit request, one per group and in its order.
func AppendCommitAnswer(b []byte, answers []GroupAnswer) []byte {
	b = append(b, commitVersion)
	b = appendUint(b, uint64(len(answers)))
	for i := range answers {
		b = AppendGroupAnswer(b, &answers[i])
	}
	return b
}

// ParseCommitAnswer decodes what AppendCommitAnswer wrote.
func ParseCommitAnswer(b []byte) ([]GroupAnswer, error) {
	d := decoder{b: b}
	if v := d.byte(); d.err == nil && v != commitVersion {
		return nil, fmt.Errorf("commit answer: unknown version %d", v)
	}
	answers := make([]GroupAnswer, d.count())
	for i := range answers {
		answers[i] = d.groupAnswer()
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("commit answer: %w", err)
	}
	return answers, nil
}

func (d *decoder) uvarint32() uint32 {
	v := d.uint()
	if v > 1<<32-1 {
		d.fail()
	}
	return uint32(v)
}

func (d *decoder) strings() []string {
	n := d.count()
	if n == 0 {
		return nil
	}
	s := make([]string, n)
	for i := range s {
		s[i] = d.string()
	}
	return s
}

func appendStrings(b []byte, s []string) []byte {
	b = appendUint(b, uint64(len(s)))
	for i := range s {
		b = appendBytes(b, s[i])
	}
	return b
}
