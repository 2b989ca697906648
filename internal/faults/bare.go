//go:build unix

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/client"
)

// bare writes as any NATS client can, without the SDK: the wire as its page describes it, and nothing else.
type bare struct {
	nc *nats.Conn
	// keyed gives every write a plain key and sends it again under it.
	keyed bool
	rand  *rand.Rand
}

// The cluster remembers a key for 2 minutes; a repeat must come well before that.
const (
	bareAttempt = 2 * time.Second
	keyedFor    = 60 * time.Second
	keyedPause  = 50 * time.Millisecond
)

// write sends rows once, or, with a key, until there is a definite answer. Now and then a write that has its answer is
// sent once more under its key, and must get the same one (I3, I5).
func (b *bare) write(ctx context.Context, table string, rows rows, expected *uint64) (uint64, error) {
	header := nats.Header{}
	if expected != nil {
		header.Set("Braid-Expected-TxID", strconv.FormatUint(*expected, 10))
	}
	if !b.keyed {
		return b.once(ctx, table, header, rows.text)
	}
	header.Set("Nats-Msg-Id", fmt.Sprintf("key-%016x", rows.content))
	start := time.Now()
	var txid uint64
	var err error
	for maybe := false; ; {
		txid, err = b.once(ctx, table, header, rows.text)
		open := errors.Is(err, client.ErrUnknownOutcome)
		maybe = maybe || open
		if !open && !errors.Is(err, client.ErrUnavailable) && !errors.Is(err, client.ErrOverloaded) {
			break
		}
		if time.Since(start) > keyedFor || ctx.Err() != nil {
			if maybe {
				err = fmt.Errorf("%w: %w", client.ErrUnknownOutcome, err)
			}
			return 0, err
		}
		wait(ctx, keyedPause)
	}
	if b.rand.IntN(4) == 0 && time.Since(start) < keyedFor {
		return txid, b.again(ctx, table, header, rows.text, txid, err)
	}
	return txid, err
}

// again repeats a write that has its answer, and returns the first answer's error, or another if they differ.
func (b *bare) again(
	ctx context.Context, table string, header nats.Header, text []byte, txid uint64, first error,
) error {
	got, err := b.once(ctx, table, header, text)
	a, b1 := new(client.ConflictError), new(client.ConflictError)
	switch {
	case errors.Is(err, client.ErrUnknownOutcome), errors.Is(err, client.ErrUnavailable),
		errors.Is(err, client.ErrOverloaded):
		return first // no answer is not another answer
	case first == nil && err == nil && got == txid:
		return nil
	case errors.As(first, &a) && errors.As(err, &b1) && *a == *b1:
		return first
	}
	return fmt.Errorf("a repeat under the same key was answered differently: TxID %d %v, and then TxID %d %v",
		txid, first, got, err)
}

// once is one request; its errors are those of the client package.
func (b *bare) once(ctx context.Context, table string, header nats.Header, text []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, bareAttempt)
	defer cancel()
	msg, err := b.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: "ingest." + table, Header: header, Data: text})
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return 0, fmt.Errorf("%w: %w", client.ErrUnavailable, err)
	case err != nil:
		return 0, fmt.Errorf("%w: %w", client.ErrUnknownOutcome, err)
	}
	if msg.Header.Get("Nats-Service-Error-Code") != "" {
		return 0, bareError(table, msg)
	}
	var answer struct {
		Results []struct {
			Table string
			TxID  uint64
		}
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return 0, fmt.Errorf("answer %q: %w", msg.Data, err)
	}
	if len(answer.Results) != 1 || answer.Results[0].Table != table || answer.Results[0].TxID == 0 {
		return 0, fmt.Errorf("answer %q is not about one write to %s", msg.Data, table)
	}
	return answer.Results[0].TxID, nil
}

func bareError(table string, msg *nats.Msg) error {
	var e struct {
		Name, Message     string
		Expected, Current uint64
	}
	if err := json.Unmarshal(msg.Data, &e); err != nil {
		return fmt.Errorf("error %q: %w", msg.Data, err)
	}
	switch e.Name {
	case "conflict":
		return &client.ConflictError{Table: table, Expected: e.Expected, Current: e.Current}
	case "overloaded":
		return fmt.Errorf("%w: %s", client.ErrOverloaded, e.Message)
	case "unavailable":
		return fmt.Errorf("%w: %s", client.ErrUnknownOutcome, e.Message)
	}
	return fmt.Errorf("%s: %s", e.Name, e.Message)
}
