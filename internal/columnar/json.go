package columnar

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"

	"github.com/seed-551dd829/braid/internal/api"
)

// jsonScanner reads the flat JSON objects of NDJSON (RFC 8259, but no nesting), one line at a time.
type jsonScanner struct {
	b       []byte
	pos     int
	memory  []byte // of an unescaped string
	keyText []byte // of an unescaped key
}

// jsonKind is what a value begins as.
type jsonKind byte

const (
	jsonNull jsonKind = iota
	jsonTrue
	jsonFalse
	jsonNumber
	jsonString
)

func (s *jsonScanner) space() {
	for s.pos < len(s.b) && (s.b[s.pos] == ' ' || s.b[s.pos] == '\t' || s.b[s.pos] == '\r') {
		s.pos++
	}
}

// take takes c with the white space in front of it.
func (s *jsonScanner) take(c byte) bool {
	s.space()
	if s.pos < len(s.b) && s.b[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// unexpected says what stands here instead of what was expected.
func (s *jsonScanner) unexpected(expected string) error {
	s.space()
	if s.pos >= len(s.b) {
		return fmt.Errorf("%s was expected, but the line ends", expected)
	}
	r, _ := utf8.DecodeRune(s.b[s.pos:])
	return fmt.Errorf("%s was expected, not %q", expected, r)
}

// value takes a value: its kind, and the text of a number or an unescaped string. It aliases the
// line or the scanner's memory.
func (s *jsonScanner) value() (kind jsonKind, text []byte, err error) {
	s.space()
	if s.pos >= len(s.b) {
		return 0, nil, s.unexpected("a value")
	}
	switch c := s.b[s.pos]; {
	case c == '"':
		s.pos++
		text, err = s.str(&s.memory)
		return jsonString, text, err
	case c == '-', '0' <= c && c <= '9':
		text, err = s.number()
		return jsonNumber, text, err
	case c == '{', c == '[':
		return 0, nil, errors.New("nested values are not allowed")
	}
	for kind, word := range [...]string{"null", "true", "false"} {
		if bytes.HasPrefix(s.b[s.pos:], []byte(word)) {
			s.pos += len(word)
			return jsonKind(kind), nil, nil
		}
	}
	return 0, nil, s.unexpected("a value")
}

// number takes what JSON's grammar calls a number.
func (s *jsonScanner) number() ([]byte, error) {
	start := s.pos
	if s.b[s.pos] == '-' {
		s.pos++
	}
	leadingZero := s.pos < len(s.b) && s.b[s.pos] == '0'
	n := s.digits()
	ok := n > 0 && (!leadingZero || n == 1)
	if s.pos < len(s.b) && s.b[s.pos] == '.' {
		s.pos++
		ok = s.digits() > 0 && ok
	}
	if s.pos < len(s.b) && s.b[s.pos]|0x20 == 'e' {
		s.pos++
		if s.pos < len(s.b) && (s.b[s.pos] == '+' || s.b[s.pos] == '-') {
			s.pos++
		}
		ok = s.digits() > 0 && ok
	}
	if !ok {
		return nil, fmt.Errorf("%s is not a JSON number", api.Quote(s.b[start:s.pos]))
	}
	return s.b[start:s.pos], nil
}

func (s *jsonScanner) digits() int {
	start := s.pos
	for s.pos < len(s.b) && s.b[s.pos]-'0' <= 9 {
		s.pos++
	}
	return s.pos - start
}

// str takes the rest of a string, whose opening quote is taken, and unescapes it.
func (s *jsonScanner) str(memory *[]byte) ([]byte, error) {
	start := s.pos
	for s.pos < len(s.b) {
		switch c := s.b[s.pos]; {
		case c == '"':
			text := s.b[start:s.pos]
			s.pos++
			return text, checkUTF8(text)
		case c == '\\':
			return s.escapedStr(memory, start)
		case c < ' ':
			return nil, fmt.Errorf("the control character %q in a string must be escaped", c)
		}
		s.pos++
	}
	return nil, errors.New("a string has no closing quote")
}

func (s *jsonScanner) escapedStr(memory *[]byte, start int) ([]byte, error) {
	out := append((*memory)[:0], s.b[start:s.pos]...)
	for s.pos < len(s.b) {
		c := s.b[s.pos]
		s.pos++
		switch {
		case c == '"':
			*memory = out
			return out, checkUTF8(out)
		case c < ' ':
			return nil, fmt.Errorf("the control character %q in a string must be escaped", c)
		case c != '\\':
			out = append(out, c)
			continue
		}
		var err error
		if out, err = s.escape(out); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("a string has no closing quote")
}

// escape takes what is behind a backslash.
func (s *jsonScanner) escape(out []byte) ([]byte, error) {
	if s.pos >= len(s.b) {
		return nil, errors.New("a string has no closing quote")
	}
	c := s.b[s.pos]
	s.pos++
	switch c {
	case '"', '\\', '/':
		return append(out, c), nil
	case 'b':
		return append(out, '\b'), nil
	case 'f':
		return append(out, '\f'), nil
	case 'n':
		return append(out, '\n'), nil
	case 'r':
		return append(out, '\r'), nil
	case 't':
		return append(out, '\t'), nil
	case 'u':
		r := s.hex4()
		if utf16.IsSurrogate(r) && bytes.HasPrefix(s.b[s.pos:], []byte(`\u`)) {
			s.pos += 2
			r = utf16.DecodeRune(r, s.hex4())
			if r == utf8.RuneError {
				r = -1
			}
		}
		if r < 0 || utf16.IsSurrogate(r) {
			return nil, errors.New(`a string has a malformed \u escape`)
		}
		return utf8.AppendRune(out, r), nil
	}
	return nil, fmt.Errorf("a string has the unknown escape %q", `\`+string(rune(c)))
}

// hex4 takes four hexadecimal digits; -1 if they are not there.
func (s *jsonScanner) hex4() rune {
	if s.pos+4 > len(s.b) {
		return -1
	}
	text := s.b[s.pos : s.pos+4]
	for _, c := range text {
		if !('0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f') {
			return -1
		}
	}
	v, _ := strconv.ParseUint(unsafe.String(&text[0], 4), 16, 32) // cannot fail: the digits are checked
	s.pos += 4
	return rune(v)
}

func checkUTF8(text []byte) error {
	if !utf8.Valid(text) {
		return fmt.Errorf("the string %s is not UTF-8", api.Quote(text))
	}
	return nil
}
