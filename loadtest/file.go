package loadtest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
)

// fileBytesMax bounds a file of line protocol after it is unpacked: it is held in memory, with its rows' checksums.
const fileBytesMax = 4 << 30

// readFile reads line protocol, plain or gzip (found by its first bytes).
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	magic := make([]byte, 2)
	n, err := io.ReadFull(f, magic)
	if err != nil && n == 0 {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r := io.MultiReader(bytes.NewReader(magic[:n]), f)
	if magic[0] == 0x1f && magic[1] == 0x8b {
		if r, err = gzip.NewReader(r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	data, err := io.ReadAll(io.LimitReader(r, fileBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(data) > fileBytesMax {
		return nil, fmt.Errorf("%s has more than %d bytes of line protocol", path, int64(fileBytesMax))
	}
	return data, nil
}

// row is one row of a file.
type row struct {
	table  string
	text   []byte // without the line break
	sum    uint64 // its part of the content
	opaque bool   // it has no timestamp: the cluster will give it one
}

// splitRows finds the rows of line protocol, with the decoder of line-protocol/v2 and not Braid's own: what a node
// gives back is compared with it.
func splitRows(text []byte) ([]row, error) {
	var rows []row
	for line := 1; len(text) > 0; {
		n, lines := rowEnd(text)
		one := bytes.TrimRight(text[:n], "\r\n")
		if trimmed := bytes.TrimLeft(one, " \t\r\n"); len(trimmed) > 0 && trimmed[0] != '#' {
			r, err := decodeRow(one)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", line, err)
			}
			rows = append(rows, r)
		}
		text = text[n:]
		line += lines
	}
	return rows, nil
}

// rowEnd returns the length of the first row with its line break, and how many lines it has. A quote counts only
// behind the first space: in tags it is text.
func rowEnd(text []byte) (n, lines int) {
	fields, quoted := false, false
	if comment := bytes.TrimLeft(text, " \t"); len(comment) > 0 && comment[0] == '#' {
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			return i + 1, 1
		}
		return len(text), 1
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
		case c == '\n':
			lines++
			if !quoted {
				return i + 1, lines
			}
		case c == ' ' && i > 0:
			fields = true
		case c == '"' && fields:
			quoted = !quoted
		}
	}
	return len(text), lines + 1
}

func decodeRow(text []byte) (row, error) {
	d := lineprotocol.NewDecoderWithBytes(text)
	if !d.Next() {
		return row{}, fmt.Errorf("no row in %.80q", text)
	}
	name, err := d.Measurement()
	if err != nil {
		return row{}, err
	}
	r := row{table: string(name), text: text}
	for {
		key, v, err := d.NextTag()
		if err != nil {
			return row{}, err
		}
		if key == nil {
			break
		}
		r.sum += textValue(columnSeed(string(key), kindText), hashText(v))
	}
	for {
		key, v, err := d.NextField()
		if err != nil {
			return row{}, err
		}
		if key == nil {
			break
		}
		r.sum += fieldValue(string(key), v)
	}
	at, err := d.TimeBytes()
	if err != nil {
		return row{}, err
	}
	if r.opaque = len(at) == 0; !r.opaque {
		ns, err := parseTime(at)
		if err != nil {
			return row{}, err
		}
		r.sum += value(timeSeed, uint64(ns))
	}
	return r, nil
}

func fieldValue(name string, v lineprotocol.Value) uint64 {
	switch v.Kind() {
	case lineprotocol.Int:
		return value(columnSeed(name, kindInt), uint64(v.IntV()))
	case lineprotocol.Uint:
		return value(columnSeed(name, kindUint), v.UintV())
	case lineprotocol.Float:
		return floatValue(columnSeed(name, kindFloat), v.FloatV())
	case lineprotocol.Bool:
		return boolValue(columnSeed(name, kindBool), v.BoolV())
	default:
		return textValue(columnSeed(name, kindText), hashText(v.StringV()))
	}
}
