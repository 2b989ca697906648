package objstore

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Memory is a store in memory, for tests.
type Memory struct {
	mu      sync.Mutex
	objects map[string][]byte
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{objects: map[string][]byte{}} }

func (m *Memory) Put(ctx context.Context, key string, body Body) error {
	if err := CheckKey(key); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	var data bytes.Buffer
	if err := body.copyTo(ctx, &data); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, taken := m.objects[key]
	if taken && (int64(len(old)) != body.Size || crc32.Checksum(old, castagnoli) != body.CRC) {
		return fmt.Errorf("put %s: %w", key, ErrDifferent)
	}
	if !taken {
		m.objects[key] = data.Bytes()
	}
	return nil
}

func (m *Memory) get(ctx context.Context, op, key string) ([]byte, error) {
	if err := CheckKey(key); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%s %s: %w", op, key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.objects[key]
	if !ok {
		return nil, fmt.Errorf("%s %s: %w", op, key, ErrNotFound)
	}
	return data, nil
}

func (m *Memory) Get(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	data, err := m.get(ctx, "get", key)
	if err != nil {
		return nil, 0, err
	}
	size := int64(len(data))
	return Sized(io.NopCloser(bytes.NewReader(data)), size), size, nil
}

func (m *Memory) Stat(ctx context.Context, key string) (Info, error) {
	data, err := m.get(ctx, "stat", key)
	if err != nil {
		return Info{}, err
	}
	return Info{Key: key, Size: int64(len(data))}, nil
}

func (m *Memory) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		m.mu.Lock()
		objects := maps.Clone(m.objects)
		m.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(objects)) {
			if err := ctx.Err(); err != nil {
				yield(Info{}, fmt.Errorf("list %s: %w", prefix, err))
				return
			}
			info := Info{Key: key, Size: int64(len(objects[key]))}
			if strings.HasPrefix(key, prefix) && !yield(info, nil) {
				return
			}
		}
	}
}
