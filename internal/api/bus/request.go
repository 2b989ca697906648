package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
)

// ErrNoResponders says that nobody listened: the request had no effect.
var ErrNoResponders = errors.New("no responders")

// ErrUnknown says that no answer came: the request may have had its effect. It is sent again under the same
// identity, or reported.
var ErrUnknown = errors.New("outcome unknown")

// Request sends one request and waits for its answer or the end of ctx. A refusal is returned as *api.Error; else
// errors.Is tells ErrNoResponders from ErrUnknown.
func Request(
	ctx context.Context, nc *nats.Conn, subject string, hdr nats.Header, data []byte,
) (*nats.Msg, error) {
	msg, err := nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: subject, Header: hdr, Data: data})
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, fmt.Errorf("request to %s: %w", subject, ErrNoResponders)
	case errors.Is(err, nats.ErrMaxPayload):
		return nil, api.Errorf(api.TooLarge, "%d bytes are more than the NATS server takes (max_payload)", len(data))
	case err != nil:
		return nil, fmt.Errorf("request to %s: %w: %w", subject, ErrUnknown, err)
	}
	if e := ReplyError(msg); e != nil {
		return nil, e
	}
	return msg, nil
}

// ReplyError returns the error that an answer carries, nil if it carries none.
func ReplyError(msg *nats.Msg) *api.Error {
	code := msg.Header.Get(api.HeaderErrorCode)
	if code == "" {
		return nil
	}
	e := new(api.Error)
	if json.Unmarshal(msg.Data, e) == nil && e.Name != "" {
		e.Message = api.Clip(e.Message, api.MessageBytesMax)
		return e
	}
	n, err := strconv.Atoi(code)
	if err != nil {
		n = 500
	}
	// The body is something else, as in an answer about several tables: the description begins with the name.
	name, message, ok := strings.Cut(msg.Header.Get(api.HeaderError), ": ")
	if !ok || api.Name(name).Code() != n {
		name, message = string(api.Unavailable), msg.Header.Get(api.HeaderError)
	}
	return &api.Error{Code: n, Name: api.Name(name), Message: api.Clip(message, api.MessageBytesMax)}
}
