package client

import (
	"bytes"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// TestI3_DirectWritesLeaveAPrimaryThatHasGone: a primary is killed with a write open, minutes before the attempt ends and
// while its heartbeats are still in the pipe. Asked whether it is there, NATS says that nobody listens, and the same
// frame goes to another primary.
func TestI3_DirectWritesLeaveAPrimaryThatHasGone(t *testing.T) {
	c := startCluster(t)
	c.columns, c.topology = cpuColumns, twoPrimaries(1, api.Live)
	startBeats(t, c, "p1")
	startBeats(t, c, "p2")
	dies := natstest.Connect(t, c.server)
	frames := make(chan []byte, 2)
	_, err := dies.Subscribe("braid.primary.p1.write", func(m *nats.Msg) {
		frames <- bytes.Clone(m.Data)
		go dies.Close() // of this connection's own goroutine it may not be
	})
	if err == nil {
		err = dies.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	c.handle("braid.primary.p2.write", func(r bus.Incoming) {
		if len(r.Data()) == 0 {
			if err := r.Reply(nil, nil); err != nil {
				t.Error(err)
			}
			return
		}
		frames <- bytes.Clone(r.Data())
		answer := api.GroupAnswer{Writes: []api.Outcome{{Verdict: api.Accepted, TxID: 4}}}
		if err := r.Reply(api.AppendGroupAnswer(nil, &answer), nil); err != nil {
			t.Error(err)
		}
	})
	client := c.connect(WithAttemptTimeout(10 * time.Minute))
	natstest.Eventually(t, "both primaries are heard", func() bool { return client.primaries.settled(time.Now()) })
	rows := LineProtocol([]byte("cpu,host=a usage=1i 1\n"))
	answer, err := client.Table("cpu").Write(t.Context(), rows, Via(DirectTo("p1")))
	if err != nil || answer != (Result{"cpu", 4, 1}) {
		t.Fatalf("%+v, %v", answer, err)
	}
	if first, second := <-frames, <-frames; !bytes.Equal(first, second) {
		t.Fatal("the frame has changed on its way")
	}
}
