package hold

import (
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// finding is what a look at a segment has found. The registry's part of it is one transaction's.
type finding struct {
	api.SegmentStateAnswer
	stored  bool // the object store has the segment
	unknown bool // the object store did not answer
	age     time.Duration
	asked   bool // somebody wants the segment settled now
}

// action is what is done with a copy.
type action uint8

const (
	keep    action = iota // look again later
	settle                // upload it if need be, confirm its records if it has pending ones, then let go
	discard               // nothing refers to it, and nothing can come to
)

// uploadAfter is how long a pending segment is left to its living primary. Uploading it is right at any time; it is only
// a second put.
const uploadAfter = 15 * time.Second

// judge is the rule for a copy (DESIGN.md section 5). A copy goes only if the object store has the segment, or if its
// epoch is fenced and no record of it is pending. While the epoch lives its primary may still commit what no record names
// yet, naming this node as a holder; once it is fenced, what the registry says stays true.
func judge(f finding) action {
	pending := len(f.Unconfirmed) > 0
	switch {
	case f.stored:
		return settle
	case f.Fenced && !pending:
		return discard
	case f.unknown || !pending:
		return keep
	case f.Fenced || f.asked || f.age >= uploadAfter:
		return settle
	}
	return keep
}
