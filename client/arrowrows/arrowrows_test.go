package arrowrows_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/client/arrowrows"
)

func usage(values ...int64) arrow.RecordBatch {
	schema := arrow.NewSchema([]arrow.Field{{Name: "usage", Type: arrow.PrimitiveTypes.Int64}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.Int64Builder).AppendValues(values, nil)
	return b.NewRecordBatch()
}

// Record batches are written like any other rows: table.Write(ctx, arrowrows.Records(batches...)).
func ExampleRecords() {
	rows := arrowrows.Records(usage(1, 2), usage(3))
	payload, err := rows.Payload()
	if err != nil {
		panic(err)
	}
	r, err := ipc.NewReader(bytes.NewReader(payload.Data))
	if err != nil {
		panic(err)
	}
	defer r.Release()
	for r.Next() {
		fmt.Println(r.RecordBatch().Column(0))
	}
	// Output:
	// [1 2]
	// [3]
}

func TestRecordsThatCannotBeRows(t *testing.T) {
	if _, err := arrowrows.Records().Payload(); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("no record batch: %v", err)
	}
	other := arrow.NewSchema([]arrow.Field{{Name: "load", Type: arrow.PrimitiveTypes.Float64}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, other)
	defer b.Release()
	if _, err := arrowrows.Records(usage(1), b.NewRecordBatch()).Payload(); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("two schemas: %v", err)
	}
}
