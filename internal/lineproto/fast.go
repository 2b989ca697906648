package lineproto

import "github.com/seed-551dd829/braid/internal/api"

// Most rows of a payload have the columns of the row before, spelt the same and in the same order,
// and most values are plain. The functions here read such tags and integers and nothing else: they
// return false without having done anything when something is unusual, an error included, and the
// general code looks again.

// key checks that the payload has at pos the key that is expected, and returns where its value
// begins.
func (s *slot) key(data []byte, pos int) (int, bool) {
	end := pos + len(s.raw)
	return end, end < len(data) && string(data[pos:end]) == string(s.raw)
}

// plainTag reads a tag without escapes, up to the comma or space behind it.
func (p *parser) plainTag(s *slot, row int) bool {
	data := p.data
	start, ok := s.key(data, p.pos)
	if !ok || s.column.Type != api.Tag {
		return false
	}
	if end := start + len(s.value); start < end && end < len(data) && data[start] == s.value[0] &&
		(data[end] == ',' || data[end] == ' ') && string(data[start:end]) == string(s.value) {
		if !s.column.PutCode(row, s.code) {
			return false
		}
		p.pos = end
		return true
	}
	end := start
	for end < len(data) && classes[data[end]]&(endsKey|special) == 0 {
		end++
	}
	if end == start || end == len(data) || data[end] != ',' && data[end] != ' ' {
		return false
	}
	value := data[start:end]
	if !s.column.PutTag(row, value) {
		return false
	}
	s.value, s.code, p.pos = value, s.column.LastCode(), end
	return true
}

// plainInt reads an int64 of up to 18 digits, up to the comma or white space behind it.
func (p *parser) plainInt(s *slot, row int) bool {
	data := p.data
	i, ok := s.key(data, p.pos)
	if !ok || s.column.Type != api.Int64 {
		return false
	}
	negative := data[i] == '-'
	if negative {
		i++
	}
	first := i
	var v uint64
	for i < len(data) && data[i]-'0' <= 9 {
		v = v*10 + uint64(data[i]-'0')
		i++
	}
	if i == first || i > first+18 || i+1 >= len(data) || data[i] != 'i' || classes[data[i+1]]&endsValue == 0 {
		return false
	}
	if negative {
		v = -v
	}
	if !s.column.PutWord(row, v) {
		return false
	}
	p.pos = i + 1
	return true
}
