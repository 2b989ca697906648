// Command braid is every service of Braid, a whole cluster in one process, the load-test harness and the operator's
// tools in one binary. A file of this folder is a subcommand; internal/cluster has the drawings of what it starts.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/seed-551dd829/braid/internal/api"
)

// cli is the command line. Flags, environment (BRAID_…) and a YAML file say the same things, in that order.
type cli struct {
	Config     kong.ConfigFlag  `help:"YAML file with flags' values; keys are the flags' names." placeholder:"FILE" env:"-"`
	LogLevel   string           `help:"Least level that is logged: debug, info, warn or error." default:"info" enum:"debug,info,warn,error"`
	LogFormat  string           `help:"How logs are written to stderr: text or json." default:"text" enum:"text,json"`
	CPUProfile string           `name:"cpu-profile" help:"Write a CPU profile of the whole run to FILE, for go tool pprof." placeholder:"FILE" env:"-"`
	Version    kong.VersionFlag `help:"Print the version and quit." env:"-"`
	// Tied is for whoever starts braid as a part of something and may be killed itself.
	Tied bool `help:"End when stdin does." hidden:"" env:"-"`

	Up         upCmd         `cmd:"" help:"Run a whole cluster in this process, on embedded parts."`
	Gateway    gatewayCmd    `cmd:"" help:"Run a gateway: takes rows, routes them to primaries."`
	Primary    primaryCmd    `cmd:"" help:"Run a primary: writes rows to its WAL and commits them."`
	Replicator replicatorCmd `cmd:"" help:"Run a replica: replays every table, serves reads."`
	Sequencer  sequencerCmds `cmd:"" help:"Run a sequencer, which gives each write its TxID, or look into its store."`
	Failover   failoverCmd   `cmd:"" help:"Run a failover instance: declares silent nodes dead, puts replicas in their place."`
	Loadtest   loadtestCmd   `cmd:"" help:"Load a cluster, measure it, and verify that nothing was lost."`
	Status     statusCmd     `cmd:"" help:"Show the nodes: role, state, epoch, load, lag."`
	Tables     tablesCmd     `cmd:"" help:"Show the tables: head, rows, and how far each node is."`
	Rows       rowsCmd       `cmd:"" help:"Print a table's rows."`
	Write      writeCmd      `cmd:"" help:"Write files of rows: line protocol, NDJSON or CSV."`
	Follow     followCmd     `cmd:"" help:"Watch a table: print its rows as they are committed."`
	Verify     verifyCmd     `cmd:"" help:"Compare the nodes' digests: do all hold the same rows?"`
	Void       voidCmd       `cmd:"" help:"Give up rows of durability wal whose holders are all lost, so that their table goes on."`
	Health     healthCmd     `cmd:"" help:"Ask a service whether it serves; for health checks."`
	Drain      drainCmd      `cmd:"" help:"Have a node finish what it has and leave, without one failed write."`
	Promote    promoteCmd    `cmd:"" help:"Make a live replica, or a stand-in, a primary for good."`
	Demote     demoteCmd     `cmd:"" help:"Make a live primary a replica for good."`
	Remove     removeCmd     `cmd:"" help:"Take a node that has stopped or is dead out of the cluster."`
	Security   securityCmds  `cmd:"" help:"Prepare a cluster with users, rights and certificates."`
	Dump       dumpCmd       `cmd:"" help:"Print what a segment file holds."`
	NATS       natsCmd       `cmd:"" name:"nats" help:"Run a NATS server." hidden:""`
}

// process is what every command is given.
type process struct {
	ctx    context.Context // ends at SIGINT and SIGTERM
	log    *slog.Logger
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

// exitError ends the process with a status of its own. Its message is printed unless it is empty.
type exitError struct {
	status  int
	message string
}

func (e *exitError) Error() string { return e.message }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program: it returns the exit status, 0 only on success.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c cli
	status := -1 // set when kong has already answered, as --help does
	parser, err := kong.New(&c,
		kong.Name("braid"),
		kong.Description("Multi-primary ingestion for time-series rows. "+
			"Try: braid up, then curl -d 'cpu,host=a usage=1i' http://127.0.0.1:9000/write"),
		kong.Vars{"version": "braid " + api.Version},
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { status = code }),
		kong.DefaultEnvars("BRAID"),
		kong.Configuration(loadYAML, configFromEnv()...),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.UsageOnError(),
	)
	if err != nil {
		fmt.Fprintln(stderr, "braid:", err)
		return 1
	}
	parsed, err := parser.Parse(args)
	if status >= 0 {
		return status
	}
	if err != nil {
		fmt.Fprintf(stderr, "braid: %v\nTry: braid --help\n", err)
		return 2
	}
	if c.Tied {
		go endWithStdin(stderr)
	}
	p := &process{ctx: ctx, log: c.logger(stderr), stdin: os.Stdin, stdout: stdout, stderr: stderr}
	err = c.profiled(func() error { return parsed.Run(p) })
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if exit.message != "" {
			fmt.Fprintln(stderr, "braid:", exit.message)
		}
		return exit.status
	}
	fmt.Fprintln(stderr, "braid:", strings.TrimSpace(err.Error()))
	return 1
}

// endWithStdin ends the process when whoever started it has gone, however that happens.
func endWithStdin(stderr io.Writer) {
	_, err := io.Copy(io.Discard, os.Stdin)
	fmt.Fprintln(stderr, "braid: whoever started this process has ended:", err)
	os.Exit(1)
}

func (c *cli) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		level = slog.LevelInfo // kong has checked it
	}
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// profiled runs f, under the CPU profiler if that was asked for.
func (c *cli) profiled(f func() error) error {
	if c.CPUProfile == "" {
		return f()
	}
	file, err := os.Create(c.CPUProfile)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return errors.Join(err, file.Close())
	}
	err = f()
	pprof.StopCPUProfile()
	return errors.Join(err, file.Close())
}
