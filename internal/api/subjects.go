package api

import (
	"fmt"
	"strings"
)

// Subjects names every subject of one cluster. Namespace goes in front of all of them, so that several clusters
// can share one NATS; "" is the cluster without a name.
type Subjects struct {
	Namespace string
	// Inboxes are where services answer to.
	Inboxes Inboxes
}

// CheckNamespace says why ns cannot be a namespace, or nil. It is one NATS token, and part of a stream's name.
func CheckNamespace(ns string) error {
	if strings.ContainsAny(ns, ". */>\\\t\r\n") {
		return fmt.Errorf("namespace %s must not contain dots, white space, wildcards or slashes", Quote(ns))
	}
	return nil
}

func (s Subjects) of(subject string) string {
	if s.Namespace == "" {
		return subject
	}
	return s.Namespace + "." + subject
}

// Where clients write. A table's dots are dots of the subject.
func (s Subjects) Ingest() string                  { return s.of("ingest") }
func (s Subjects) IngestTable(table string) string { return s.of("ingest." + table) }
func (s Subjects) PrimaryIngest(node string) string {
	return s.of("primary." + node + ".ingest")
}

// PrimaryIngestTable is a write to one table through the primary that the client chose.
func (s Subjects) PrimaryIngestTable(node, table string) string {
	return s.of("primary." + node + ".ingest." + table)
}

// ParseIngest takes a subject of the write path apart: node is "" for the cluster address, table is "" where the
// payload names the tables. ok is false for any other subject.
func (s Subjects) ParseIngest(subject string) (node, table string, ok bool) {
	if s.Namespace != "" {
		if subject, ok = strings.CutPrefix(subject, s.Namespace+"."); !ok {
			return "", "", false
		}
	}
	if rest, found := strings.CutPrefix(subject, "primary."); found {
		if node, subject, ok = strings.Cut(rest, "."); !ok {
			return "", "", false
		}
	}
	if subject == "ingest" {
		return node, "", true
	}
	table, ok = strings.CutPrefix(subject, "ingest.")
	return node, table, ok
}

// What services say to each other.
func (s Subjects) PrimaryWrite(node string) string { return s.of("braid.primary." + node + ".write") }
func (s Subjects) NodeInfo(node string) string     { return s.of("braid.node." + node + ".info") }
func (s Subjects) NodeDrain(node string) string    { return s.of("braid.node." + node + ".drain") }
func (s Subjects) NodeDigest(node string) string   { return s.of("braid.node." + node + ".digest") }
func (s Subjects) NodeHold(node string) string     { return s.of("braid.node." + node + ".hold") }
func (s Subjects) Commit(shard int) string {
	return s.of(fmt.Sprintf("braid.sequencer.commit.%d", shard))
}
func (s Subjects) Log(shard int) string { return s.of(fmt.Sprintf("braid.sequencer.log.%d", shard)) }
func (s Subjects) Heads() string        { return s.of("braid.sequencer.heads") }
func (s Subjects) Schema() string       { return s.of("braid.sequencer.schema") }
func (s Subjects) Tables() string       { return s.of("braid.sequencer.tables") }
func (s Subjects) SequencerAlive(id string) string {
	return s.of("braid.sequencer.alive." + id)
}
func (s Subjects) RegisterNode() string     { return s.of("braid.registry.node") }
func (s Subjects) NodeState() string        { return s.of("braid.registry.state") }
func (s Subjects) FailNode() string         { return s.of("braid.registry.fail") }
func (s Subjects) StandIn() string          { return s.of("braid.registry.standin") }
func (s Subjects) Promote() string          { return s.of("braid.registry.promote") }
func (s Subjects) Demote() string           { return s.of("braid.registry.demote") }
func (s Subjects) Remove() string           { return s.of("braid.registry.remove") }
func (s Subjects) Lease() string            { return s.of("braid.registry.lease") }
func (s Subjects) RegisterProducer() string { return s.of("braid.registry.producer") }
func (s Subjects) RenewProducer() string    { return s.of("braid.registry.renew") }
func (s Subjects) TopologyGet() string      { return s.of("braid.registry.topology") }
func (s Subjects) SegmentState() string     { return s.of("braid.registry.segment") }
func (s Subjects) Confirm() string          { return s.of("braid.registry.confirm") }
func (s Subjects) Void() string             { return s.of("braid.registry.void") }
func (s Subjects) Pending() string          { return s.of("braid.registry.pending") }

// Announcements: nobody answers.
func (s Subjects) Heartbeat(node string) string { return s.of("braid.heartbeat." + node) }
func (s Subjects) Commits(shard int) string     { return s.of(fmt.Sprintf("braid.commits.%d", shard)) }
func (s Subjects) Topology() string             { return s.of("braid.topology") }
