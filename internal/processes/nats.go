//go:build unix

package processes

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/seed-551dd829/braid/internal/api"
)

// natsServer is one server: its configuration file is written again whenever somebody's rights change.
type natsServer struct {
	name              string
	config            string // path
	port, clusterPort int
	allClusterPorts   []int
	process           *Process
}

// anyUser is who connects without a name.
const anyUser = "any"

// addNATS gives the servers ports that they keep over restarts.
func (c *Cluster) addNATS() error {
	var clusterPorts []int
	for i := range c.cfg.NATS {
		s := &natsServer{name: "nats" + strconv.Itoa(i+1)}
		var err error
		if s.port, err = freePort(); err != nil {
			return err
		}
		if s.clusterPort, err = freePort(); err != nil {
			return err
		}
		clusterPorts = append(clusterPorts, s.clusterPort)
		s.config = filepath.Join(c.cfg.Dir, s.name+".conf")
		s.process = c.add(s.name, func() *exec.Cmd { return c.cfg.Braid("nats", "--conf", s.config) })
		s.process.Excuse("is its address already in use?")
		c.nats = append(c.nats, s)
	}
	for _, s := range c.nats {
		if len(c.nats) > 1 {
			s.allClusterPorts = clusterPorts
		}
	}
	return c.configureNATS()
}

// freePort finds a port below those that systems give to outgoing connections: while a server is down, a client's
// attempts to reach it from such a port can meet themselves, and take the port away from it.
func freePort() (int, error) {
	var last error
	for range 100 {
		port := 10240 + rand.IntN(22000)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			return port, l.Close()
		}
		last = err
	}
	return 0, fmt.Errorf("no free port found: %w", last)
}

func freeAddress() (string, error) {
	port, err := freePort()
	return "127.0.0.1:" + strconv.Itoa(port), err
}

// configureNATS writes every server's configuration. A server that runs reads it again when it is told to.
func (c *Cluster) configureNATS() error {
	c.mu.Lock()
	denied := slices.Clone(c.denied)
	c.mu.Unlock()
	for _, s := range c.nats {
		next := s.config + ".next"
		if err := os.WriteFile(next, []byte(s.text(c.services(), denied)), 0o644); err != nil {
			return err
		}
		if err := os.Rename(next, s.config); err != nil {
			return err
		}
	}
	return nil
}

// text is a server's configuration. Every service is a user of its own, so that its rights can be taken away.
func (s *natsServer) text(users, denied []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listen: \"127.0.0.1:%d\"\nhttp: \"127.0.0.1:-1\"\n", s.port)
	fmt.Fprintf(&b, "max_payload: %d\nmax_pending: %d\n", api.NATSMaxPayload, api.NATSMaxPending)
	fmt.Fprintf(&b, "no_auth_user: %s\nauthorization: { users: [\n  { user: %s, password: %s }\n",
		anyUser, anyUser, anyUser)
	for _, u := range users {
		rights := ""
		if slices.Contains(denied, u) {
			rights = `, permissions: { publish: { deny: ["braid.sequencer.>", "braid.registry.>"] } }`
		}
		fmt.Fprintf(&b, "  { user: %q, password: %q%s }\n", u, u, rights)
	}
	b.WriteString("] }\n")
	if len(s.allClusterPorts) > 0 {
		// Not advertised: a client that learnt of the other servers would go round the links that we cut.
		fmt.Fprintf(&b, "server_name: %s\ncluster: { name: braid, listen: \"127.0.0.1:%d\", no_advertise: true, routes: [",
			s.name, s.clusterPort)
		for i, port := range s.allClusterPorts {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "\"nats://127.0.0.1:%d\"", port)
		}
		b.WriteString("] }\n")
	}
	return b.String()
}

// Deny takes from a service the right to speak to the sequencer, and nothing else, or gives it back. It returns when
// the servers that run have been told.
func (c *Cluster) Deny(service string, denied bool) error {
	c.mu.Lock()
	c.denied = slices.DeleteFunc(c.denied, func(s string) bool { return s == service })
	if denied {
		c.denied = append(c.denied, service)
	}
	c.mu.Unlock()
	if err := c.configureNATS(); err != nil {
		return err
	}
	for _, s := range c.nats {
		if p := s.process; p.IsReady() {
			p.Signal(p.Current(), syscall.SIGHUP)
		}
	}
	return nil
}

// Servers are the NATS URLs for clients, whom nobody cuts off.
func (c *Cluster) Servers() string { return c.serversOf("") }

// serversOf are the URLs of a service: behind its own links, if there are such, and under its own name.
func (c *Cluster) serversOf(service string) string {
	var urls []string
	for i, s := range c.nats {
		at, user := "127.0.0.1:"+strconv.Itoa(s.port), ""
		if service != "" {
			user = service + ":" + service + "@"
			if links := c.natsLinks[service]; links != nil {
				at = links[i].Addr()
			}
		}
		urls = append(urls, "nats://"+user+at)
	}
	return strings.Join(urls, ",")
}
