package api

import "strings"

// Role of a node.
type Role string

const (
	Primary Role = "primary"
	Replica Role = "replica"
)

// State of a node.
type State string

const (
	Live       State = "live"
	Draining   State = "draining"
	Stopped    State = "stopped" // left on purpose: nobody stands in for it
	Recovering State = "recovering"
	Dead       State = "dead"
)

// Node is one member of the topology.
type Node struct {
	ID    string `json:"id"`
	Role  Role   `json:"role"`
	State State  `json:"state"`
	Epoch uint64 `json:"epoch"`
	HTTP  string `json:"http"` // host:port where it serves reads, behind HTTPSPrefix if that is over TLS
	// StandsInFor is the id of the failed primary whose place this node has taken.
	StandsInFor string `json:"stands_in_for,omitempty"`
}

// HTTPSPrefix is in front of a node's address where it serves over TLS.
const HTTPSPrefix = "https://"

// HTTPURL is the URL of an address as nodes tell it.
func HTTPURL(address string) string {
	if strings.HasPrefix(address, HTTPSPrefix) {
		return address
	}
	return "http://" + address
}

// Topology is the whole membership at one version. It is sorted by id.
type Topology struct {
	Cluster string `json:"cluster"` // random id, given when the store was created
	Version uint64 `json:"version"`
	Shards  int    `json:"shards"`
	Nodes   []Node `json:"nodes"`
}

// Node finds a member by its id.
func (t *Topology) Node(id string) (Node, bool) {
	for _, n := range t.Nodes {
		if n.ID == id {
			return n, true
		}
	}
	return Node{}, false
}

// Shard is the shard of a table: FNV-1a over its name. Never change it: it decides where logs are stored.
func Shard(table string, shards int) int {
	h := uint64(14695981039346656037)
	for i := range len(table) {
		h = (h ^ uint64(table[i])) * 1099511628211
	}
	return int(h % uint64(shards))
}

// RegisterNodeRequest is what a node's process sends at its start. Registering fences its earlier epochs.
type RegisterNodeRequest struct {
	ID   string `json:"id"`
	Role Role   `json:"role"`
	// Mark is the random mark of the data folder. Another mark than the stored one is refused (Forbidden): a new
	// disk is a new node.
	Mark string `json:"mark"`
	HTTP string `json:"http"`
	// Attempt is random per process start. A registration that is repeated because its answer was lost gets the
	// epoch that it was given first.
	Attempt string `json:"attempt"`
	// Replaces is the epoch that this same process had before, 0 if none: it is refused (Fenced) unless that is still the
	// registered one, so that two processes of one node never take turns at fencing each other.
	Replaces uint64 `json:"replaces,omitempty"`
}

// RegisterNodeAnswer carries the new epoch; the node is Recovering.
type RegisterNodeAnswer struct {
	Epoch    uint64   `json:"epoch"`
	Topology Topology `json:"topology"`
}

// NodeStateRequest changes a node's state, if its epoch is still the registered one (else Fenced).
type NodeStateRequest struct {
	ID    string `json:"id"`
	Epoch uint64 `json:"epoch"`
	State State  `json:"state"` // Live, Draining or Stopped
}

// NodeStateAnswer is the topology after the change.
type NodeStateAnswer struct {
	Topology Topology `json:"topology"`
}

// RegisterProducerRequest registers a producer under a new epoch, which fences its earlier ones.
type RegisterProducerRequest struct {
	ID      string `json:"id"`
	Attempt string `json:"attempt"` // as in RegisterNodeRequest
	// Last is the epoch that the producer had when it wrote down what it has not had an answer to; 0: it has nothing
	// written down. Without it, a process that dies between registering and its answer would hide from the next one
	// that the records were gone.
	Last uint64 `json:"last,omitempty"`
	// User is the NATS user in whose inbox the answer will be, "" if users have none of their own. Whoever receives the
	// request sets it: no payload has it.
	User string `json:"-"`
}

// RegisterProducerAnswer says whether the producer's records were still there: if not, what it may have sent before
// has an unknown outcome.
type RegisterProducerAnswer struct {
	Epoch uint64 `json:"epoch"`
	Known bool   `json:"known"`
	// RenewSeconds is how often the producer must renew, in seconds.
	RenewSeconds int `json:"renew_seconds"`
}

// RenewProducerRequest keeps a living producer from expiring. Refused as Fenced or Expired.
type RenewProducerRequest struct {
	ID    string `json:"id"`
	Epoch uint64 `json:"epoch"`
}

// SegmentStateRequest asks what the store knows of a segment.
type SegmentStateRequest struct {
	Segment SegmentID `json:"segment"`
}

// SegmentStateAnswer is read in one transaction.
type SegmentStateAnswer struct {
	Fenced      bool     `json:"fenced"`      // the segment's epoch is not its node's current one
	Unconfirmed []uint64 `json:"unconfirmed"` // log indexes (shard<<48 | index) of its pending records
	Voided      []uint64 `json:"voided,omitempty"`
}

// SchemaRequest grows a table's schema by the columns that it has not, creating it if need be; without columns it
// only reads. A column of another type is Invalid and changes nothing.
type SchemaRequest struct {
	Table   string   `json:"table"`
	Columns []Column `json:"columns,omitempty"` // without the timestamp
}

// SchemaAnswer is the whole schema, in order, the timestamp first; empty if the table does not exist.
type SchemaAnswer struct {
	Columns []Column `json:"columns"`
}

// TablesAnswer lists the tables that have a transaction, by name.
type TablesAnswer struct {
	Tables []TableHead `json:"tables"`
}

// TableHead is a table as the sequencer knows it.
type TableHead struct {
	Name    string `json:"name"`
	Head    uint64 `json:"head"`
	Columns int    `json:"columns"`
}

// TablesRequest lists tables after a name, at most Limit of them (1,000 if 0), or one table alone.
type TablesRequest struct {
	Only  string `json:"only,omitempty"`
	After string `json:"after,omitempty"`
	Limit int    `json:"limit,omitempty"`
}

// Heartbeat is what a node says five times a second.
type Heartbeat struct {
	ID    string `json:"id"`
	Role  Role   `json:"role"`
	State State  `json:"state"`
	Epoch uint64 `json:"epoch"`
	HTTP  string `json:"http"`
	// Load is admitted and unanswered bytes over their bound, 0 to 1.
	Load      float64 `json:"load"`
	FreeBytes int64   `json:"free_bytes"` // what the primary would admit now
	Senders   int     `json:"senders"`    // distinct senders heard in the last second
	Lag       uint64  `json:"lag"`        // confirmed log records that it has not applied
	// Unable is why this primary cannot take writes now; "" if it can. It is not written to while another one can.
	Unable string `json:"unable,omitempty"`
	Standing
}

// Standing says which of a node's tables stand: it cannot apply or read their rows, because a file or an object is
// damaged or gone. All others go on.
type Standing struct {
	TablesStanding int      `json:"tables_standing"`
	StandingNames  []string `json:"standing_names,omitempty"` // the first StandingNamesMax of them, by name
}

// StandingNamesMax bounds the names in a heartbeat.
const StandingNamesMax = 8

// NodeInfo is the answer of a node to `info`.
type NodeInfo struct {
	Node
	Lag     uint64            `json:"lag"`
	Load    float64           `json:"load"`
	Applied map[string]uint64 `json:"applied,omitempty"` // log index by shard
	Version string            `json:"version"`           // of the program
	Unable  string            `json:"unable,omitempty"`  // as in Heartbeat
	Standing
}

// DigestRequest asks a node for a table's digest at a TxID; 0 asks for the applied one.
type DigestRequest struct {
	Table string `json:"table"`
	TxID  uint64 `json:"txid,omitempty"`
}

// DigestAnswer is the digest at TxID, the largest record boundary at or below the one that was asked for.
type DigestAnswer struct {
	Table   string `json:"table"`
	Applied uint64 `json:"applied"` // the node's applied TxID of the table
	TxID    uint64 `json:"txid"`    // where the digest stands
	Digest  string `json:"digest"`  // hexadecimal SHA-256
}

// NodeTables is the answer to `GET /tables`, by name.
type NodeTables struct {
	Tables []NodeTable `json:"tables"`
}

// NodeTable is one table as a node has it.
type NodeTable struct {
	Name    string `json:"name"`
	Applied uint64 `json:"applied"` // TxID
	Rows    uint64 `json:"rows"`
	Digest  string `json:"digest"`
	// Problem is why the table stands on this node, or has rows that cannot be read; "" if all is well.
	Problem string `json:"problem,omitempty"`
}

// HeaderSender names who sends a group to a primary, so that it can count its senders.
const HeaderSender = "Braid-Sender"
