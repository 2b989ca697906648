package sequencer

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// Values of the store begin with a byte that names their version, 1 unless it says otherwise below;
// docs/formats/store.md has their parts. A new version only adds parts at the end, and the older ones are still read.
// Numbers are uvarints, texts have their length in front. A commit record is as api.AppendLogRecord makes it.
const valueVersion = 1

var errValue = errors.New("value is damaged or of a newer version")

// value reads one; its first failure sticks.
type value struct {
	b       []byte
	ok      bool
	version byte
}

func openValue(b []byte) *value { return openVersion(b, valueVersion) }

// openVersion opens a value of any version up to newest.
func openVersion(b []byte, newest byte) *value {
	if len(b) == 0 || b[0] < valueVersion || b[0] > newest {
		return &value{}
	}
	return &value{b: b[1:], ok: true, version: b[0]}
}

func (v *value) number() uint64 {
	n, size := binary.Uvarint(v.b)
	if size <= 0 {
		v.ok, v.b = false, nil
		return 0
	}
	v.b = v.b[size:]
	return n
}

func (v *value) take(n uint64) []byte {
	if n > uint64(len(v.b)) {
		v.ok, v.b = false, nil
		return nil
	}
	out := v.b[:n]
	v.b = v.b[n:]
	return out
}

func (v *value) text() string { return string(v.take(v.number())) }
func (v *value) flag() bool   { return v.number() == 1 }

func (v *value) end(what string) error {
	if !v.ok || len(v.b) > 0 {
		return fmt.Errorf("%s: %w", what, errValue)
	}
	return nil
}

func newValue(numbers ...uint64) []byte {
	b := make([]byte, 1, 1+4*len(numbers))
	b[0] = valueVersion
	for _, n := range numbers {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func appendText(b []byte, texts ...string) []byte {
	for _, s := range texts {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return b
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// getNumber reads a counter; 0 if it is absent.
func getNumber(r kv.Reader, key []byte) (uint64, error) {
	raw, err := r.Get(key)
	if raw == nil || err != nil {
		return 0, err
	}
	v := openValue(raw)
	n := v.number()
	return n, v.end("counter")
}

// increment adds one to a counter and returns it.
func increment(t kv.Txn, k kind) (uint64, error) {
	key := appendNumbers(nil, k)
	n, err := getNumber(t, key)
	if err != nil {
		return 0, err
	}
	t.Set(key, newValue(n+1))
	return n + 1, nil
}

// node is a node's registration.
type node struct {
	api.Node
	fenced        bool // failover has fenced its epoch, and no newer process has registered
	mark, attempt string

	// configured is the role that its process registered with; decided the one that an operator gave it instead, ""
	// if none did. Its role is another than these only while it stands in for a primary.
	configured, decided api.Role
	// joined is the epoch of its first registration since it was removed, 0 if it never was: nothing that it held
	// before then is sure to be on its disk.
	joined uint64
}

// nodeVersion 2 added configured, decided and joined.
const nodeVersion = 2

func (n *node) encode() []byte {
	b := newValue(n.Epoch, flag(n.fenced))
	b[0] = nodeVersion
	b = appendText(b, string(n.Role), string(n.State), n.HTTP, n.StandsInFor, n.mark, n.attempt)
	b = appendText(b, string(n.configured), string(n.decided))
	return binary.AppendUvarint(b, n.joined)
}

func decodeNode(id string, raw []byte) (node, error) {
	v := openVersion(raw, nodeVersion)
	n := node{Node: api.Node{ID: id, Epoch: v.number()}, fenced: v.flag()}
	n.Role, n.State = api.Role(v.text()), api.State(v.text())
	n.HTTP, n.StandsInFor, n.mark, n.attempt = v.text(), v.text(), v.text(), v.text()
	n.configured = n.Role
	if v.version >= 2 {
		n.configured, n.decided = api.Role(v.text()), api.Role(v.text())
		n.joined = v.number()
	}
	return n, v.end("node " + id)
}

// ownRole is the node's role when it stands in for nobody.
func (n *node) ownRole() api.Role {
	if n.decided != "" {
		return n.decided
	}
	return n.configured
}

// getNode returns nil if the node was never registered.
func getNode(r kv.Reader, id string) (*node, error) {
	raw, err := r.Get(appendName(nil, kindNode, id))
	if raw == nil || err != nil {
		return nil, err
	}
	n, err := decodeNode(id, raw)
	return &n, err
}

// producer is a producer's registration. Its incarnation is the epoch of the first registration since it was last
// unknown; its answers are kept under it, so that those of an expired registration can never answer for a later one.
type producer struct {
	epoch       uint64
	incarnation uint64
	known       bool   // what its last registration was told
	renewed     uint64 // tick, rounded: see Core.renewal
	expires     uint64 // tick under which it stands in the index of idle ones
	attempt     string
	owner       string // the NATS user it belongs to, "" if none was known yet
}

// producerVersion 2 added owner.
const producerVersion = 2

func (p *producer) encode() []byte {
	b := newValue(p.epoch, p.incarnation, flag(p.known), p.renewed, p.expires)
	b[0] = producerVersion
	return appendText(b, p.attempt, p.owner)
}

// getProducer returns nil if the producer is not registered.
func getProducer(r kv.Reader, id string) (*producer, error) {
	raw, err := r.Get(appendName(nil, kindProducer, id))
	if raw == nil || err != nil {
		return nil, err
	}
	v := openVersion(raw, producerVersion)
	p := &producer{epoch: v.number(), incarnation: v.number(), known: v.flag(), renewed: v.number(),
		expires: v.number(), attempt: v.text()}
	if v.version >= 2 {
		p.owner = v.text()
	}
	return p, v.end("producer " + id)
}

// table is what the store knows of a table besides its columns.
type table struct {
	id, head, columns uint64
}

func (t *table) encode() []byte { return newValue(t.id, t.head, t.columns) }

func decodeTable(name string, raw []byte) (table, error) {
	v := openValue(raw)
	t := table{id: v.number(), head: v.number(), columns: v.number()}
	return t, v.end("table " + name)
}

// getTable returns the zero table if there is none; real ones have an id.
func getTable(r kv.Reader, name string) (table, error) {
	raw, err := r.Get(appendName(nil, kindTable, name))
	if raw == nil || err != nil {
		return table{}, err
	}
	return decodeTable(name, raw)
}

// column is a column with the fingerprint of the schema that ends with it.
type column struct {
	api.Column
	print api.Fingerprint
}

func (c *column) encode() []byte {
	b := append(newValue(uint64(c.Type)), c.print[:]...)
	return append(b, c.Name...)
}

func decodeColumn(raw []byte) (column, error) {
	v := openValue(raw)
	c := column{Column: api.Column{Type: api.ColumnType(v.number())}}
	copy(c.print[:], v.take(api.FingerprintSize))
	c.Name = string(v.take(uint64(len(v.b))))
	return c, v.end("column")
}
