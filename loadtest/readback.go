package loadtest

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/seed-551dd829/braid/internal/history"
)

// readContent reads an Arrow stream of a table's rows, with the column txid, through arrow-go, and hands out each
// transaction once it is complete. It returns the number of rows.
func readContent(r io.Reader, found func(history.Seen)) (rows uint64, err error) {
	reader, err := ipc.NewReader(r)
	if err != nil {
		return 0, err
	}
	defer reader.Release()
	var open history.Seen
	var sums []uint64
	for reader.Next() {
		record := reader.RecordBatch()
		n := int(record.NumRows())
		sums = append(sums[:0], make([]uint64, n)...)
		var txids []uint64
		for i, field := range record.Schema().Fields() {
			if field.Name == "txid" {
				c, ok := record.Column(i).(*array.Uint64)
				if !ok {
					return rows, fmt.Errorf("column txid is %s", field.Type)
				}
				txids = c.Uint64Values()
				continue
			}
			if err := addColumn(sums, field.Name, record.Column(i)); err != nil {
				return rows, err
			}
		}
		if txids == nil {
			return rows, errors.New("the stream has no column txid")
		}
		for i, txid := range txids {
			if txid != open.TxID {
				if open.Rows > 0 {
					found(open)
				}
				open = history.Seen{TxID: txid}
			}
			open.Content = then(open.Content, sums[i])
			open.Rows++
		}
		rows += uint64(n)
	}
	if err := reader.Err(); err != nil && !errors.Is(err, io.EOF) {
		return rows, err
	}
	if open.Rows > 0 {
		found(open)
	}
	// The stream must end by itself: a body that breaks off is an error here.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return rows, err
	}
	return rows, nil
}

// addColumn adds a column's values to the checksums of its rows.
func addColumn(sums []uint64, name string, column arrow.Array) error {
	switch c := column.(type) {
	case *array.Timestamp:
		return addWords(sums, c, columnSeed(name, kindTime), c.TimestampValues())
	case *array.Int64:
		return addWords(sums, c, columnSeed(name, kindInt), c.Int64Values())
	case *array.Uint64:
		return addWords(sums, c, columnSeed(name, kindUint), c.Uint64Values())
	case *array.Float64:
		seed := columnSeed(name, kindFloat)
		return addEach(sums, c, func(i int) uint64 { return floatValue(seed, c.Value(i)) })
	case *array.Boolean:
		seed := columnSeed(name, kindBool)
		return addEach(sums, c, func(i int) uint64 { return boolValue(seed, c.Value(i)) })
	case *array.String:
		seed := columnSeed(name, kindText)
		return addEach(sums, c, func(i int) uint64 { return textValue(seed, hashText(c.Value(i))) })
	case *array.Dictionary:
		return addTags(sums, name, c)
	}
	return fmt.Errorf("column %s has the type %s", name, column.DataType())
}

func addWords[T ~int64 | ~uint64](sums []uint64, c arrow.Array, seed uint64, values []T) error {
	if c.NullN() == 0 {
		for i, v := range values {
			sums[i] += value(seed, uint64(v))
		}
		return nil
	}
	return addEach(sums, c, func(i int) uint64 { return value(seed, uint64(values[i])) })
}

func addEach(sums []uint64, c arrow.Array, of func(int) uint64) error {
	for i := range sums {
		if c.IsValid(i) {
			sums[i] += of(i)
		}
	}
	return nil
}

func addTags(sums []uint64, name string, c *array.Dictionary) error {
	words, ok := c.Dictionary().(*array.String)
	if !ok {
		return fmt.Errorf("column %s is a dictionary of %s", name, c.Dictionary().DataType())
	}
	seed := columnSeed(name, kindText)
	hashes := make([]uint64, words.Len())
	for i := range hashes {
		hashes[i] = textValue(seed, hashText(words.Value(i)))
	}
	if indices, ok := c.Indices().(*array.Int32); ok && c.NullN() == 0 {
		for i, at := range indices.Int32Values() {
			sums[i] += hashes[at]
		}
		return nil
	}
	return addEach(sums, c, func(i int) uint64 { return hashes[c.GetValueIndex(i)] })
}
