package sequencer

import (
	"encoding/binary"
	"fmt"

	"github.com/seed-551dd829/braid/internal/api"
)

// decided is the answer to one write as it is kept. record is the index of the write's commit record if that was
// pending when it was written, else 0: a confirmed record stays confirmed, so nobody need look at it again.
type decided struct {
	api.Outcome
	record uint64
}

// encodeAnswer encodes the answers of a group, or of one write. Neighbours that were accepted one after the other take
// one entry, so that the answer of a group that met no refusal takes a few bytes:
//
//	accepted   01, first TxID, how many, record
//	conflict   02, expected, current
//	others     verdict, how many
func encodeAnswer(ds []decided) []byte {
	b := make([]byte, 1, 16)
	b[0] = valueVersion
	for i := 0; i < len(ds); {
		n := run(ds[i:])
		d := &ds[i]
		b = append(b, byte(d.Verdict))
		switch d.Verdict {
		case api.Accepted:
			b = binary.AppendUvarint(b, d.TxID)
			b = binary.AppendUvarint(b, uint64(n))
			b = binary.AppendUvarint(b, d.record)
		case api.RefusedConflict:
			b = binary.AppendUvarint(b, d.Expected)
			b = binary.AppendUvarint(b, d.Current)
		default:
			b = binary.AppendUvarint(b, uint64(n))
		}
		i += n
	}
	return b
}

// run is how many answers at the beginning of ds take one entry.
func run(ds []decided) int {
	first := ds[0]
	if first.Verdict == api.RefusedConflict {
		return 1
	}
	for i, d := range ds[1:] {
		want := first
		if first.Verdict == api.Accepted {
			want.TxID += uint64(i) + 1
		}
		if d != want {
			return i + 1
		}
	}
	return len(ds)
}

// decodeAnswer decodes what encodeAnswer made, appending to ds.
func decodeAnswer(ds []decided, raw []byte) ([]decided, error) {
	v := openValue(raw)
	start := len(ds)
	for v.ok && len(v.b) > 0 {
		d := decided{Outcome: api.Outcome{Verdict: api.Verdict(v.take(1)[0])}}
		n := uint64(1)
		switch d.Verdict {
		case api.Accepted:
			d.TxID, n, d.record = v.number(), v.number(), v.number()
		case api.RefusedConflict:
			d.Expected, d.Current = v.number(), v.number()
		case api.RefusedFenced, api.RefusedExpired, api.RefusedSettled, api.RefusedVoided:
			n = v.number()
		default:
			v.ok = false
		}
		if n > uint64(api.GroupWritesMax+start-len(ds)) {
			return nil, fmt.Errorf("answer: %w", errValue)
		}
		for range n {
			ds = append(ds, d)
			if d.Verdict == api.Accepted {
				d.TxID++
			}
		}
	}
	return ds, v.end("answer")
}
