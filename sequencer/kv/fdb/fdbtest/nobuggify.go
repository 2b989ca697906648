//go:build !fdb

package fdbtest

// buggify has nothing to switch on in a build without the client.
func buggify() error { return nil }
