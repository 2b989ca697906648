//go:build !fdb

// Package fdb is the store on FoundationDB. It is empty unless built with -tags fdb, which needs FoundationDB's client
// library (docs/operations.md).
package fdb
