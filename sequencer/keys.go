package sequencer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// Keys of the store, layout 1. docs/formats/store.md shows an example of each. A key is the byte of its kind, then its
// parts, encoded so that keys sort as their parts do:
//
//	number  one byte n, the bytes that it takes without leading zeros, then those, big-endian
//	name    its bytes and a 00, where more follows (no name contains 00); its bytes alone at the end
//
// Never change a kind's meaning: a new one gets a new number, and a change of layout a new layoutVersion.
const layoutVersion = 1

type kind byte

const (
	kindLayout    kind = 0x00 // → the layout's version
	kindCluster   kind = 0x01 // → the cluster's id, number of shards
	kindEpoch     kind = 0x02 // → the last epoch that was handed out
	kindTopology  kind = 0x03 // → the topology's version
	kindNode      kind = 0x04 // node → its registration
	kindTick      kind = 0x05 // → the tick counter
	kindLease     kind = 0x06 // lease → holder, counter
	kindTableID   kind = 0x07 // → the last table number that was handed out
	kindRemoved   kind = 0x08 // node → the epoch that it had when it was removed
	kindTable     kind = 0x10 // table → its number, head, number of columns
	kindColumn    kind = 0x11 // table number, place → type, fingerprint, name
	kindLogHead   kind = 0x20 // shard → the last index of its log
	kindLog       kind = 0x21 // shard, index → the commit record
	kindUnstored  kind = 0x22 // node, epoch, segment, shard, index → a record that is pending or void, since when
	kindProducer  kind = 0x30 // producer → its registration
	kindIdle      kind = 0x31 // tick, producer → it expires then
	kindAnswer    kind = 0x32 // incarnation, table number, sequence → answer; sequence 0: settled
	kindLeftover  kind = 0x33 // incarnation → its answers are to be cleared
	kindPlain     kind = 0x40 // table number, key → expiry, answer
	kindPlainIdle kind = 0x41 // tick, table number, key → it expires then
)

// shapes has the parts of each kind's key: n a number, s a name that more follows, t the rest.
var shapes = map[kind]string{
	kindLayout: "", kindCluster: "", kindEpoch: "", kindTopology: "", kindNode: "t", kindTick: "",
	kindLease: "t", kindTableID: "", kindRemoved: "t", kindTable: "t", kindColumn: "nn", kindLogHead: "n", kindLog: "nn",
	kindUnstored: "snnnn", kindProducer: "t", kindIdle: "nt", kindAnswer: "nnn", kindLeftover: "n",
	kindPlain: "nt", kindPlainIdle: "nnt",
}

func appendNumber(b []byte, v uint64) []byte {
	n := (bits.Len64(v) + 7) / 8
	b = append(b, byte(n))
	var full [8]byte
	binary.BigEndian.PutUint64(full[:], v)
	return append(b, full[8-n:]...)
}

func appendNumbers(b []byte, k kind, parts ...uint64) []byte {
	b = append(b, byte(k))
	for _, v := range parts {
		b = appendNumber(b, v)
	}
	return b
}

func appendName[T ~string | ~[]byte](b []byte, k kind, name T) []byte {
	return append(append(b, byte(k)), name...)
}

func appendColumnKey(b []byte, table, place uint64) []byte {
	return appendNumbers(b, kindColumn, table, place)
}

func appendLogKey(b []byte, shard int, index uint64) []byte {
	return appendNumbers(b, kindLog, uint64(shard), index)
}

// appendSegmentKey is the prefix of the keys of a segment's records that are not confirmed.
func appendSegmentKey(b []byte, node string, epoch, segment uint64) []byte {
	b = append(append(append(b, byte(kindUnstored)), node...), 0)
	return appendNumber(appendNumber(b, epoch), segment)
}

func appendUnstoredKey(b []byte, node string, epoch, segment uint64, shard int, index uint64) []byte {
	b = appendSegmentKey(b, node, epoch, segment)
	return appendNumber(appendNumber(b, uint64(shard)), index)
}

func appendIdleKey(b []byte, tick uint64, producer string) []byte {
	return append(appendNumbers(b, kindIdle, tick), producer...)
}

func appendAnswerKey(b []byte, incarnation, table, sequence uint64) []byte {
	return appendNumbers(b, kindAnswer, incarnation, table, sequence)
}

func appendPlainKey(b []byte, table uint64, key string) []byte {
	return append(appendNumbers(b, kindPlain, table), key...)
}

func appendPlainIdleKey(b []byte, tick, table uint64, key string) []byte {
	return append(appendNumbers(b, kindPlainIdle, tick, table), key...)
}

// successor is the first key behind all that begin with prefix.
func successor(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	panic("no key has only ff bytes")
}

var errKey = errors.New("not a key of this layout")

// parts is a key taken apart: its numbers and its name, as its kind's shape has them.
type parts struct {
	kind    kind
	numbers []uint64
	name    string
}

// parseKey takes a key apart; it accepts exactly what the functions above make.
func parseKey(key []byte) (parts, error) {
	if len(key) == 0 {
		return parts{}, errKey
	}
	p := parts{kind: kind(key[0])}
	shape, known := shapes[p.kind]
	if !known {
		return parts{}, fmt.Errorf("%w: %x", errKey, key)
	}
	rest := key[1:]
	for _, part := range []byte(shape) {
		switch part {
		case 'n':
			v, n := parseNumber(rest)
			if n == 0 {
				return parts{}, fmt.Errorf("%w: %x", errKey, key)
			}
			p.numbers, rest = append(p.numbers, v), rest[n:]
		case 's':
			name, after, found := bytes.Cut(rest, []byte{0})
			if !found {
				return parts{}, fmt.Errorf("%w: %x", errKey, key)
			}
			p.name, rest = string(name), after
		case 't':
			p.name, rest = string(rest), nil
		}
	}
	if len(rest) > 0 {
		return parts{}, fmt.Errorf("%w: %x", errKey, key)
	}
	return p, nil
}

// parseNumber returns the number at b's beginning and how many bytes it takes, 0 if there is none.
func parseNumber(b []byte) (v uint64, n int) {
	if len(b) == 0 || b[0] > 8 || len(b) < 1+int(b[0]) || b[0] > 0 && b[1] == 0 {
		return 0, 0
	}
	n = 1 + int(b[0])
	for _, c := range b[1:n] {
		v = v<<8 | uint64(c)
	}
	return v, n
}
