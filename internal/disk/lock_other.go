//go:build !unix

package disk

import (
	"errors"
	"os"
)

// lockFile refuses: without a lock that ends with the process, two processes could share a data
// folder.
func lockFile(*os.File) error { return errors.ErrUnsupported }
