//go:build !fdb

package cluster

import (
	"errors"

	"github.com/seed-551dd829/braid/sequencer/kv"
)

// openFDB says what this binary lacks.
func openFDB(string) (kv.Store, error) {
	return nil, errors.New("store fdb: this binary was built without FoundationDB; install its client library " +
		"(package foundationdb-clients 7.3) and build with go build -tags fdb ./cmd/braid, see docs/operations.md")
}
