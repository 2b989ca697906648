package fdbtest

import (
	"fmt"

	"go.uber.org/goleak"
)

// Prepare switches on the client's own faults where that is asked for, which comes before any test, and returns what
// goleak is to ignore: the client's network, which runs until the process ends.
func Prepare() goleak.Option {
	if err := buggify(); err != nil {
		panic(fmt.Sprintf("the client's faults cannot be switched on: %v", err))
	}
	return goleak.IgnoreAnyFunction("github.com/apple/foundationdb/bindings/go/src/fdb.startNetwork.func1")
}
