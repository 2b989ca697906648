package columnar

import "github.com/seed-551dd829/braid/internal/api"

// The functions here return the memory of one column over all batches of an encoder: that of the
// batch itself if there is only one, else a copy in the encoder's scratch memory, valid until the
// next column.

// single returns the column if there is one batch and it has the column.
func (e *encoder) single(i int) *Column {
	if len(e.batches) == 1 {
		return e.columns[i]
	}
	return nil
}

// validity returns the bitmap of the rows that have a value, nil if all have, and the number of
// nulls.
func (e *encoder) validity(i int, t api.ColumnType) (bitmap []byte, nulls int) {
	if t == api.Timestamp {
		return nil, 0
	}
	if c := e.single(i); c != nil {
		if c.valid == nil {
			return nil, 0
		}
		return c.valid, e.rows - onesIn(c.valid, e.rows)
	}
	full := true
	for k := range e.batches {
		c := e.columns[k*e.width+i]
		full = full && c != nil && c.valid == nil
	}
	if full {
		return nil, 0
	}
	e.valid = e.valid[:0]
	n := 0
	for k, b := range e.batches {
		switch c := e.columns[k*e.width+i]; {
		case c == nil:
			e.valid = appendRun(e.valid, n, b.rows, false)
		case c.valid == nil:
			e.valid = appendRun(e.valid, n, b.rows, true)
		default:
			e.valid = appendBits(e.valid, n, c.valid, b.rows)
		}
		n += b.rows
	}
	return e.valid, e.rows - onesIn(e.valid, e.rows)
}

func (e *encoder) timestamps() []byte {
	if len(e.batches) == 1 {
		return wordBytes(e.batches[0].times)
	}
	e.words = e.words[:0]
	for _, b := range e.batches {
		for _, t := range b.times {
			e.words = append(e.words, uint64(t))
		}
	}
	return wordBytes(e.words)
}

func (e *encoder) numbers(i int) []uint64 {
	if c := e.single(i); c != nil {
		return c.words
	}
	e.words = e.words[:0]
	for k, b := range e.batches {
		if c := e.columns[k*e.width+i]; c != nil {
			e.words = append(e.words, c.words...)
		} else {
			e.words = appendZeros(e.words, b.rows)
		}
	}
	return e.words
}

func (e *encoder) booleans(i int) []byte {
	if c := e.single(i); c != nil {
		return c.bits
	}
	e.bits = e.bits[:0]
	n := 0
	for k, b := range e.batches {
		if c := e.columns[k*e.width+i]; c != nil {
			e.bits = appendBits(e.bits, n, c.bits, b.rows)
		} else {
			e.bits = appendRun(e.bits, n, b.rows, false)
		}
		n += b.rows
	}
	return e.bits
}

func (e *encoder) strings(i int) (offs []uint32, data []byte) {
	if c := e.single(i); c != nil && c.n > 0 {
		return c.offs, c.data
	}
	e.offs, e.data = append(e.offs[:0], 0), e.data[:0]
	for k, b := range e.batches {
		base := uint32(len(e.data))
		if c := e.columns[k*e.width+i]; c != nil && c.n > 0 {
			for _, end := range c.offs[1:] {
				e.offs = append(e.offs, base+end)
			}
			e.data = append(e.data, c.data...)
			continue
		}
		for range b.rows {
			e.offs = append(e.offs, base)
		}
	}
	return e.offs, e.data
}
