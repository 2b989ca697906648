package faulty

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// Rates say how often what happens, as probabilities of a call, from 0 to 1. Their sum is at most
// 1.
type Rates struct {
	Before, After, Late, Short, Hang float64

	Slow     float64       // probability of a delay, beside the fault
	DelayMax time.Duration // of a slow call; evenly distributed below
	// AttemptsMax is the attempt of an operation on a key from which nothing goes wrong any more;
	// 0: never. It lets a caller that tries again come to an end.
	AttemptsMax int
}

// Seeded decides by hash(seed, operation, key, attempt): the same seed gives the same faults, in
// whatever order the calls come.
func Seeded(seed uint64, rates Rates) func(Call) Fault {
	return func(c Call) Fault {
		if rates.AttemptsMax > 0 && c.Attempt >= rates.AttemptsMax {
			return Fault{}
		}
		random := rand.New(rand.NewPCG(seed, hash(c)))
		f := Fault{Kind: rates.kind(random.Float64()), Bytes: random.Int64N(1 << random.IntN(20))}
		if random.Float64() < rates.Slow && rates.DelayMax > 0 {
			f.Delay = time.Duration(random.Int64N(int64(rates.DelayMax)))
		}
		return f
	}
}

func (r Rates) kind(x float64) Kind {
	for _, k := range []struct {
		kind Kind
		rate float64
	}{{Before, r.Before}, {After, r.After}, {Late, r.Late}, {Short, r.Short}, {Hang, r.Hang}} {
		if x < k.rate {
			return k.kind
		}
		x -= k.rate
	}
	return None
}

func hash(c Call) uint64 {
	h := fnv.New64a()
	h.Write([]byte(c.Op))
	h.Write([]byte{0})
	h.Write([]byte(c.Key))
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(c.Attempt)))
	return h.Sum64()
}
