package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
)

// Stored bytes. Never change what is below.
//
//	checkpoint   magic 8 · version u32 · shards u32 · position u64 each · tables u32 ·
//	             (name length u32 · name · last log index u64) each · CRC-32C u32 of all before
const (
	checkpointMagic   = "BRAIDCHK"
	checkpointVersion = 1
)

// checkpoint is what is known to be synced: the tables' files hold everything of each shard's log up to its position.
type checkpoint struct {
	positions []uint64
	tables    []tableMark
}

// tableMark is the last log index that a table's file holds. A file that ends before it has lost something.
type tableMark struct {
	name  string
	index uint64
}

func appendCheckpoint(b []byte, c *checkpoint) []byte {
	b = append(b, checkpointMagic...)
	b = binary.LittleEndian.AppendUint32(b, checkpointVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.positions)))
	for _, p := range c.positions {
		b = binary.LittleEndian.AppendUint64(b, p)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.tables)))
	for _, t := range c.tables {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(t.name)))
		b = append(b, t.name...)
		b = binary.LittleEndian.AppendUint64(b, t.index)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// parseCheckpoint returns *CorruptError for anything that appendCheckpoint did not write.
func parseCheckpoint(path string, b []byte) (c checkpoint, err error) {
	damaged := &CorruptError{Path: path, Reason: "no whole checkpoint"}
	if len(b) < 24 || string(b[:8]) != checkpointMagic {
		return c, damaged
	}
	end := len(b) - 4
	if crc32.Checksum(b[:end], castagnoli) != binary.LittleEndian.Uint32(b[end:]) {
		return c, damaged
	}
	// After the checksum, which every version has at its end: a flipped bit never passes for a newer version.
	if v := binary.LittleEndian.Uint32(b[8:]); v > checkpointVersion {
		return c, &NewerFormatError{Path: path, Version: v}
	}
	d := fields{b: b[12:end]}
	for n := d.uint32(); n > 0 && !d.short; n-- {
		c.positions = append(c.positions, d.uint64())
	}
	for n := d.uint32(); n > 0 && !d.short; n-- {
		c.tables = append(c.tables, tableMark{name: string(d.take(int(d.uint32()))), index: d.uint64()})
	}
	if d.short || len(d.b) > 0 {
		return checkpoint{}, damaged
	}
	return c, nil
}

// fields reads fixed-size fields; short sticks.
type fields struct {
	b     []byte
	short bool
}

func (d *fields) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.b, d.short = nil, true
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *fields) uint32() uint32 {
	if v := d.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (d *fields) uint64() uint64 {
	if v := d.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

// readCheckpoint returns the zero positions if there is no checkpoint, or a damaged one: then the logs are read from
// their beginning, and tables skip what they have.
func readCheckpoint(
	fsys disk.FS, root string, shards int, warn func(msg string, args ...any),
) (checkpoint, error) {
	path, empty := checkpointPath(root), checkpoint{positions: make([]uint64, shards)}
	b, err := disk.ReadFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return empty, fmt.Errorf("read checkpoint: %w", err)
	}
	c, err := parseCheckpoint(path, b)
	corrupt := new(CorruptError)
	switch {
	case errors.As(err, &corrupt):
		warn("checkpoint is damaged: commit logs are read from their beginning", "error", err)
		return empty, nil
	case err != nil:
		return empty, err
	case len(c.positions) != shards:
		return empty, fmt.Errorf("%s is of a cluster with %d shards, this one has %d: another cluster's folder?",
			path, len(c.positions), shards)
	}
	return c, nil
}

// goBack moves the positions of shards whose tables have lost records that the checkpoint counts on.
func (c *checkpoint) goBack(tabs map[string]*tab, warn func(msg string, args ...any)) {
	for _, m := range c.tables {
		var have uint64
		if t := tabs[m.name]; t != nil {
			have = t.state.index
		}
		if have >= m.index {
			continue
		}
		shard := api.Shard(m.name, len(c.positions))
		c.positions[shard] = min(c.positions[shard], have)
		warn("table has lost records: its log is read again", "table", m.name, "from", have+1, "lost_to", m.index)
	}
}
