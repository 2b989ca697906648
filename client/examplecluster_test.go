package client_test

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/seed-551dd829/braid/internal/cluster"
)

// startCluster runs a whole cluster in this process, as `braid up` does, and returns its NATS server. stop ends it.
func startCluster() (server string, stop func()) {
	up, stop := startUp()
	return up.NATS, stop
}

func startUp() (up cluster.Up, stop func()) {
	dir, err := os.MkdirTemp("", "braid-example")
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan cluster.Up, 1), make(chan error, 1)
	go func() {
		ended <- cluster.Run(ctx, cluster.Config{DataDir: dir, NATS: "127.0.0.1:0", HTTP: "127.0.0.1:0",
			Primaries: 2, Replicas: 1, Sequencers: 1}, slog.New(slog.DiscardHandler),
			func(u cluster.Up) { ready <- u })
	}()
	stop = func() {
		cancel()
		if err := errors.Join(<-ended, os.RemoveAll(dir)); err != nil {
			panic(err)
		}
	}
	select {
	case u := <-ready:
		return u, stop
	case err := <-ended:
		ended <- err
		stop()
		panic(err)
	}
}

// must is for examples: a program returns the error.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
