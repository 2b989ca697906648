package fdb_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/sequencer/kv/fdb/fdbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, fdbtest.Prepare()) }
