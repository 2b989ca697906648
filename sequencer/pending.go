package sequencer

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// unstored is what the index of records that are not confirmed says of one. A void record stays in it for good: it tells
// a holder that returns what became of its copy, and there are few.
type unstored struct {
	since uint64 // tick of the commit; 0 if it was written before that was kept
	void  bool
}

// unstoredVersion is the version of its value. Version 1 had nothing in it.
const unstoredVersion = 2

func (u unstored) encode() []byte {
	b := binary.AppendUvarint([]byte{unstoredVersion}, u.since)
	return binary.AppendUvarint(b, flag(u.void))
}

func decodeUnstored(raw []byte) (unstored, error) {
	if len(raw) == 1 && raw[0] == valueVersion {
		return unstored{}, nil
	}
	v := value{ok: len(raw) > 0 && raw[0] == unstoredVersion}
	if v.ok {
		v.b = raw[1:]
	}
	u := unstored{since: v.number(), void: v.flag()}
	return u, v.end("unconfirmed record")
}

// unstoredAt is a key of that index with its value.
type unstoredAt struct {
	unstored
	key   []byte
	place api.PendingPlace
}

func readUnstored(p kv.Pair) (unstoredAt, error) {
	k, err := parseKey(p.Key)
	if err != nil {
		return unstoredAt{}, err
	}
	u, err := decodeUnstored(p.Value)
	return unstoredAt{unstored: u, key: p.Key, place: api.PendingPlace{
		Segment: api.SegmentID{Node: k.name, Epoch: k.numbers[0], Sequence: k.numbers[1]},
		Shard:   int(k.numbers[2]), Index: k.numbers[3],
	}}, err
}

// getRecord reads a commit record.
func getRecord(r kv.Reader, shard int, index uint64) (api.LogRecord, error) {
	raw, err := r.Get(appendLogKey(nil, shard, index))
	if err != nil {
		return api.LogRecord{}, err
	}
	return api.ParseLogRecord(index, raw)
}

// RecordState reads how a commit record stands now.
func RecordState(r kv.Reader, shard int, index uint64) (api.RecordState, error) {
	record, err := getRecord(r, shard, index)
	return record.State, err
}

// What one transaction confirms at most.
const (
	confirmRecordsMax = 500
	confirmBytesMax   = 256 << 10
)

// Confirmation is what Confirm has done: the answer, and for each shard the lowest index of a record that changed.
type Confirmation struct {
	api.ConfirmAnswer
	Shards  []int
	Indexes []uint64
}

// Confirm enters the fact that a segment is in the object store: its pending records become confirmed, as many as fit.
// It asks for no epoch. A void record stays void. Refused: Invalid.
func (c Core) Confirm(t kv.Txn, q api.ConfirmRequest) (done Confirmation, err error) {
	if err := api.CheckNode(q.Segment.Node); err != nil {
		return done, invalid("%v", err)
	}
	prefix := appendSegmentKey(nil, q.Segment.Node, q.Segment.Epoch, q.Segment.Sequence)
	begin, end, size := prefix, successor(prefix), 0
	for !done.More {
		pairs, err := t.Range(begin, end, confirmRecordsMax, false)
		if err != nil {
			return done, err
		}
		for _, p := range pairs {
			if done.Confirmed == confirmRecordsMax || size > confirmBytesMax {
				done.More = true
				break
			}
			n, err := done.confirm(t, p)
			if err != nil {
				return done, err
			}
			size += n
		}
		if len(pairs) < confirmRecordsMax {
			break
		}
		begin = append(bytes.Clone(pairs[len(pairs)-1].Key), 0)
	}
	return done, nil
}

// confirm changes one record, and returns how many bytes that wrote.
func (d *Confirmation) confirm(t kv.Txn, p kv.Pair) (size int, err error) {
	u, err := readUnstored(p)
	if err != nil || u.void {
		return 0, err
	}
	size, err = setState(t, u.place, api.Confirmed)
	if err != nil {
		return 0, err
	}
	t.Clear(u.key)
	d.Confirmed++
	if n := len(d.Shards); n == 0 || d.Shards[n-1] != u.place.Shard { // keys are sorted by shard, then index
		d.Shards, d.Indexes = append(d.Shards, u.place.Shard), append(d.Indexes, u.place.Index)
	}
	return size, nil
}

// setState takes a pending record out of that state. Confirmed and void exclude each other: whichever transaction comes
// second finds the record in no state to change.
func setState(t kv.Txn, at api.PendingPlace, s api.RecordState) (size int, err error) {
	r, err := getRecord(t, at.Shard, at.Index)
	if err != nil {
		return 0, err
	}
	if r.State != api.Pending || r.Segment != at.Segment {
		return 0, fmt.Errorf("log record %d of shard %d, segment %s, is %s, and listed as pending of segment %s",
			at.Index, at.Shard, r.Segment, r.State, at.Segment)
	}
	r.State = s
	raw := api.AppendLogRecord(make([]byte, 0, 256), &r)
	t.Set(appendLogKey(nil, at.Shard, at.Index), raw)
	return len(raw) + 64, nil
}

// Void gives up a pending record of a fenced epoch. Its TxIDs stay used, and no node applies it. Refused: Invalid;
// NotFound if there is no such record; Conflict if it is confirmed, or its epoch lives, whose primary may still confirm it.
func (c Core) Void(t kv.Txn, q api.VoidRequest) (api.VoidAnswer, error) {
	if err := api.CheckTable(q.Table); err != nil {
		return api.VoidAnswer{}, invalid("%v", err)
	}
	shard := api.Shard(q.Table, c.Shards)
	raw, err := t.Get(appendLogKey(nil, shard, q.Index))
	if err != nil {
		return api.VoidAnswer{}, err
	}
	missing := api.Errorf(api.NotFound, "table %s: log record %d does not have TxID %d", q.Table, q.Index, q.TxID)
	if raw == nil {
		return api.VoidAnswer{}, missing
	}
	r, err := api.ParseLogRecord(q.Index, raw)
	if err != nil {
		return api.VoidAnswer{}, err
	}
	if r.Table != q.Table || q.TxID < r.First || q.TxID > r.Last() {
		return api.VoidAnswer{}, missing
	}
	answer := api.VoidAnswer{First: r.First, Last: r.Last(), Rows: r.Rows}
	if r.State == api.Void {
		return answer, nil
	}
	return answer, voidRecord(t, shard, &r)
}

func voidRecord(t kv.Txn, shard int, r *api.LogRecord) error {
	if r.State != api.Pending {
		return api.Errorf(api.Conflict, "table %s: the record of TxIDs %d to %d is %s: nothing of it is lost",
			r.Table, r.First, r.Last(), r.State)
	}
	n, err := getNode(t, r.Segment.Node)
	if err != nil {
		return err
	}
	if fencedError(n, r.Segment.Node, r.Segment.Epoch) == nil {
		return api.Errorf(api.Conflict, "table %s: epoch %d of node %s, which committed TxIDs %d to %d, is not fenced: "+
			"the node may still bring its segment into the object store", r.Table, r.Segment.Epoch, r.Segment.Node,
			r.First, r.Last())
	}
	place := api.PendingPlace{Segment: r.Segment, Shard: shard, Index: r.Index}
	key := appendUnstoredKey(nil, r.Segment.Node, r.Segment.Epoch, r.Segment.Sequence, shard, r.Index)
	raw, err := t.Get(key)
	if err != nil {
		return err
	}
	u, err := decodeUnstored(raw)
	if err != nil {
		return err
	}
	if _, err := setState(t, place, api.Void); err != nil {
		return err
	}
	u.void = true
	t.Set(key, u.encode())
	return nil
}

// SegmentState tells what decides whether a copy of a segment may go: whether its epoch is fenced, and which of its
// records are not confirmed. All of it is read from one state of the store.
func SegmentState(r kv.Reader, id api.SegmentID) (api.SegmentStateAnswer, error) {
	if err := api.CheckNode(id.Node); err != nil {
		return api.SegmentStateAnswer{}, invalid("%v", err)
	}
	n, err := getNode(r, id.Node)
	if err != nil {
		return api.SegmentStateAnswer{}, err
	}
	prefix := appendSegmentKey(nil, id.Node, id.Epoch, id.Sequence)
	pairs, err := r.Range(prefix, successor(prefix), 0, false)
	if err != nil {
		return api.SegmentStateAnswer{}, err
	}
	answer := api.SegmentStateAnswer{Fenced: fencedError(n, id.Node, id.Epoch) != nil}
	for _, p := range pairs {
		u, err := readUnstored(p)
		if err != nil {
			return api.SegmentStateAnswer{}, err
		}
		at := uint64(u.place.Shard)<<48 | u.place.Index
		if u.void {
			answer.Voided = append(answer.Voided, at)
		} else {
			answer.Unconfirmed = append(answer.Unconfirmed, at)
		}
	}
	return answer, nil
}

// Bounds of a page of pending records.
const (
	pendingMax     = 1000
	pendingDefault = 100
)

// Pending lists pending records, by segment, shard and place in the log.
func Pending(r kv.Reader, q api.PendingRequest) (api.PendingAnswer, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = pendingDefault
	}
	limit = min(limit, pendingMax)
	begin, end, err := pendingRange(q)
	if err != nil {
		return api.PendingAnswer{}, err
	}
	answer := api.PendingAnswer{Records: []api.PendingRecord{}}
	if answer.Tick, err = Ticks(r); err != nil {
		return answer, err
	}
	pairs, err := r.Range(begin, end, limit, false)
	if err != nil {
		return answer, err
	}
	fenced := make(map[api.SegmentID]bool) // by segment without its sequence
	for _, p := range pairs {
		u, err := readUnstored(p)
		if err != nil {
			return answer, err
		}
		if len(pairs) == limit {
			answer.Next = &u.place
		}
		if u.void {
			continue
		}
		over, err := epochOver(r, u.place.Segment, fenced)
		if err != nil {
			return answer, err
		}
		if q.Fenced && !over {
			continue
		}
		record, err := pendingRecord(r, &u)
		if err != nil {
			return answer, err
		}
		record.Fenced = over
		answer.Records = append(answer.Records, record)
	}
	return answer, nil
}

func pendingRange(q api.PendingRequest) (begin, end []byte, err error) {
	begin, end = []byte{byte(kindUnstored)}, []byte{byte(kindUnstored) + 1}
	if q.Node != "" {
		if err := api.CheckNode(q.Node); err != nil {
			return nil, nil, invalid("%v", err)
		}
		begin = append(append(begin, q.Node...), 0)
		end = successor(begin)
	}
	if a := q.After; a != nil {
		if err := api.CheckNode(a.Segment.Node); err != nil || a.Shard < 0 {
			return nil, nil, invalid("after: no place in the list of pending records")
		}
		begin = append(appendUnstoredKey(nil, a.Segment.Node, a.Segment.Epoch, a.Segment.Sequence, a.Shard, a.Index), 0)
	}
	return begin, end, nil
}

// epochOver says whether a segment's epoch is fenced; known keeps what was read before.
func epochOver(r kv.Reader, id api.SegmentID, known map[api.SegmentID]bool) (bool, error) {
	id.Sequence = 0
	if over, seen := known[id]; seen {
		return over, nil
	}
	n, err := getNode(r, id.Node)
	if err != nil {
		return false, err
	}
	known[id] = fencedError(n, id.Node, id.Epoch) != nil
	return known[id], nil
}

func pendingRecord(r kv.Reader, u *unstoredAt) (api.PendingRecord, error) {
	record, err := getRecord(r, u.place.Shard, u.place.Index)
	return api.PendingRecord{
		PendingPlace: u.place, Table: record.Table, First: record.First, Last: record.Last(), Rows: record.Rows,
		Since: u.since, Holders: record.Holders,
	}, err
}

// PendingCount counts the records that are pending, up to max, and tells the tick of the oldest of those.
func PendingCount(r kv.Reader, max int) (count int, oldest uint64, err error) {
	pairs, err := r.Range([]byte{byte(kindUnstored)}, []byte{byte(kindUnstored) + 1}, max, false)
	if err != nil {
		return 0, 0, err
	}
	for _, p := range pairs {
		u, err := decodeUnstored(p.Value)
		if err != nil {
			return 0, 0, err
		}
		if u.void {
			continue
		}
		if count++; count == 1 || u.since < oldest {
			oldest = u.since
		}
	}
	return count, oldest, nil
}
