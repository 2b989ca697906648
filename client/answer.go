package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// parseAnswer reads the answer to a write of one table that was not refused.
func parseAnswer(table string, data []byte) (Result, error) {
	if a, ok := plainAnswer(table, data); ok {
		return a, nil
	}
	var a api.WriteAnswer
	if err := json.Unmarshal(data, &a); err != nil {
		return Result{}, fmt.Errorf("%w: answer to a write to table %s: %w", bus.ErrUnknown, table, err)
	}
	for _, r := range a.Results {
		if r.Table == table && r.Error == nil && r.TxID != 0 {
			return Result{r.Table, r.TxID, r.Rows}, nil
		}
	}
	return Result{}, fmt.Errorf("%w: answer to a write to table %s: %.200q", bus.ErrUnknown, table, data)
}

// plainAnswer reads an answer that is spelled as gateways spell it, byte for byte, which costs a tenth of reading
// JSON. ok is false for every other spelling.
func plainAnswer(table string, data []byte) (a Result, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte(`{"results":[{"table":"`))
	if !ok || len(rest) < len(table) || string(rest[:len(table)]) != table {
		return Result{}, false
	}
	txid, rest, ok := number(rest[len(table):], `","txid":`)
	if !ok || txid == 0 {
		return Result{}, false
	}
	rows, rest, ok := number(rest, `,"rows":`)
	if !ok || rows > math.MaxInt32 || string(rest) != "}]}" {
		return Result{}, false
	}
	return Result{table, txid, int(rows)}, true
}

// number reads digits behind a prefix: at most 19, so that they cannot overflow, and without a leading zero.
func number(data []byte, prefix string) (n uint64, rest []byte, ok bool) {
	if len(data) < len(prefix) || string(data[:len(prefix)]) != prefix {
		return 0, nil, false
	}
	data = data[len(prefix):]
	i := 0
	for i < len(data) && data[i]-'0' <= 9 {
		n = n*10 + uint64(data[i]-'0')
		i++
	}
	if i == 0 || i > 19 || data[0] == '0' && i > 1 {
		return 0, nil, false
	}
	return n, data[i:], true
}
