package api

import (
	"fmt"
	"strconv"
	"strings"
)

// SegmentID names a segment: the node that sealed it, under which epoch, and its number there, from 1.
type SegmentID struct {
	Node     string `json:"node"`
	Epoch    uint64 `json:"epoch"`
	Sequence uint64 `json:"sequence"`
}

// String is the segment's short name in logs and messages: node/epoch/sequence.
func (s SegmentID) String() string { return fmt.Sprintf("%s/%d/%d", s.Node, s.Epoch, s.Sequence) }

// Key is the segment's key in the object store, and its path below a node's segment folder's parent.
func (s SegmentID) Key() string { return "wal/" + s.String() + ".seg" }

// ParseSegmentKey is the inverse of Key.
func ParseSegmentKey(key string) (SegmentID, error) {
	rest, ok1 := strings.CutPrefix(key, "wal/")
	rest, ok2 := strings.CutSuffix(rest, ".seg")
	parts := strings.Split(rest, "/")
	if !ok1 || !ok2 || len(parts) != 3 {
		return SegmentID{}, fmt.Errorf("%s is not a segment's key", Quote(key))
	}
	epoch, err1 := strconv.ParseUint(parts[1], 10, 64)
	sequence, err2 := strconv.ParseUint(parts[2], 10, 64)
	id := SegmentID{Node: parts[0], Epoch: epoch, Sequence: sequence}
	if err1 != nil || err2 != nil || CheckNode(id.Node) != nil || id.Key() != key {
		return SegmentID{}, fmt.Errorf("%s is not a segment's key", Quote(key))
	}
	return id, nil
}
