package lineproto

import (
	"bytes"
	"unicode/utf8"
)

// Classes of bytes, as bits.
const (
	endsMeasurement = 1 << iota // comma, space, control characters
	endsKey                     // the same and "="; of tag values too
	endsValue                   // of a field that is not a string: comma, space, CR, LF
	special                     // a backslash, or part of a character beyond ASCII
	escapedInMeasurement
	escapedInKey
)

var classes = func() (c [256]uint8) {
	for i := range 256 {
		if i < ' ' || i == 0x7f {
			c[i] |= endsMeasurement | endsKey
		}
		if i >= utf8.RuneSelf {
			c[i] |= special
		}
	}
	c[' '] = endsMeasurement | endsKey | endsValue | escapedInMeasurement | escapedInKey
	c[','] = endsMeasurement | endsKey | endsValue | escapedInMeasurement | escapedInKey
	c['='] = endsKey | escapedInKey
	c['\r'] |= endsValue
	c['\n'] |= endsValue
	c['\\'] = special
	return c
}()

// token takes the bytes up to one of the class ends, and unescapes them. The result aliases the
// payload, or memory if something was escaped; ok is false if it is not UTF-8.
func (p *parser) token(memory *[]byte, ends, escaped uint8) (token []byte, ok bool) {
	data := p.data
	for i := p.pos; i < len(data); i++ {
		if c := classes[data[i]] & (ends | special); c != 0 {
			if c == special {
				return p.specialToken(memory, ends, escaped)
			}
			token = data[p.pos:i]
			p.pos = i
			return token, true
		}
	}
	token = data[p.pos:]
	p.pos = len(data)
	return token, true
}

// specialToken is token with backslashes or characters beyond ASCII. A backslash before a character
// that needs none stands for itself.
func (p *parser) specialToken(memory *[]byte, ends, escaped uint8) ([]byte, bool) {
	out := (*memory)[:0]
	data := p.data
	i := p.pos
	for ; i < len(data) && classes[data[i]]&ends == 0; i++ {
		if data[i] == '\\' && i+1 < len(data) && classes[data[i+1]]&escaped != 0 {
			i++
		}
		out = append(out, data[i])
	}
	p.pos, *memory = i, out
	return out, utf8.Valid(out)
}

// quoted takes the rest of a string, whose opening quote is taken, and unescapes it. closed is
// false if it never ends; then nothing is taken.
func (p *parser) quoted() (text []byte, closed bool) {
	rest := p.data[p.pos:]
	end := bytes.IndexByte(rest, '"')
	if end < 0 {
		return nil, false
	}
	if text = rest[:end]; bytes.IndexByte(text, '\\') < 0 {
		p.pos += end + 1
		p.line += bytes.Count(text, lineFeed)
		return text, true
	}
	return p.quotedEscaped()
}

var lineFeed = []byte{'\n'}

func (p *parser) quotedEscaped() ([]byte, bool) {
	out := p.value[:0]
	lines := 0
	for i := p.pos; i < len(p.data); i++ {
		switch c := p.data[i]; {
		case c == '"':
			p.pos, p.line, p.value = i+1, p.line+lines, out
			return out, true
		case c == '\\' && i+1 < len(p.data) && unquote(p.data[i+1]) != 0:
			i++
			out = append(out, unquote(p.data[i]))
		default:
			if c == '\n' {
				lines++
			}
			out = append(out, c)
		}
	}
	return nil, false
}

// unquote is what a backslash and c stand for in a string, 0 if for themselves.
func unquote(c byte) byte {
	switch c {
	case '"', '\\':
		return c
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return 0
}
