package lineproto

import (
	"errors"
	"math"
	"strconv"
	"unsafe"

	"github.com/seed-551dd829/braid/internal/api"
)

// parseNumber reads a float64, an int64 (behind it an i) or a uint64 (a u).
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

// simpleFloat reads digits with at most one dot, 15 of them at most: both the digits and the power
// of ten are exact float64s then, and so is their quotient correctly rounded (Clinger 1990).
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
	digits := w
	limit := uint64(math.MaxInt64)
	if len(w) > 0 && w[0] == '-' {
		digits, limit = w[1:], limit+1
	}
	for len(digits) > 19 && digits[0] == '0' {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 19 {
		return 0, false
	}
	var v uint64 // 19 digits cannot overflow it
	for _, c := range digits {
		if c-'0' > 9 {
			return 0, false
		}
		v = v*10 + uint64(c-'0')
	}
	if len(digits) < len(w) && w[0] == '-' {
		return -int64(v), v <= limit
	}
	return int64(v), v <= limit
}
