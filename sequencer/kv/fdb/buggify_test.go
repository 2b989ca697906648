//go:build fdb

package fdb_test

import "github.com/seed-551dd829/braid/sequencer/kv/fdb/fdbtest"

func init() { prepare = fdbtest.Buggify }
