package columnar

import "github.com/seed-551dd829/braid/internal/api"

// appendAll appends the values and nulls of a column of the same type. recode is scratch memory,
// which it returns.
func (c *Column) appendAll(from *Column, recode []uint32) []uint32 {
	if from.valid != nil {
		c.knowNulls(from.n)
	}
	switch {
	case from.valid != nil:
		c.valid = appendBits(c.valid, c.n, from.valid, from.n)
	case c.valid != nil:
		c.valid = appendRun(c.valid, c.n, from.n, true)
	}
	switch c.Type {
	case api.Tag:
		for code := range uint32(from.dict.len()) {
			recode = append(recode, c.dict.code(from.dict.value(code)))
		}
		if len(recode) == 0 {
			recode = append(recode, 0) // of nulls
		}
		for _, code := range from.codes {
			c.codes = append(c.codes, recode[code])
		}
	case api.Boolean:
		c.bits = appendBits(c.bits, c.n, from.bits, from.n)
	case api.String:
		if c.n == 0 {
			c.offs = append(c.offs[:0], 0)
		}
		base := uint32(len(c.data))
		for _, end := range from.offs[1:] {
			c.offs = append(c.offs, base+end)
		}
		c.data = append(c.data, from.data...)
	default:
		c.words = append(c.words, from.words...)
	}
	c.n += from.n
	return recode
}

// nulls appends count nulls.
func (c *Column) nulls(count int) {
	c.knowNulls(count)
	c.valid = appendRun(c.valid, c.n, count, false)
	c.padValues(count)
	c.n += count
}

// knowNulls makes sure that there is a bitmap, with room for count rows more.
func (c *Column) knowNulls(count int) {
	if c.valid == nil {
		c.valid = appendRun(make([]byte, 0, bitmapLen(c.n+count+64)), 0, c.n, true)
	}
}
