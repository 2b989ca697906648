package api

import (
	"errors"
	"fmt"
	"strings"
)

// Name is the word of an error, the same in JSON bodies, logs and metrics.
type Name string

// The errors of the wire. A code alone is ambiguous (four of them are 409), so decisions are taken on the name.
const (
	Invalid      Name = "invalid"      // 400 malformed rows, wrong type, bad name: do not retry
	Unauthorized Name = "unauthorized" // 401
	Forbidden    Name = "forbidden"    // 403
	NotFound     Name = "not_found"    // 404 an unknown table or node, when reading
	Conflict     Name = "conflict"     // 409 the expected TxID is not the head: final
	Fenced       Name = "fenced"       // 409 a newer epoch of this producer exists: another process took over
	Expired      Name = "expired"      // 409 the producer is not registered (any more): the outcome is unknown
	Settled      Name = "settled"      // 409 the sequence is at or below settled: the outcome is unknown
	Voided       Name = "voided"       // 410 a repeat of a write that an operator voided
	TooLarge     Name = "too_large"    // 413
	Overloaded   Name = "overloaded"   // 429 a bound is reached: later, under the same identity
	Unavailable  Name = "unavailable"  // 503 later, under the same identity: the outcome may be unknown
)

// Names lists the errors of the wire, by code.
func Names() []Name {
	return []Name{Invalid, Unauthorized, Forbidden, NotFound, Conflict, Fenced, Expired, Settled, Voided, TooLarge,
		Overloaded, Unavailable}
}

// Label is the name as the label of a metric: of few values, whatever came over the wire.
func (n Name) Label() string {
	if n.Code() == 500 {
		return "other"
	}
	return string(n)
}

// Code returns the number that belongs to the name, 500 for a name that is not of the wire.
func (n Name) Code() int {
	switch n {
	case Invalid:
		return 400
	case Unauthorized:
		return 401
	case Forbidden:
		return 403
	case NotFound:
		return 404
	case Conflict, Fenced, Expired, Settled:
		return 409
	case Voided:
		return 410
	case TooLarge:
		return 413
	case Overloaded:
		return 429
	case Unavailable:
		return 503
	}
	return 500
}

// Error is an error as it travels. Its JSON form is the body of every refused request.
type Error struct {
	Code    int    `json:"code"`
	Name    Name   `json:"name"`
	Message string `json:"message"`
	Table   string `json:"table,omitempty"`
	// Line is the physical line, from 1, where the bad row begins; 0 if the error is not about a line.
	Line int `json:"line,omitempty"`
	// Expected and Current belong to a conflict.
	Expected *uint64 `json:"expected,omitempty"`
	Current  *uint64 `json:"current,omitempty"`
	// RetryAfterMS is how long to wait before an overloaded request is worth another try, in milliseconds.
	RetryAfterMS int `json:"retry_after_ms,omitempty"`
}

// Errorf makes an error of the wire. The message names place and reason, and starts without the name. What it quotes
// is clipped, and so is the whole (MessageBytesMax).
func Errorf(name Name, format string, args ...any) *Error {
	message := fmt.Sprintf(format, clipArgs(args)...)
	return &Error{Code: name.Code(), Name: name, Message: Clip(message, MessageBytesMax)}
}

// ConflictError is the refusal of a write whose expected TxID was not the head.
func ConflictError(table string, expected, current uint64) *Error {
	e := Errorf(Conflict, "table %s: expected TxID %d, the head is %d", table, expected, current)
	e.Table, e.Expected, e.Current = table, &expected, &current
	return e
}

// OverloadedError asks the writer to come back after retryAfterMS milliseconds.
func OverloadedError(retryAfterMS int, format string, args ...any) *Error {
	e := Errorf(Overloaded, format, args...)
	e.RetryAfterMS = retryAfterMS
	return e
}

// AtLine returns the error with its line set, the message led by it.
func (e *Error) AtLine(line int) *Error {
	c := *e
	c.Line = line
	c.Message = Clip(fmt.Sprintf("line %d: %s", line, e.Message), MessageBytesMax)
	return &c
}

// InTable returns the error with its table set; a name that no table can have is input, too, and clipped.
func (e *Error) InTable(table string) *Error {
	c := *e
	c.Table = Clip(table, NameBytesMax)
	return &c
}

func (e *Error) Error() string { return string(e.Name) + ": " + e.Message }

// Is makes errors.Is(err, &Error{Name: Conflict}) true for every conflict.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Name == e.Name
}

// Description is the error as one header line (Nats-Service-Error): CR and LF cannot travel there.
func (e *Error) Description() string {
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(e.Error())
}

// AsError finds the wire error in err's chain; anything else becomes Unavailable with err's text, because a failure
// that nobody classified leaves the outcome unknown.
func AsError(err error) *Error {
	if e := new(Error); errors.As(err, &e) {
		return e
	}
	return Errorf(Unavailable, "%v", err)
}

// IsName says whether err is a wire error of this name.
func IsName(err error, name Name) bool {
	e := new(Error)
	return errors.As(err, &e) && e.Name == name
}
