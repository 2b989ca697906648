package sequencer

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
)

// examples are those of docs/formats/store.md, in its order.
var examples = []struct {
	name string
	key  []byte
}{
	{"layout", appendNumbers(nil, kindLayout)},
	{"cluster", appendNumbers(nil, kindCluster)},
	{"epoch", appendNumbers(nil, kindEpoch)},
	{"topology", appendNumbers(nil, kindTopology)},
	{"node", appendName(nil, kindNode, "p1")},
	{"tick", appendNumbers(nil, kindTick)},
	{"lease", appendName(nil, kindLease, api.TicksLease)},
	{"table counter", appendNumbers(nil, kindTableID)},
	{"removed", appendName(nil, kindRemoved, "p1")},
	{"table", appendName(nil, kindTable, "cpu")},
	{"column", appendColumnKey(nil, 3, 1)},
	{"log head", appendNumbers(nil, kindLogHead, 0)},
	{"log", appendLogKey(nil, 0, 300)},
	{"unconfirmed", appendUnstoredKey(nil, "p1", 7, 2, 0, 300)},
	{"producer", appendName(nil, kindProducer, "g1")},
	{"idle", appendIdleKey(nil, 604800, "g1")},
	{"settled", appendAnswerKey(nil, 9, 3, 0)},
	{"answer", appendAnswerKey(nil, 9, 3, 255)},
	{"leftover", appendNumbers(nil, kindLeftover, 9)},
	{"plain key", appendPlainKey(nil, 3, "abc")},
	{"plain index", appendPlainIdleKey(nil, 120, 3, "abc")},
}

// TestExamplesOfThePage: each row of the page's table of keys is what the code makes, and no kind is missing.
func TestExamplesOfThePage(t *testing.T) {
	page, err := os.ReadFile("../docs/formats/store.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| ([a-z ]+?) *\\| `([0-9a-f ]+)` *\\|")
	var want, got []string
	kinds := map[kind]bool{}
	for _, e := range examples {
		want = append(want, e.name+": "+spaced(e.key))
		kinds[kind(e.key[0])] = true
	}
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		got = append(got, m[1]+": "+m[2])
	}
	if !slices.Equal(got, want) {
		t.Errorf("the page has\n%s\nthe code makes\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(kinds) != len(shapes) {
		t.Errorf("%d kinds have an example, there are %d", len(kinds), len(shapes))
	}
}

func spaced(b []byte) string {
	var out []string
	for _, c := range b {
		out = append(out, hex.EncodeToString([]byte{c}))
	}
	return strings.Join(out, " ")
}

func TestParseKeyRefusesWhatNothingMakes(t *testing.T) {
	for _, key := range [][]byte{
		{}, {0x7f}, {byte(kindEpoch), 1}, {byte(kindLog)}, {byte(kindLog), 9}, {byte(kindLog), 1}, {byte(kindLog), 1, 0},
		{byte(kindLog), 0}, append(appendLogKey(nil, 0, 1), 0), {byte(kindUnstored), 'p'},
	} {
		if p, err := parseKey(key); err == nil {
			t.Errorf("%x is read as %+v", key, p)
		}
	}
}

// appendParts encodes what parseKey took apart.
func appendParts(p parts) []byte {
	b := []byte{byte(p.kind)}
	numbers := p.numbers
	for _, part := range []byte(shapes[p.kind]) {
		switch part {
		case 'n':
			b, numbers = appendNumber(b, numbers[0]), numbers[1:]
		case 's':
			b = append(append(b, p.name...), 0)
		case 't':
			b = append(b, p.name...)
		}
	}
	return b
}

// comparePart compares keys of one kind as their parts compare.
func compareParts(a, b parts) int {
	na, nb := a.numbers, b.numbers
	for _, part := range []byte(shapes[a.kind]) {
		c := strings.Compare(a.name, b.name)
		if part == 'n' {
			c, na, nb = cmp.Compare(na[0], nb[0]), na[1:], nb[1:]
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// FuzzKeys: keys made of any parts read back as those, and sort as they do.
func FuzzKeys(f *testing.F) {
	for _, e := range examples {
		p, err := parseKey(e.key)
		if err != nil {
			f.Fatal(err)
		}
		n := append(p.numbers, 0, 0, 0, 0)
		f.Add(byte(p.kind), p.name, n[0], n[1], n[2], n[3], "other", uint64(1), n[1], uint64(256), n[3])
	}
	f.Fuzz(func(t *testing.T, k byte, name1 string, a1, b1, c1, d1 uint64, name2 string, a2, b2, c2, d2 uint64) {
		shape, known := shapes[kind(k)]
		if !known {
			return
		}
		if strings.Contains(shape, "s") && strings.ContainsRune(name1+name2, 0) {
			return // no name has it
		}
		count := strings.Count(shape, "n")
		one := parts{kind: kind(k), name: name1, numbers: []uint64{a1, b1, c1, d1}[:count]}
		two := parts{kind: kind(k), name: name2, numbers: []uint64{a2, b2, c2, d2}[:count]}
		if !strings.ContainsAny(shape, "st") {
			one.name, two.name = "", ""
		}
		key1, key2 := appendParts(one), appendParts(two)
		for _, c := range []struct {
			p   parts
			key []byte
		}{{one, key1}, {two, key2}} {
			back, err := parseKey(c.key)
			if err != nil || back.name != c.p.name || !slices.Equal(back.numbers, c.p.numbers) {
				t.Fatalf("%+v reads back as %+v, %v", c.p, back, err)
			}
		}
		if got, want := bytes.Compare(key1, key2), compareParts(one, two); got != want {
			t.Fatalf("%x and %x compare %d, their parts %d", key1, key2, got, want)
		}
	})
}

// FuzzParseKey: whatever is read as a key is what its parts make.
func FuzzParseKey(f *testing.F) {
	for _, e := range examples {
		f.Add(e.key)
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		if p, err := parseKey(key); err == nil && !bytes.Equal(appendParts(p), key) {
			t.Fatalf("%x is read as %+v, which makes %x", key, p, appendParts(p))
		}
	})
}
