//go:build !fdb

package fdb_test

import "testing"

func TestSuite(t *testing.T) {
	t.Skip("NOT RUN: the store on FoundationDB is built with -tags fdb, which needs its client library; " +
		"see `make fdb-test`")
}
