package loadtest

import (
	"math/rand/v2"
	"strconv"
)

// The shape of the Time Series Benchmark Suite's cpu-only use case: 4,000 hosts with ten tags and ten integer fields
// that walk between 0 and 100, a row every ten seconds for each of them, from 2016-01-01T00:00:00Z.
const (
	hosts         = 4000
	firstTime     = int64(1451606400_000000000)
	roundTime     = int64(10_000000000)
	timeDigits    = 19
	cpuRoundsRing = 48 // 67 MB of line protocol
)

var regions = []struct{ name, zones string }{
	{"us-east-1", "abce"}, {"us-west-1", "ab"}, {"us-west-2", "abc"}, {"eu-west-1", "abc"}, {"eu-central-1", "ab"},
	{"ap-southeast-1", "ab"}, {"ap-southeast-2", "ab"}, {"ap-northeast-1", "ac"}, {"sa-east-1", "abc"},
}

var (
	systems      = []string{"Ubuntu16.10", "Ubuntu16.04LTS", "Ubuntu15.10"}
	arches       = []string{"x64", "x86"}
	teams        = []string{"SF", "NYC", "LON", "CHI"}
	environments = []string{"production", "staging", "test"}
	cpuFields    = [10]string{"usage_user", "usage_system", "usage_idle", "usage_nice", "usage_iowait",
		"usage_irq", "usage_softirq", "usage_steal", "usage_guest", "usage_guest_nice"}
)

// cpuRows is an endless sequence of rows: row n is of host n%4000 in round n/4000. The fields of a number of rounds
// are made once; then they repeat, and only the timestamps go on, so that every row stays distinct by host and time
// while making one costs little more than a copy.
type cpuRows struct {
	rounds int
	text   []byte   // rows of all rounds, each ending with 19 digits of time and a line break
	ends   []uint32 // where each row ends in text
	sums   []uint64 // content of each row without its time
}

type host struct {
	prefix []byte // table, tags and the space behind them
	sum    uint64 // content of the tags
	fields [10]float64
}

// newCPURows makes the rows of the given number of rounds.
func newCPURows(table string, seed uint64, rounds int) *cpuRows {
	rng := rand.New(rand.NewPCG(seed, 0x6272616964))
	all := make([]host, hosts)
	for i := range all {
		all[i] = newHost(table, i, rng)
	}
	var seeds [len(cpuFields)]uint64
	for f, name := range cpuFields {
		seeds[f] = columnSeed(name, kindInt)
	}
	g := &cpuRows{
		rounds: rounds, text: make([]byte, 0, rounds*hosts*360),
		ends: make([]uint32, 0, rounds*hosts), sums: make([]uint64, 0, rounds*hosts),
	}
	for round := range rounds {
		for i := range all {
			if round > 0 {
				all[i].walk(rng)
			}
			g.add(&all[i], &seeds)
		}
	}
	return g
}

func newHost(table string, i int, rng *rand.Rand) host {
	region := regions[rng.IntN(len(regions))]
	zone := region.zones[rng.IntN(len(region.zones))]
	tags := [...]struct{ name, value string }{
		{"hostname", "host_" + strconv.Itoa(i)},
		{"region", region.name},
		{"datacenter", region.name + string(zone)},
		{"rack", strconv.Itoa(rng.IntN(100))},
		{"os", systems[rng.IntN(len(systems))]},
		{"arch", arches[rng.IntN(len(arches))]},
		{"team", teams[rng.IntN(len(teams))]},
		{"service", strconv.Itoa(rng.IntN(20))},
		{"service_version", strconv.Itoa(rng.IntN(2))},
		{"service_environment", environments[rng.IntN(len(environments))]},
	}
	h := host{prefix: []byte(table)}
	for _, t := range tags {
		h.prefix = append(h.prefix, ',')
		h.prefix = append(h.prefix, t.name...)
		h.prefix = append(h.prefix, '=')
		h.prefix = append(h.prefix, t.value...)
		h.sum += textValue(columnSeed(t.name, kindText), hashText(t.value))
	}
	h.prefix = append(h.prefix, ' ')
	for f := range h.fields {
		h.fields[f] = rng.Float64() * 100
	}
	return h
}

// walk takes a normally distributed step in every field, as TSBS does, and stays between 0 and 100.
func (h *host) walk(rng *rand.Rand) {
	for f := range h.fields {
		h.fields[f] = min(max(h.fields[f]+rng.NormFloat64(), 0), 100)
	}
}

func (g *cpuRows) add(h *host, seeds *[len(cpuFields)]uint64) {
	sum := h.sum
	g.text = append(g.text, h.prefix...)
	for f, name := range cpuFields {
		if f > 0 {
			g.text = append(g.text, ',')
		}
		v := int64(h.fields[f])
		g.text = append(g.text, name...)
		g.text = append(g.text, '=')
		g.text = strconv.AppendInt(g.text, v, 10)
		g.text = append(g.text, 'i')
		sum += value(seeds[f], uint64(v))
	}
	g.text = append(g.text, " 0000000000000000000\n"...)
	g.ends = append(g.ends, uint32(len(g.text)))
	g.sums = append(g.sums, sum)
}

// append appends count rows from row first on to dst, and returns their content too.
func (g *cpuRows) append(dst []byte, first uint64, count int) ([]byte, uint64) {
	content := uint64(0)
	for count > 0 {
		round := first / hosts
		n := min(count, int(hosts-first%hosts)) // of this round
		time := firstTime + int64(round)*roundTime
		at := int(round%uint64(g.rounds))*hosts + int(first%hosts)
		dst, content = g.appendRound(dst, content, at, n, time)
		first += uint64(n)
		count -= n
	}
	return dst, content
}

// appendRound appends n rows of the ring, all of one round, and writes the round's time into them.
func (g *cpuRows) appendRound(dst []byte, content uint64, at, n int, time int64) ([]byte, uint64) {
	begin := uint32(0)
	if at > 0 {
		begin = g.ends[at-1]
	}
	var digits [timeDigits]byte
	strconv.AppendInt(digits[:0], time, 10)
	base := len(dst)
	dst = append(dst, g.text[begin:g.ends[at+n-1]]...)
	timeSum := value(timeSeed, uint64(time))
	for i := at; i < at+n; i++ {
		end := base + int(g.ends[i]-begin) - 1 // the line break
		copy(dst[end-timeDigits:end], digits[:])
		content = then(content, g.sums[i]+timeSum)
	}
	return dst, content
}
