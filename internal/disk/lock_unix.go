//go:build unix

package disk

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes flock(2), which belongs to the open file and ends with the process, however it
// ends.
func lockFile(f *os.File) error {
	for {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return ErrLocked
		default:
			return err
		}
	}
}
