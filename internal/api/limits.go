package api

// Limits that hold unless a configuration says otherwise. Sizes are in bytes.
const (
	RequestBytesMax    = 8 << 20  // a request's payload as it arrives
	UnpackedBytesMax   = 64 << 20 // the same after decompression
	ColumnsMax         = 2000     // of a table, the timestamp included
	NameBytesMax       = 127      // of a table or a column
	GroupBytesMax      = 4 << 20  // an encoded group, its frame included
	SegmentBytesMax    = 16 << 20 // a segment file
	GroupWritesMax     = 1000     // writes merged into one group
	GroupIdentityBytes = 64 << 10 // identities of all writes of a group together
	CommitGroupsMax    = 512      // groups in one commit request
	CommitBytesMax     = 256 << 10
	KeyBytesMax        = 255      // a plain key (Nats-Msg-Id)
	UnansweredBytesMax = 32 << 20 // what one sender may have unanswered at one primary
	AnswersMax         = 1024     // answers kept above `settled` for one producer and table
)

// Settings that the NATS server must have at least; Braid's shipped configuration sets both.
const (
	NATSMaxPayload = 8 << 20
	NATSMaxPending = 256 << 20
)
