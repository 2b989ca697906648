package api

// ConfirmRequest states that a segment is in the object store: its pending records become confirmed. It is a fact, so it
// needs no epoch and may be sent by anybody who has put the segment there or has seen it there, as often as he likes.
type ConfirmRequest struct {
	Segment SegmentID `json:"segment"`
}

// ConfirmAnswer says how many records became confirmed. More says that the segment has further ones, which did not fit
// into the transaction: the request is sent again.
type ConfirmAnswer struct {
	Confirmed int  `json:"confirmed"`
	More      bool `json:"more,omitempty"`
}

// VoidRequest gives up a pending record for good, by an operator's word: the one at this place of the table's log, which
// has this TxID. Refused: NotFound, Conflict if the record is confirmed or its epoch is not fenced. Voiding what is void
// is no error.
type VoidRequest struct {
	Table string `json:"table"`
	TxID  uint64 `json:"txid"`
	Index uint64 `json:"index"` // of the record in the log of the table's shard: see PendingRecord
}

// VoidAnswer is what was lost.
type VoidAnswer struct {
	First uint64 `json:"first"` // TxID
	Last  uint64 `json:"last"`
	Rows  uint64 `json:"rows"`
}

// PendingPlace is where a pending record stands in the list of them.
type PendingPlace struct {
	Segment SegmentID `json:"segment"`
	Shard   int       `json:"shard"`
	Index   uint64    `json:"index"` // in the shard's log
}

// PendingRequest lists pending records, by their segments.
type PendingRequest struct {
	Node   string        `json:"node,omitempty"`   // only those of this node's segments; "": of all
	Fenced bool          `json:"fenced,omitempty"` // only those of fenced epochs
	After  *PendingPlace `json:"after,omitempty"`  // the last one of the page before
	Limit  int           `json:"limit,omitempty"`  // at most 1,000; 0: 100
}

// PendingAnswer is a page of pending records, which may have fewer than asked for. Next, if not nil, is the After of the
// next page.
type PendingAnswer struct {
	Tick    uint64          `json:"tick"` // now; a tick is about a second
	Records []PendingRecord `json:"records"`
	Next    *PendingPlace   `json:"next,omitempty"`
}

// PendingRecord is a commit record whose segment is on its holders' disks only.
type PendingRecord struct {
	PendingPlace
	Table   string   `json:"table"`
	First   uint64   `json:"first"` // TxID
	Last    uint64   `json:"last"`
	Rows    uint64   `json:"rows"`
	Since   uint64   `json:"since"`  // tick of its commit
	Fenced  bool     `json:"fenced"` // so is its segment's epoch: nobody but a holder will upload it
	Holders []string `json:"holders"`
}
