package bus_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// TestNoErrorIsHidden_Announcements: what is not understood, and what was dropped, is counted, and logged now and then.
func TestNoErrorIsHidden_Announcements(t *testing.T) {
	nc := natstest.Connect(t, natstest.Server(t))
	var mu sync.Mutex
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	f, err := bus.NewFollower(nc, slog.New(slog.NewTextHandler(locked{&mu, &log}, nil)), registry)
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 1)
	stop, err := f.Follow("beats.*", bus.JSON(func(h api.Heartbeat) error {
		if h.ID == "" {
			return errors.New("of nobody")
		}
		heard <- h.ID
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 11 {
		data := []string{"{}", "not JSON"}[i%2]
		if i == 10 {
			data = `{"id":"p1"}`
		}
		if err := nc.Publish("beats.x", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-heard; got != "p1" {
		t.Errorf("heard %s", got)
	}
	const counter = "braid_bus_announcements_lost_total"
	if n, err := testutil.GatherAndCount(registry, counter); err != nil || n != 1 {
		t.Errorf("%d series, %v", n, err)
	}
	want := "# HELP " + counter + " Announcements that were not understood, or dropped because the subscription was full.\n" +
		"# TYPE " + counter + " counter\n" + counter + "{subject=\"beats.*\"} 10\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), counter); err != nil {
		t.Error(err)
	}
	mu.Lock()
	lines := strings.Count(log.String(), "announcement not understood")
	mu.Unlock()
	if lines != 4 { // the 1st, 2nd, 4th and 8th
		t.Errorf("%d lines of log: %s", lines, log.String())
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

type locked struct {
	mu *sync.Mutex
	w  *bytes.Buffer
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// TestNoErrorIsHidden_Answers: an answer that cannot be sent is an error to whoever answers, and is counted.
func TestNoErrorIsHidden_Answers(t *testing.T) {
	server := natstest.Server(t)
	nc, asks := natstest.Connect(t, server), natstest.Connect(t, server)
	registry := prometheus.NewRegistry()
	s, err := bus.NewService(nc, bus.ServiceOptions{Name: "test", Version: "0.1.0", Logger: slog.New(slog.DiscardHandler),
		Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	in := make(chan bus.Incoming, 1)
	if err := s.Handle("ask", "ask", bus.Endpoint{}, func(r bus.Incoming) { in <- r }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := asks.PublishRequest("ask", "_INBOX.reply", nil); err != nil {
		t.Fatal(err)
	}
	if err := (<-in).Reply(make([]byte, api.NATSMaxPayload+1), nil); err == nil {
		t.Error("an answer that is too large for NATS is no error")
	}
	want := "# HELP braid_bus_answers_unsent_total Answers that could not be sent: whoever asked asks again.\n" +
		"# TYPE braid_bus_answers_unsent_total counter\nbraid_bus_answers_unsent_total{service=\"test\"} 1\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "braid_bus_answers_unsent_total"); err != nil {
		t.Error(err)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}
