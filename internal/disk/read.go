package disk

import (
	"errors"
	"io/fs"
)

// Read calls fn with the file at path, opened for reading, and its size.
func Read(fsys FS, path string, fn func(f File, size int64) error) (err error) {
	f, err := fsys.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return err
	}
	return fn(f, size)
}

// Names lists a folder; one that is not there has none.
func Names(fsys FS, path string) ([]string, error) {
	entries, err := fsys.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}
