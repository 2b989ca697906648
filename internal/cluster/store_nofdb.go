//go:build !fdb

package cluster

import (
	"errors"

	"github.com/seed-551dd829/braid/sequencer/kv"
)

// openFDB says what this binary lacks.
func openFDB(string) (kv.Store, error) {
	return nil, errors.New("store fdb: this binary was built without FoundationDB; the store on it is in the source, " +
		"behind -tags fdb and its client library, but not proved yet (docs/STATUS.md): use embedded:DIR")
}
