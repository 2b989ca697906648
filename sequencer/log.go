package sequencer

import (
	"fmt"
	"slices"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// Bounds of an answer. Tables are read in pieces, since those without a transaction are left out.
const (
	logRecordsMax = 8192
	logPiece      = 512
	tablesMax     = 10_000
	tablesDefault = 1000
)

// Heads reads how far each shard's log goes, all in one reading: nodes ask for it often.
func (c Core) Heads(r kv.Reader) (api.HeadsAnswer, error) {
	a := api.HeadsAnswer{Heads: make([]uint64, c.Shards)}
	pairs, err := r.Range([]byte{byte(kindLogHead)}, []byte{byte(kindLogHead) + 1}, 0, false)
	if err != nil {
		return a, err
	}
	for _, p := range pairs {
		k, err := parseKey(p.Key)
		if err != nil {
			return a, err
		}
		shard := k.numbers[0]
		if shard >= uint64(c.Shards) {
			return a, fmt.Errorf("the head of log %d is stored, but shards are 0 to %d", shard, c.Shards-1)
		}
		v := openValue(p.Value)
		a.Heads[shard] = v.number()
		if err := v.end(fmt.Sprintf("head of log %d", shard)); err != nil {
			return a, err
		}
	}
	return a, nil
}

// ReadLog appends an encoded api.LogAnswer to b: the records of a shard's log from an index on.
func (c Core) ReadLog(r kv.Reader, b []byte, shard int, q api.LogRequest) ([]byte, error) {
	if q.From == 0 || shard < 0 || shard >= c.Shards {
		return nil, invalid("a log is read from index 1 on, of shards 0 to %d; not from %d of %d",
			c.Shards-1, q.From, shard)
	}
	head, err := getNumber(r, appendNumbers(nil, kindLogHead, uint64(shard)))
	if err != nil {
		return nil, err
	}
	limit := q.Limit
	if limit <= 0 || limit > logRecordsMax {
		limit = logRecordsMax
	}
	var raw [][]byte
	for from, size := q.From, 0; from <= head && len(raw) < limit && size < api.LogAnswerBytes; {
		begin, end := appendLogKey(nil, shard, from), appendLogKey(nil, shard, head+1)
		pairs, err := r.Range(begin, end, min(logPiece, limit-len(raw)), false)
		if err != nil {
			return nil, err
		}
		if len(pairs) == 0 {
			break
		}
		for _, p := range pairs {
			if size += len(p.Value) + 3; size > api.LogAnswerBytes && len(raw) > 0 {
				break
			}
			raw = append(raw, p.Value)
		}
		from += uint64(len(pairs))
	}
	return api.AppendLogAnswer(b, head, q.From, raw), nil
}

// Tables lists tables that have a transaction, in the order of their names; at most one if only one is asked for.
func Tables(r kv.Reader, q api.TablesRequest) (api.TablesAnswer, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = tablesDefault
	}
	limit = min(limit, tablesMax)
	begin, end := append(appendName(nil, kindTable, q.After), 0), []byte{byte(kindTable) + 1}
	if q.Only != "" {
		begin = appendName(nil, kindTable, q.Only)
		end = append(slices.Clone(begin), 0)
	}
	answer := api.TablesAnswer{Tables: []api.TableHead{}}
	for {
		pairs, err := r.Range(begin, end, tablesDefault, false)
		if err != nil {
			return api.TablesAnswer{}, err
		}
		for _, p := range pairs {
			name := string(p.Key[1:])
			t, err := decodeTable(name, p.Value)
			if err != nil {
				return api.TablesAnswer{}, err
			}
			if t.head == 0 {
				continue
			}
			answer.Tables = append(answer.Tables, api.TableHead{Name: name, Head: t.head, Columns: int(t.columns)})
			if len(answer.Tables) == limit {
				return answer, nil
			}
		}
		if len(pairs) < tablesDefault {
			return answer, nil
		}
		begin = append(appendName(nil, kindTable, pairs[len(pairs)-1].Key[1:]), 0)
	}
}
