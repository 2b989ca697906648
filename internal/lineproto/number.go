package lineproto

import (
	"errors"
	"math"
	"strconv"
	"unsafe"

	"github.com/seed-551dd829/braid/internal/api"
)

// number reads a float64, an int64 (behind it an i) or a uint64 (a u).
func (p *parser) number() (fieldValue, *api.Error) {
	data := p.data
	i := p.pos
	negative := data[i] == '-'
	if negative {
		i++
	}
	// Up to 18 digits cannot overflow, and are nearly all there is.
	var v uint64
	first := i
	for ; i < len(data) && data[i]-'0' <= 9; i++ {
		v = v*10 + uint64(data[i]-'0')
	}
	if digits := i - first; digits > 0 && digits <= 18 && i < len(data) && data[i] == 'i' &&
		(i+1 == len(data) || classes[data[i+1]]&endsValue != 0) {
		p.pos = i + 1
		if negative {
			v = -v
		}
		return fieldValue{kind: api.Int64, word: v}, nil
	}
	return parseNumber(p.word())
}

func parseNumber(w []byte) (fieldValue, *api.Error) {
	text := unsafe.String(unsafe.SliceData(w), len(w)-1)
	switch w[len(w)-1] {
	case 'i':
		v, err := strconv.ParseInt(text, 10, 64)
		return fieldValue{kind: api.Int64, word: uint64(v)}, numberError(w, "int64", err)
	case 'u':
		v, err := strconv.ParseUint(text, 10, 64)
		return fieldValue{kind: api.Uint64, word: v}, numberError(w, "uint64", err)
	}
	if v, ok := simpleFloat(w); ok {
		return fieldValue{kind: api.Float64, word: math.Float64bits(v)}, nil
	}
	v, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(w), len(w)), 64)
	if err == nil && (math.IsInf(v, 0) || math.IsNaN(v)) {
		return fieldValue{}, api.Errorf(api.Invalid, "%q is not a finite number", w)
	}
	return fieldValue{kind: api.Float64, word: math.Float64bits(v)}, numberError(w, "float64", err)
}

func numberError(w []byte, kind string, err error) *api.Error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, strconv.ErrRange):
		return api.Errorf(api.Invalid, "%q is out of the range of %s", w, kind)
	}
	return api.Errorf(api.Invalid, "%q is not a number of type %s", w, kind)
}

var tens = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// simpleFloat reads digits with at most one dot, 15 of them at most: both the digits and the power of ten are exact
// float64s then, and so is their quotient correctly rounded (Clinger 1990).
func simpleFloat(w []byte) (float64, bool) {
	negative := w[0] == '-'
	if negative {
		w = w[1:]
	}
	if len(w) > 16 {
		return 0, false
	}
	var digits, behind int
	var v uint64
	dot := false
	for _, c := range w {
		switch {
		case c-'0' <= 9:
			v = v*10 + uint64(c-'0')
			digits++
			if dot {
				behind++
			}
		case c == '.' && !dot:
			dot = true
		default:
			return 0, false
		}
	}
	if digits == 0 || digits > 15 {
		return 0, false
	}
	f := float64(v) / tens[behind]
	if negative {
		f = -f
	}
	return f, true
}

// parseInt reads a timestamp: an optional minus and digits.
func parseInt(w []byte) (int64, bool) {
	negative := len(w) > 0 && w[0] == '-'
	digits := w
	if negative {
		digits = w[1:]
	}
	if len(digits) == 0 || len(digits) > 18 {
		return parseLongInt(w)
	}
	var v int64
	for _, c := range digits {
		if c-'0' > 9 {
			return 0, false
		}
		v = v*10 + int64(c-'0')
	}
	if negative {
		v = -v
	}
	return v, true
}

func parseLongInt(w []byte) (int64, bool) {
	if len(w) == 0 || w[0] == '+' {
		return 0, false
	}
	v, err := strconv.ParseInt(unsafe.String(unsafe.SliceData(w), len(w)), 10, 64)
	return v, err == nil
}
