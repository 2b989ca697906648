// Package bus is how services and clients use NATS: connecting with Braid's limits checked, requests whose failures
// are told apart (nothing happened, or nobody knows), the typed requests to the sequencer, and endpoints that answer
// in the wire's form. It does not promise delivery: whoever asks must be able to ask again.
package bus

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
)

// Options say how to connect.
type Options struct {
	Servers   string                     // comma-separated nats:// URLs; unused with InProcess
	Name      string                     // the connection's name in the server's monitoring
	InProcess nats.InProcessConnProvider // an embedded server, nil for none
	Extra     []nats.Option              // TLS, credentials and what else nats.go knows
	// Patient says that a server which cannot be reached now is no error: the connection is made when one can.
	Patient bool
	Logger  *slog.Logger
}

// Connect opens a connection that reconnects forever. It refuses a server whose max_payload would cut Braid's
// messages, and names the setting; of one that is reached later it logs that.
func Connect(o Options) (*nats.Conn, error) {
	log := o.Logger.With("connection", o.Name)
	opts := []nats.Option{
		nats.Name(o.Name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 200*time.Millisecond),
		nats.RetryOnFailedConnect(o.Patient),
		nats.ConnectHandler(func(nc *nats.Conn) {
			if err := checkPayload(nc); o.Patient && err != nil {
				log.Error("this NATS server cannot serve Braid", "error", err)
			}
		}),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("disconnected from NATS", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("connected to NATS again", "server", nc.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			if sub != nil && errors.Is(err, nats.ErrSlowConsumer) {
				return // counted and logged by Service and Follower
			}
			log.Warn("NATS error", "error", err)
		}),
	}
	if o.InProcess != nil {
		opts = append(opts, nats.InProcessServer(o.InProcess))
	}
	nc, err := nats.Connect(o.Servers, append(append(opts, o.Extra...), OwnInbox)...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w", o.Servers, err)
	}
	if o.Patient && !nc.IsConnected() {
		return nc, nil
	}
	if err := checkPayload(nc); err != nil {
		nc.Close()
		return nil, err
	}
	return nc, nil
}

// OwnInbox is an option, for behind all others, that has a NATS user with a password hear answers in inboxes of its own, the only ones that its rights may allow,
// unless the options say where. Who has its name elsewhere, as in a credentials file, says so.
func OwnInbox(o *nats.Options) error {
	user, password := o.User, o.Password
	if len(o.Servers) > 0 && user == "" {
		// Without a password it is a token, which is nobody's business.
		if u, err := url.Parse(o.Servers[0]); err == nil && u.User != nil {
			user = u.User.Username()
			password, _ = u.User.Password()
		}
	}
	if o.InboxPrefix == "" && password != "" && api.CheckUser(user) == nil {
		o.InboxPrefix = api.UserInbox(user)
	}
	return nil
}

func checkPayload(nc *nats.Conn) error {
	if nc.MaxPayload() < api.NATSMaxPayload {
		return fmt.Errorf("the NATS server at %s has max_payload %d, Braid needs %d: set `max_payload: 8MB` "+
			"in its configuration (deploy/nats/nats.conf is a working one)",
			nc.ConnectedUrlRedacted(), nc.MaxPayload(), api.NATSMaxPayload)
	}
	return nil
}

// Away says that an error of Connect or CheckMaxPending means that no server could be reached: waiting may help. A
// server that refuses, or is not configured as Braid needs it, is there.
func Away(err error) bool {
	var network *net.OpError
	return errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, io.EOF) ||
		errors.As(err, &network)
}
