package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// Errors that errors.Is finds in what this package returns.
var (
	// ErrUnknownOutcome: no definite answer came in time. The write is stored once or not at all; reading the table
	// tells. Sending the rows again is a new write and may store them twice.
	ErrUnknownOutcome = errors.New("outcome unknown")
	// ErrConflict: the expected TxID is not the table's head. It is what every *ConflictError is, which has the head.
	ErrConflict = errors.New("conflict")
	// ErrInvalid: the rows, or what was asked for, cannot be taken. It is what every *InvalidError is, which says why.
	ErrInvalid = errors.New("invalid")
	// ErrOverloaded: a bound was reached until the context ended. Nothing was stored.
	ErrOverloaded = errors.New("overloaded")
	// ErrUnavailable: nobody took the request until the context ended. Nothing was stored, unless the error is
	// ErrUnknownOutcome too.
	ErrUnavailable = errors.New("unavailable")
	// ErrFenced: a newer process has registered under this producer's id and has taken over.
	ErrFenced = errors.New("fenced")
	// ErrExpired: the cluster has forgotten this producer, so it cannot tell whether the write was stored before: the
	// error is ErrUnknownOutcome too. Later writes get a new registration by themselves.
	ErrExpired = errors.New("producer expired")
	// ErrVoided: an operator gave the write up.
	ErrVoided = errors.New("voided")
	// ErrTooLarge: the rows are over a limit; nothing was stored. Send fewer rows a write.
	ErrTooLarge = errors.New("too large")
	// ErrKept: the write is in the client's directory and will be delivered, by this process or the next. Do not write
	// it again.
	ErrKept = errors.New("kept in the directory")
	// ErrDirectory: the client's directory cannot be used, or not any more: it is damaged, of another producer, or its
	// disk has failed. If the error is ErrUnknownOutcome too, the write may be in it, and the next process delivers it.
	ErrDirectory = errors.New("directory")
	// ErrDirectoryInUse: another process has the directory. It is ErrDirectory, too.
	ErrDirectoryInUse = errors.New("directory in use")
	// ErrNotFound: no such table or node.
	ErrNotFound = errors.New("not found")
	// ErrCorrupt: what a node answered to a read cannot be right: it was damaged on the way, or the node is wrong.
	ErrCorrupt = errors.New("corrupt answer")
	// ErrUnauthorized: the cluster does not let this client do that.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrClosed: the client is closed.
	ErrClosed = errors.New("client closed")
)

// ConflictError refuses a write whose expected TxID was not the table's head. It is final: the rows are not stored
// and never will be by this write. A new write may expect Current.
type ConflictError struct {
	Table    string
	Expected uint64
	Current  uint64 // the head when it was decided
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("table %s: expected TxID %d, the head is %d", e.Table, e.Expected, e.Current)
}

// Is makes errors.Is find ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// InvalidError refuses rows that the cluster cannot take; nothing of them is stored.
type InvalidError struct {
	Table   string
	Line    int // the physical line, from 1, where the bad row begins; 0 if it is not about a line
	Message string
}

func (e *InvalidError) Error() string { return "invalid: " + e.Message }

// Is makes errors.Is find ErrInvalid.
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

// WriteError is the failure of a write that no call waits for; see WithErrorHandler.
type WriteError struct {
	Table string
	Err   error // one of those of Table.Write
}

func (e *WriteError) Error() string { return fmt.Sprintf("write to table %s: %v", e.Table, e.Err) }

// Unwrap returns the reason.
func (e *WriteError) Unwrap() error { return e.Err }

// ServerError is a refusal as the cluster sent it. It is in the chain of every error that an answer carried.
type ServerError struct {
	Code       int
	Name       string
	Message    string
	Table      string
	RetryAfter time.Duration
}

func (e *ServerError) Error() string { return e.Message }

// public turns an error of the wire into one of this package.
func public(err error) error {
	e := new(api.Error)
	out := err
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		out = publicRefusal(e)
	case errors.Is(err, bus.ErrNoResponders):
		out = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if errors.Is(err, bus.ErrUnknown) && !errors.Is(out, ErrUnknownOutcome) {
		out = fmt.Errorf("%w: %w", ErrUnknownOutcome, out)
	}
	return out
}

func publicRefusal(e *api.Error) error {
	s := &ServerError{e.Code, string(e.Name), e.Message, e.Table,
		time.Duration(e.RetryAfterMS) * time.Millisecond}
	switch e.Name {
	case api.Invalid:
		return &InvalidError{e.Table, e.Line, e.Message}
	case api.Conflict:
		c := &ConflictError{Table: e.Table}
		if e.Expected != nil && e.Current != nil {
			c.Expected, c.Current = *e.Expected, *e.Current
		}
		return c
	case api.Fenced:
		return fmt.Errorf("%w: %w", ErrFenced, s)
	case api.Expired:
		return fmt.Errorf("%w: %w: %w", ErrExpired, ErrUnknownOutcome, s)
	case api.Settled:
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, s)
	case api.Voided:
		return fmt.Errorf("%w: %w", ErrVoided, s)
	case api.TooLarge:
		return fmt.Errorf("%w: %w", ErrTooLarge, s)
	case api.Overloaded:
		return fmt.Errorf("%w: %w", ErrOverloaded, s)
	case api.Unavailable:
		return fmt.Errorf("%w: %w", ErrUnavailable, s)
	case api.NotFound:
		return fmt.Errorf("%w: %w", ErrNotFound, s)
	case api.Unauthorized, api.Forbidden:
		return fmt.Errorf("%w: %w", ErrUnauthorized, s)
	}
	return s
}
