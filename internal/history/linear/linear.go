// Package linear judges short, contended histories by linearizability: is there one order of the operations, each at
// a moment between its call and its answer, in which a plain sequential cluster would have given these answers? The
// search is porcupine's and exponential at worst, so histories are bounded; package history's linear-time checks are
// for everything else.
//
// An operation of unknown outcome may take effect at any time after its call, or never: it stays open to the end. Many
// of them make the search long. Where reading back tells what became of one, its outcome is that, and Returned is
// Open: it took effect at any time after its call; or it is left out, since it never did.
package linear

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/seed-551dd829/braid/internal/history"
)

// A history past these bounds may never be decided.
const (
	OperationsMax = 200
	ClientsMax    = 8
)

// Open is when an operation returned that nobody saw returning.
const Open = math.MaxInt64

// Errors that errors.Is finds in what the checks return.
var (
	// ErrNotLinearizable: no order of the operations explains the answers.
	ErrNotLinearizable = errors.New("not linearizable")
	// ErrUndecided: the search took too long. That is not a pass.
	ErrUndecided = errors.New("linearizability undecided")
	// ErrTooLarge: the history is over OperationsMax or ClientsMax.
	ErrTooLarge = errors.New("history too large for the linearizability check")
)

// Call is what every operation has. Times are nanoseconds of one clock; Returned is ignored if Outcome is Unknown.
type Call struct {
	Client           int // 0 to ClientsMax-1
	Called, Returned int64
	Outcome          history.Outcome
}

// check searches until timeout.
func check(model porcupine.Model, ops []porcupine.Operation, timeout time.Duration) error {
	if len(ops) > OperationsMax {
		return fmt.Errorf("%w: %d operations", ErrTooLarge, len(ops))
	}
	for _, o := range ops {
		if o.ClientId < 0 || o.ClientId >= ClientsMax {
			return fmt.Errorf("%w: client %d", ErrTooLarge, o.ClientId)
		}
	}
	switch porcupine.CheckOperationsTimeout(model, ops, timeout) {
	case porcupine.Ok:
		return nil
	case porcupine.Illegal:
		return fmt.Errorf("%w: %d operations", ErrNotLinearizable, len(ops))
	}
	return fmt.Errorf("%w: %d operations in %s", ErrUndecided, len(ops), timeout)
}

func operation(c Call, input any) porcupine.Operation {
	returned := c.Returned
	if c.Outcome == history.Unknown {
		returned = Open
	}
	// The input carries the answer too: a model's step needs both, and nothing else reads them.
	return porcupine.Operation{ClientId: c.Client, Input: input, Call: c.Called, Return: returned}
}
