package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// natsPatience is for a server to listen, and to find the others of its cluster.
const natsPatience = 30 * time.Second

// RunNATS runs a NATS server with a configuration file of its own format until ctx ends. It reads the file again
// whenever reload gives something, and calls ready with its URL when it listens.
func RunNATS(
	ctx context.Context, config string, reload <-chan os.Signal, log *slog.Logger, ready func(url string),
) error {
	opts, err := server.ProcessConfigFile(config)
	if err != nil {
		return fmt.Errorf("NATS configuration: %w", err)
	}
	opts.NoSigs, opts.NoLog = true, true
	s, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("start NATS: %w", err)
	}
	s.SetLoggerV2(natsLogger{log}, false, false, false)
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	if !s.ReadyForConnections(natsPatience) {
		return errors.New("the NATS server does not listen; is its address already in use?")
	}
	ready(s.ClientURL())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-reload:
			if err := s.Reload(); err != nil {
				return fmt.Errorf("NATS configuration, read again: %w", err)
			}
		}
	}
}
