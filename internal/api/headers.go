package api

// Headers of a write request and of its answer.
const (
	HeaderContentType     = "Content-Type"
	HeaderContentEncoding = "Content-Encoding"
	HeaderMsgID           = "Nats-Msg-Id" // a plain key, scoped to the table
	HeaderTable           = "Braid-Table"
	HeaderExpectedTxID    = "Braid-Expected-TxID" // 0: the table has no transaction yet
	HeaderDurability      = "Braid-Durability"    // object or wal
	HeaderProducer        = "Braid-Producer"
	HeaderProducerEpoch   = "Braid-Producer-Epoch"
	HeaderSequence        = "Braid-Sequence"
	HeaderSettled         = "Braid-Settled"
	HeaderTxID            = "Braid-TxID" // of an answer about one table; of a read: complete up to here
	HeaderErrorCode       = "Nats-Service-Error-Code"
	HeaderError           = "Nats-Service-Error"
)

// Values of Content-Type; parameters behind a semicolon are ignored.
const (
	TypeLineProtocol = "text/plain"
	TypeArrow        = "application/vnd.apache.arrow.stream"
	TypeNDJSON       = "application/x-ndjson"
	TypeCSV          = "text/csv"
	TypeJSON         = "application/json"
)

// Durability says when a write is durable, which it must be before it is committed.
type Durability uint8

const (
	DurabilityObject Durability = 0 // its segment is in the object store
	DurabilityWAL    Durability = 1 // its segment is synced on several nodes' disks
)

// ParseDurability reads the header's value.
func ParseDurability(s string) (Durability, error) {
	switch s {
	case "object":
		return DurabilityObject, nil
	case "wal":
		return DurabilityWAL, nil
	}
	return 0, Errorf(Invalid, "durability %q is neither object nor wal", s)
}

func (d Durability) String() string {
	if d == DurabilityWAL {
		return "wal"
	}
	return "object"
}

// WriteAnswer is the body of an accepted request.
type WriteAnswer struct {
	Results []WriteResult `json:"results"`
}

// WriteResult is what became of one table's write.
type WriteResult struct {
	Table string `json:"table"`
	TxID  uint64 `json:"txid,omitempty"`
	Rows  int    `json:"rows,omitempty"`
	Error *Error `json:"error,omitempty"`
}
