package member

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/seed-551dd829/braid/internal/disk"
)

// Folder is a node's data folder while this process owns it.
type Folder struct {
	Dir string
	// Mark is random and made with the folder. The sequencer remembers it for the node's id, so that an empty disk
	// never passes for the one that was lost.
	Mark string
	lock io.Closer
}

// OpenFolder makes the folder if need be, and locks it: one process holds a data folder at a time.
func OpenFolder(fsys disk.FS, dir string) (*Folder, error) {
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("data folder %s: %w", dir, err)
	}
	lock, err := fsys.Lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("data folder %s: %w (is another braid process using it?)", dir, err)
	}
	mark, err := readMark(fsys, filepath.Join(dir, "mark"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("data folder %s: %w", dir, err), lock.Close())
	}
	return &Folder{Dir: dir, Mark: mark, lock: lock}, nil
}

// Close gives the folder back.
func (f *Folder) Close() error { return f.lock.Close() }

func readMark(fsys disk.FS, path string) (string, error) {
	data, err := disk.ReadFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		mark := RandomID()
		return mark, fsys.WriteFileSync(path, []byte(mark+"\n"))
	}
	if err != nil {
		return "", err
	}
	mark := strings.TrimSpace(string(data))
	if mark == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return mark, nil
}

// RandomID returns 128 random bits in hexadecimal.
func RandomID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, says crypto/rand
	return hex.EncodeToString(b[:])
}
