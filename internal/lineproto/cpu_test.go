package lineproto

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// cpuOnly makes rows of the shape of the Time Series Benchmark Suite's cpu-only use case: 10 tags
// of 4,000 hosts, 10 small integers, about 350 bytes a row.
func cpuOnly(rows int) []byte {
	r := rand.New(rand.NewPCG(123, 1))
	regions := []string{"us-east-1", "us-west-1", "us-west-2", "eu-west-1", "eu-central-1", "ap-southeast-1",
		"ap-southeast-2", "ap-northeast-1", "sa-east-1"}
	systems := []string{"Ubuntu16.10", "Ubuntu16.04LTS", "Ubuntu15.10"}
	fields := []string{"user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"}
	hosts := make([]string, 4000)
	for i := range hosts {
		region := regions[r.IntN(len(regions))]
		hosts[i] = fmt.Sprintf("cpu,hostname=host_%d,region=%s,datacenter=%s%c,rack=%d,os=%s,arch=x%d,team=%s,"+
			"service=%d,service_version=%d,service_environment=%s", i, region, region, 'a'+r.IntN(3), r.IntN(100),
			systems[r.IntN(3)], []int{64, 86}[r.IntN(2)], []string{"SF", "NYC", "LON", "CHI"}[r.IntN(4)], r.IntN(20),
			r.IntN(2), []string{"production", "staging", "test"}[r.IntN(3)])
	}
	var b strings.Builder
	for i := range rows {
		b.WriteString(hosts[i%len(hosts)])
		for k, f := range fields {
			fmt.Fprintf(&b, "%cusage_%s=%di", " ,"[min(k, 1)], f, r.IntN(101))
		}
		fmt.Fprintf(&b, " %d\n", 1451606400000000000+int64(i/len(hosts))*10_000_000_000)
	}
	return []byte(b.String())
}
