package gateway

import (
	"strconv"
	"strings"

	"github.com/seed-551dd829/braid/internal/api"
)

// format is how a payload's rows are written.
type format uint8

const (
	lineProtocol format = iota
	arrow
	ndjson
)

var formatNames = [...]string{lineProtocol: "ilp", arrow: "arrow", ndjson: "ndjson"}

func (f format) String() string { return formatNames[f] }

// packing is how a payload is compressed.
type packing uint8

const (
	plain packing = iota
	gzipped
	zstandard
)

// options is what a request's headers say.
type options struct {
	format     format
	packing    packing
	durability api.Durability
	table      string // Braid-Table, "" if there is none
	locked     bool   // there is an expected TxID
	expected   uint64
	key        string          // Nats-Msg-Id
	producer   api.ProducerSeq // the four Braid-Producer headers
}

// rawHeaders are the headers that a write knows, as they came. nil: absent.
type rawHeaders struct {
	contentType, contentEncoding, msgID       *string
	table, expected, durability               *string
	producer, producerEpoch, sequence, settle *string
}

// field finds the place of a header, nil for one that is none of ours. Names are compared without
// regard to case: a lock that is spelled `braid-expected-txid` must not be ignored.
func (h *rawHeaders) field(name string) **string {
	for _, f := range [...]struct {
		name  string
		place **string
	}{
		{api.HeaderContentType, &h.contentType}, {api.HeaderContentEncoding, &h.contentEncoding},
		{api.HeaderMsgID, &h.msgID}, {api.HeaderTable, &h.table}, {api.HeaderExpectedTxID, &h.expected},
		{api.HeaderDurability, &h.durability}, {api.HeaderProducer, &h.producer},
		{api.HeaderProducerEpoch, &h.producerEpoch}, {api.HeaderSequence, &h.sequence},
		{api.HeaderSettled, &h.settle},
	} {
		if len(f.name) == len(name) && strings.EqualFold(f.name, name) {
			return f.place
		}
	}
	return nil
}

const braidPrefix = "braid-"

// decodeHeaders reads the headers of a write, whatever brought them. What it does not understand of
// ours is refused, because a header that is ignored is a promise that is not kept. ignoreType is
// for HTTP, where clients send types that they did not choose.
func decodeHeaders(headers map[string][]string, def api.Durability, ignoreType bool) (options, *api.Error) {
	o := options{durability: def}
	if len(headers) == 0 {
		return o, nil
	}
	var raw rawHeaders
	if err := raw.collect(headers); err != nil {
		return options{}, err
	}
	if ignoreType {
		raw.contentType = nil
	}
	for _, read := range [...]func(*options, *rawHeaders) *api.Error{
		readContent, readTable, readExpected, readDurability, readKey, readProducer,
	} {
		if err := read(&o, &raw); err != nil {
			return options{}, err
		}
	}
	return o, nil
}

func (h *rawHeaders) collect(headers map[string][]string) *api.Error {
	unknown := ""
	for name, values := range headers {
		place := h.field(name)
		if place == nil {
			if len(name) > len(braidPrefix) && strings.EqualFold(name[:len(braidPrefix)], braidPrefix) &&
				(unknown == "" || name < unknown) {
				unknown = name
			}
			continue
		}
		if len(values) > 1 || *place != nil {
			return api.Errorf(api.Invalid, "header %s is there more than once", name)
		}
		if len(values) == 1 {
			*place = &values[0]
		}
	}
	if unknown != "" {
		return api.Errorf(api.Invalid, "header %s is not one that a write can have", unknown)
	}
	return nil
}

func readContent(o *options, h *rawHeaders) *api.Error {
	if h.contentType != nil {
		name, _, _ := strings.Cut(*h.contentType, ";")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "", api.TypeLineProtocol:
		case api.TypeArrow:
			o.format = arrow
		case api.TypeNDJSON:
			o.format = ndjson
		default:
			return api.Errorf(api.Invalid, "Content-Type %q is none of %s, %s, %s", *h.contentType,
				api.TypeLineProtocol, api.TypeArrow, api.TypeNDJSON)
		}
	}
	if h.contentEncoding != nil {
		switch strings.ToLower(strings.TrimSpace(*h.contentEncoding)) {
		case "", "identity":
		case "gzip":
			o.packing = gzipped
		case "zstd":
			o.packing = zstandard
		default:
			return api.Errorf(api.Invalid, "Content-Encoding %q is neither gzip nor zstd", *h.contentEncoding)
		}
	}
	return nil
}

func readTable(o *options, h *rawHeaders) *api.Error {
	if h.table == nil {
		return nil
	}
	if err := api.CheckTable(*h.table); err != nil {
		return api.Errorf(api.Invalid, "header %s: %v", api.HeaderTable, err)
	}
	o.table = *h.table
	return nil
}

func readExpected(o *options, h *rawHeaders) (err *api.Error) {
	if h.expected != nil {
		o.locked = true
		o.expected, err = headerNumber(api.HeaderExpectedTxID, *h.expected)
	}
	return err
}

func readDurability(o *options, h *rawHeaders) *api.Error {
	if h.durability != nil {
		d, err := api.ParseDurability(*h.durability)
		if err != nil {
			return api.Errorf(api.Invalid, "header %s: %q is neither object nor wal", api.HeaderDurability,
				*h.durability)
		}
		o.durability = d
	}
	return nil
}

func readKey(o *options, h *rawHeaders) *api.Error {
	if h.msgID == nil || *h.msgID == "" {
		return nil
	}
	if n := len(*h.msgID); n > api.KeyBytesMax {
		return api.Errorf(api.Invalid, "header %s has %d bytes, at most %d are allowed", api.HeaderMsgID, n,
			api.KeyBytesMax)
	}
	o.key = *h.msgID
	return nil
}

// readProducer reads the four headers of a producer's identity, which come together or are refused:
// an identity that is ignored would store a repeat twice.
func readProducer(o *options, h *rawHeaders) *api.Error {
	names := [...]string{
		api.HeaderProducer, api.HeaderProducerEpoch, api.HeaderSequence, api.HeaderSettled,
	}
	values := [...]*string{h.producer, h.producerEpoch, h.sequence, h.settle}
	there, missing := 0, ""
	for i, v := range values {
		if v != nil {
			there++
		} else if missing == "" {
			missing = names[i]
		}
	}
	if there == 0 {
		return nil
	}
	if missing != "" {
		return api.Errorf(api.Invalid, "header %s is missing: %s come together", missing,
			strings.Join(names[:], ", "))
	}
	if o.key != "" {
		return api.Errorf(api.Invalid, "%s and %s are two identities; a write has one", api.HeaderMsgID,
			api.HeaderProducer)
	}
	return o.readSequence(h)
}

func (o *options) readSequence(h *rawHeaders) (err *api.Error) {
	p := &o.producer
	if p.Epoch, err = headerNumber(api.HeaderProducerEpoch, *h.producerEpoch); err != nil {
		return err
	}
	if p.Sequence, err = headerNumber(api.HeaderSequence, *h.sequence); err != nil {
		return err
	}
	if p.Settled, err = headerNumber(api.HeaderSettled, *h.settle); err != nil {
		return err
	}
	if bad := api.CheckProducer(*h.producer); bad != nil {
		return api.Errorf(api.Invalid, "header %s: %v", api.HeaderProducer, bad)
	}
	p.Producer = *h.producer
	switch {
	case p.Epoch == 0:
		return api.Errorf(api.Invalid, "header %s: an epoch comes from registering and is at least 1",
			api.HeaderProducerEpoch)
	case p.Sequence == 0:
		return api.Errorf(api.Invalid, "header %s: sequences begin at 1", api.HeaderSequence)
	case p.Settled >= p.Sequence:
		return api.Errorf(api.Invalid, "header %s: %d is not below the sequence %d", api.HeaderSettled, p.Settled,
			p.Sequence)
	case p.Sequence-p.Settled > api.AnswersMax:
		// The store would keep more answers than it may, and refuse the whole group for it: the
		// producer alone must hear of that, not those whose writes travel with it.
		return api.OverloadedError(retryAfterMS, "header %s: %d is more than %d above settled",
			api.HeaderSequence, p.Sequence, api.AnswersMax)
	}
	return nil
}

func headerNumber(name, value string) (uint64, *api.Error) {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return 0, api.Errorf(api.Invalid,
			"header %s: %q is not a whole number from 0 to 18446744073709551615", name, value)
	}
	return n, nil
}
