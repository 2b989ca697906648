package fdb_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// prepare is what a build with FoundationDB does before the first test.
var prepare = func() error { return nil }

// TestMain ignores the client's network, which runs until the process ends.
func TestMain(m *testing.M) {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/apple/foundationdb/bindings/go/src/fdb.startNetwork.func1"))
}
