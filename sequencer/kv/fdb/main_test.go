package fdb_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain ignores the client's network, which runs until the process ends.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/apple/foundationdb/bindings/go/src/fdb.startNetwork.func1"))
}
