//go:build fdb

package fdbtest

import (
	"errors"
	"os"

	"github.com/apple/foundationdb/bindings/go/src/fdb"
)

// buggify switches on the client's own faults where BRAID_TEST_FDB_BUGGIFY is set: late replies, commits whose outcome it
// does not tell, errors that it usually meets once a year. It has to come before the first store is opened. Tests that
// are run with it must take kv.ErrUnknown for an answer.
func buggify() error {
	if os.Getenv("BRAID_TEST_FDB_BUGGIFY") == "" {
		return nil
	}
	if err := fdb.APIVersion(730); err != nil {
		return err
	}
	o := fdb.Options()
	return errors.Join(o.SetClientBuggifyEnable(), o.SetClientBuggifySectionActivatedProbability(50),
		o.SetClientBuggifySectionFiredProbability(5))
}
