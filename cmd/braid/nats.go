package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/seed-551dd829/braid/internal/cluster"
)

// natsCmd is the embedded NATS server in a process of its own, for clusters whose every part can be killed. It is not
// shown: who runs Braid for good runs nats-server.
type natsCmd struct {
	Conf string `help:"The server's configuration, in the format of nats-server. SIGHUP reads it again." required:"" type:"existingfile"`
}

// Run runs the server until a signal ends it.
func (c *natsCmd) Run(p *process) error {
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	return cluster.RunNATS(p.ctx, c.Conf, reload, p.log, func(url string) {
		printJSON(p, map[string]string{"nats": url})
	})
}
