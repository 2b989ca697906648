package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// CheckMaxPending asks the NATS server's monitoring address for max_pending, the size of what waits for one
// connection before the server cuts it, and refuses one that is too low for Braid. The protocol does not tell it;
// with url "" it stays unchecked, which is logged once.
func CheckMaxPending(ctx context.Context, url string, log *slog.Logger) error {
	if url == "" {
		log.Warn("max_pending of the NATS server is unchecked; give its monitoring address with --nats-monitor",
			"needed", api.NATSMaxPending)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/varz", nil)
	if err != nil {
		return fmt.Errorf("NATS monitoring address %q: %w", url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask NATS monitoring: %w", err)
	}
	defer response.Body.Close()
	var varz struct {
		MaxPending int64 `json:"max_pending"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&varz); err != nil {
		return fmt.Errorf("NATS monitoring at %s: %w", url, err)
	}
	if varz.MaxPending < api.NATSMaxPending {
		return fmt.Errorf("the NATS server has max_pending %d, Braid needs %d: set `max_pending: 256MB` in its "+
			"configuration (deploy/nats/nats.conf is a working one)", varz.MaxPending, api.NATSMaxPending)
	}
	return nil
}
