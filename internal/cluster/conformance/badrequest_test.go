package conformance_test

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

func badArrow(t testing.TB) []badInput {
	p := arrow.PrimitiveTypes
	nulls := func(name string, kind arrow.DataType) string {
		return string(stream(t, []arrow.Field{field(name, kind)}, func(b *array.RecordBuilder) { b.Field(0).AppendNull() }))
	}
	one := func(name string, kind arrow.DataType, fill func(array.Builder), o ...ipc.Option) string {
		return string(stream(t, []arrow.Field{field(name, kind)}, func(b *array.RecordBuilder) { fill(b.Field(0)) }, o...))
	}
	floats := func(v ...float64) func(array.Builder) {
		return func(b array.Builder) { b.(*array.Float64Builder).AppendValues(v, nil) }
	}
	whole := string(twoRows(t, typeArrow, ""))
	wide := make([]arrow.Field, 10_000)
	for i := range wide {
		wide[i] = field("c"+strings.Repeat("x", i%7)+string(rune('a'+i%26)), p.Int64)
	}
	flipped := func(at int, bits byte) string {
		b := []byte(whole)
		b[at] ^= bits
		return string(b)
	}
	all := []badInput{
		{name: "NaN", payload: one("f", p.Float64, floats(1, math.NaN())), pieces: []string{`"f"`, "row 1", "NaN"}},
		{name: "infinity", payload: one("f", p.Float64, floats(math.Inf(-1)), ipc.WithZstd()), pieces: []string{`"f"`, "row 0", "infinite"}},
		{name: "float32 infinity", payload: one("f", p.Float32, func(b array.Builder) {
			b.(*array.Float32Builder).Append(float32(math.Inf(1)))
		}), pieces: []string{`"f"`, "row 0"}},
		{name: "timestamp out of range", payload: one("timestamp", arrow.FixedWidthTypes.Timestamp_s, func(b array.Builder) {
			b.(*array.TimestampBuilder).Append(math.MaxInt64)
		}), pieces: []string{"timestamp", "row 0", "range"}},
		{name: "not UTF-8 in a string", payload: one("s", arrow.BinaryTypes.String, func(b array.Builder) {
			b.(*array.StringBuilder).Append("\xff")
		}), pieces: []string{`"s"`, "UTF-8"}},
		{name: "not UTF-8 in a tag", payload: one("t", tagType, func(b array.Builder) {
			if err := b.(*array.BinaryDictionaryBuilder).AppendString("\xc3"); err != nil {
				t.Fatal(err)
			}
		}), pieces: []string{`"t"`, "UTF-8"}},
		{name: "not UTF-8 in a name", payload: nulls("\xff", p.Int64), pieces: []string{"UTF-8"}},
		{name: "list", payload: nulls("l", arrow.ListOf(p.Float64)), pieces: []string{`"l"`, "not supported"}},
		{name: "struct", payload: nulls("x", arrow.StructOf(field("a", p.Int64))), pieces: []string{`"x"`, "not supported"}},
		{name: "decimal", payload: nulls("d", &arrow.Decimal128Type{Precision: 5}), pieces: []string{`"d"`, "not supported"}},
		{name: "date", payload: nulls("d", arrow.FixedWidthTypes.Date32), pieces: []string{`"d"`, "not supported"}},
		{name: "float16", payload: nulls("h", arrow.FixedWidthTypes.Float16), pieces: []string{`"h"`, "not supported"}},
		{name: "binary", payload: nulls("b", arrow.BinaryTypes.Binary), pieces: []string{`"b"`, "not supported"}},
		{name: "null", payload: nulls("n", arrow.Null), pieces: []string{`"n"`, "not supported"}},
		{name: "timestamp of another name", payload: nulls("at", arrow.FixedWidthTypes.Timestamp_ns), pieces: []string{`"at"`}},
		{name: "timestamp is an int", payload: nulls("timestamp", p.Int64), pieces: []string{`"timestamp"`}},
		{name: "10,000 columns", payload: string(stream(t, wide, func(*array.RecordBuilder) {})), pieces: []string{"10000 columns", "2000"}},
		{name: "no row", payload: string(stream(t, []arrow.Field{field("a", p.Int64)}, func(*array.RecordBuilder) {})), pieces: []string{"no row"}},
		{name: "no stream", payload: "hello, this is not Arrow", pieces: []string{"mark"}},
		{name: "empty", payload: "", pieces: []string{"cut short"}},
		{name: "cut in the schema", payload: whole[:20], pieces: []string{"cut short"}},
		{name: "cut in the rows", payload: whole[:len(whole)-40], pieces: []string{"cut short"}},
		{name: "two streams", payload: whole + whole, pieces: []string{"goes on behind its end"}},
		{name: "flipped mark", payload: flipped(0, 1), pieces: []string{"mark"}},
		{name: "flipped length", payload: flipped(7, 0x40), pieces: []string{"cut short"}},
		{name: "flipped metadata", payload: flipped(8, 0xff), pieces: []string{"metadata"}},
		{name: "another type than the table's", payload: one("ok", p.Float64, floats(1)), later: true, pieces: []string{`"ok"`, "int64", "float64"}},
		{name: "uint64 beyond an int64", payload: one("ok", p.Uint64, func(b array.Builder) {
			b.(*array.Uint64Builder).Append(math.MaxUint64)
		}), later: true, pieces: []string{`"ok"`, "int64", "uint64"}},
		{name: "a bomb", payload: one("a", p.Int64, func(b array.Builder) {
			b.(*array.Int64Builder).AppendValues(make([]int64, 9<<20), nil)
		}, ipc.WithZstd()), code: 413, word: "too_large", pieces: []string{"64 MB"}},
	}
	for i := range all {
		c := &all[i]
		c.name, c.header, c.binary = "Arrow: "+c.name, []string{"Content-Type", typeArrow}, true
	}
	return all
}

// badHeaders has each header that a write can have, with values that do not parse.
func badHeaders() (all []badInput) {
	add := func(name string, pieces []string, header ...string) {
		all = append(all, badInput{name: "header: " + name, payload: "T a=1i 1", header: header, pieces: pieces})
	}
	add("Content-Type of something else", []string{"Content-Type", "text/csv"}, "Content-Type", "text/csv")
	add("Content-Type of JSON", []string{"Content-Type"}, "Content-Type", "application/json")
	add("Content-Type twice", []string{"Content-Type", "more than once"}, "Content-Type", "text/plain", "Content-Type", "text/plain")
	add("Content-Encoding of something else", []string{"Content-Encoding", `"br"`}, "Content-Encoding", "br")
	add("Content-Encoding of two", []string{"Content-Encoding"}, "Content-Encoding", "gzip, zstd")
	add("gzip that is none", []string{"gzip"}, "Content-Encoding", "gzip")
	add("zstd that is none", []string{"zstd"}, "Content-Encoding", "zstd")
	for _, v := range []string{"none", "-1", "", "+0", "1.0", "0x1", "1 2", "18446744073709551616", strings.Repeat("9", 10_000)} {
		add("Braid-Expected-TxID "+v[:min(len(v), 20)], []string{"Braid-Expected-TxID", "whole number"}, "Braid-Expected-TxID", v)
	}
	add("Braid-Expected-TxID twice", []string{"more than once"}, "Braid-Expected-TxID", "0", "braid-expected-txid", "0")
	add("Braid-Durability", []string{"Braid-Durability", `"disk"`}, "Braid-Durability", "disk")
	add("Braid-Durability of nothing", []string{"Braid-Durability"}, "Braid-Durability", "")
	add("Braid-Table of another", []string{"Braid-Table", "other"}, "Braid-Table", "other")
	add("Braid-Table with a space", []string{"Braid-Table", "a b"}, "Braid-Table", "a b")
	add("Braid-Table of nothing", []string{"Braid-Table", "empty"}, "Braid-Table", "")
	add("Braid-Table of 1,000 characters", []string{"Braid-Table", "127"}, "Braid-Table", strings.Repeat("n", 1000))
	add("Nats-Msg-Id of 256 bytes", []string{"Nats-Msg-Id", "255"}, "Nats-Msg-Id", strings.Repeat("k", 256))
	add("a name that is misspelt", []string{"Braid-Expectd-TxID"}, "Braid-Expectd-TxID", "0")
	add("an answer's name", []string{"Braid-TxID"}, "Braid-TxID", "1")
	producer := []string{"Braid-Producer", "p", "Braid-Producer-Epoch", "1", "Braid-Sequence", "2", "Braid-Settled", "1"}
	for i := 0; i < len(producer); i += 2 {
		left := append(append([]string{}, producer[:i]...), producer[i+2:]...)
		add("without "+producer[i], []string{producer[i], "missing"}, left...)
	}
	for name, bad := range map[string][]string{
		"Braid-Producer": {"", "a b", "p.q", strings.Repeat("p", 65), "\xff"}, "Braid-Producer-Epoch": {"", "0", "x", "-1"},
		"Braid-Sequence": {"", "0", "x", "1"}, "Braid-Settled": {"", "2", "x", "-1"},
	} {
		for _, v := range bad {
			header := append([]string{}, producer...)
			for i := range header {
				if i%2 == 0 && header[i] == name {
					header[i+1] = v
				}
			}
			place := name
			if name == "Braid-Sequence" && v == "1" {
				place = "Braid-Settled"
			}
			add(name+" "+v[:min(len(v), 20)], []string{place}, header...)
		}
	}
	add("two identities", []string{"Nats-Msg-Id", "Braid-Producer"}, append([]string{"Nats-Msg-Id", "k"}, producer...)...)
	return append(all,
		badInput{name: "a producer that nobody knows", payload: "T a=1i 1", header: producer, code: 409, word: "expired"},
		badInput{name: "header: a sequence 1,025 above settled", payload: "T a=1i 1", code: 429, word: "overloaded",
			header: []string{"Braid-Producer", "p", "Braid-Producer-Epoch", "1", "Braid-Sequence", "1026", "Braid-Settled", "1"},
			pieces: []string{"Braid-Sequence", "1024"}},
		badInput{name: "expected TxID from the future", payload: "T a=1i 1", header: []string{"Braid-Expected-TxID", "1000000"},
			code: 409, word: "conflict", pieces: []string{"expected TxID 1000000", "the head is"}},
		badInput{name: "the largest expected TxID", payload: "T a=1i 1", code: 409, word: "conflict",
			header: []string{"Braid-Expected-TxID", "18446744073709551615"}, pieces: []string{"the head is"}},
		badInput{name: "expected TxID from the past", payload: "T a=1i 1", header: []string{"Braid-Expected-TxID", "0"},
			code: 409, word: "conflict", later: true, pieces: []string{"expected TxID 0", "the head is"}},
		badInput{name: "expected TxID of several tables", payload: "T a=1i 1\nTx a=1i 1", header: []string{"Braid-Expected-TxID", "0"},
			subject: "ingest", elsewhere: true, pieces: []string{"Braid-Expected-TxID", "2"}},
	)
}

// badNames has table names that no table can have, in subjects, payloads and headers.
func badNames() (all []badInput) {
	long := strings.Repeat("n", 1000)
	for name, bad := range map[string]string{
		"a slash": "a/b", "a star": "a*b", "a wildcard": "*", "all of them": "a.>", "a quote": `a"b`, "a backslash": `a\b`,
		"1,000 characters": long, "128 bytes": strings.Repeat("ü", 64), "a control character": "a\u0085b", "not UTF-8": "a\xffb",
	} {
		all = append(all, badInput{name: "subject with " + name, subject: "ingest." + bad, payload: "T a=1i 1", elsewhere: true,
			pieces: []string{"subject"}},
			badInput{name: "primary's subject with " + name, subject: "primary.p1.ingest." + bad, payload: "T a=1i 1",
				elsewhere: true, pieces: []string{"subject"}},
			badInput{name: "measurement with " + name, subject: "ingest", payload: "\n" + bad + " a=1i 1\n", line: 2, elsewhere: true},
			badInput{name: "header with " + name, subject: "ingest", payload: `{"a":1}`, elsewhere: true,
				header: []string{"Braid-Table", bad, "Content-Type", typeNDJSON}, pieces: []string{"Braid-Table"}})
	}
	for name, bad := range map[string]string{
		"an empty token": "a..b", "an empty first token": ".a", "an empty last token": "a.", "a space": `a\ b`,
		"a newline": "a\n#", "an escaped newline": "a\\\n#", "a null": "a\x00b",
	} {
		c := badInput{name: "measurement with " + name, subject: "ingest", payload: "\n" + bad + " a=1i 1\n", line: 2, elsewhere: true}
		all = append(all, c)
	}
	return all
}

// badSizes are too large in one way.
func badSizes(t testing.TB) []badInput {
	gzipBomb := gzipped(bytes.Repeat([]byte{'#'}, 64<<20))
	zstdBomb := zstded(bytes.Repeat([]byte{'#'}, 64<<20))
	large := func(name, encoding string, data []byte, piece string) badInput {
		if len(data) > 8<<20 {
			t.Fatalf("%s has %d bytes, which NATS refuses", name, len(data))
		}
		return badInput{name: name, payload: string(data), header: []string{"Content-Encoding", encoding}, binary: true, over: "http",
			code: 413, word: "too_large", pieces: []string{piece}}
	}
	return []badInput{
		large("gzip bomb", "gzip", bytes.Repeat(gzipBomb, 2), "unpacks to more than 67108864 bytes"),
		large("zstd bomb", "zstd", bytes.Repeat(zstdBomb, 1000), "unpacks to more than 67108864 bytes"),
		{name: "cut gzip", payload: string(gzipBomb[:1000]), header: []string{"Content-Encoding", "gzip"}, binary: true, pieces: []string{"gzip"}},
		{name: "cut zstd", payload: string(zstdBomb[:len(zstdBomb)/2]), header: []string{"Content-Encoding", "zstd"}, binary: true, pieces: []string{"zstd"}},
		{name: "bytes behind gzip", payload: string(gzipped([]byte("#"))) + "x", header: []string{"Content-Encoding", "gzip"}, binary: true, pieces: []string{"gzip"}},
	}
}
