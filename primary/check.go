package primary

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/segment"
)

// carried is what a group has with it for the shell.
type carried struct {
	from      Replier
	frame     []byte // until it is appended
	arrivedAt time.Duration
	rows      int
}

// Replier tells the sender of a group what became of it; the first answer counts. It is a bus.Incoming.
type Replier interface {
	Reply(data []byte, hdr nats.Header) error
	ReplyError(e *api.Error) error
}

// checkersPerProcessor allows some checkers to wait for a schema while others work. How many unpack at once, which
// is what takes memory and time, is bounded by the number of processors.
const checkersPerProcessor = 4

// handle takes one request off the subscription.
func (s *Service) handle(in bus.Incoming) {
	if len(in.Data()) == 0 { // a sender asks whether anybody is here
		if err := in.Reply(nil, nil); err != nil {
			s.log.Warn("answer not sent", "error", err)
		}
		return
	}
	s.take(in.Header().Get(api.HeaderSender), in.Data(), in)
}

// take never waits: a group is refused here, or handed to the checkers.
func (s *Service) take(sender string, frame []byte, from Replier) {
	now := s.now()
	if len(sender) > senderBytesMax {
		sender = sender[:senderBytesMax]
	}
	s.senders.heard(sender, now)
	g := &group{sender: sender, bytes: int64(len(frame))}
	g.carried = carried{from: from, frame: frame, arrivedAt: now}
	if len(g.frame) > api.GroupBytesMax {
		s.answer(g, &api.GroupAnswer{Err: api.Errorf(api.TooLarge,
			"group of %d bytes is larger than %d", len(g.frame), api.GroupBytesMax)})
		return
	}
	admitted := false
	s.step(func(c *core, _ time.Duration) { admitted = c.arrive(g) })
	if admitted {
		s.look(g)
	}
}

// queueCheck hands a group to the checkers.
func (s *Service) queueCheck(g *group) {
	select {
	case s.checks <- g:
	default:
		s.step(func(c *core, now time.Duration) {
			c.check(now, g, api.OverloadedError(retryAfterMS, "primary %s has %d groups to check", s.cfg.ID, checksMax))
		})
	}
}

// checkLoop is one checker.
func (s *Service) checkLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case g := <-s.checks:
			s.check(ctx, g)
		}
	}
}

func (s *Service) check(ctx context.Context, g *group) {
	refusal := s.examine(ctx, g)
	s.step(func(c *core, now time.Duration) { c.check(now, g, refusal) })
}

// CheckFrame takes a sender's frame apart and checks all but its rows: length, checksum, names, limits, and that every
// write has an identity. The sequencer would refuse the whole request of a group without, and this primary would end
// over it.
func CheckFrame(frame []byte) (segment.Group, *api.Error) {
	g, err := segment.ParseGroup(frame)
	if err != nil {
		return g, api.Errorf(api.Invalid, "%v", err)
	}
	if err := g.Header.CheckIdentities(); err != nil {
		return g, api.Errorf(api.Invalid, "%v", err).InTable(g.Header.Table)
	}
	return g, nil
}

// CheckRows says whether every node will be able to decode the group's rows, which are of the schema that its
// fingerprint names, and to read them as a gateway would have let them in.
func CheckRows(g *segment.Group, schema api.Schema) *api.Error {
	if err := columnar.Validate(g.Arrow, schema, g.Header.Rows()); err != nil {
		return api.Errorf(api.Invalid, "%v", err).InTable(g.Header.Table)
	}
	return nil
}

// examine decides whether a group may be admitted: nobody's word is taken for it. It fills in what the core needs to
// know of a good one.
func (s *Service) examine(ctx context.Context, g *group) *api.Error {
	parsed, refusal := CheckFrame(g.frame)
	if refusal != nil {
		return refusal
	}
	h := &parsed.Header
	if e := s.validate(ctx, &parsed); e != nil {
		return e.InTable(h.Table)
	}
	g.shard, g.level = api.Shard(h.Table, s.deps.Shards), h.Durability
	g.writes, g.rows = len(h.Writes), h.Rows()
	g.length, g.crc = parsed.Length, parsed.CRC
	// A copy, or the frame would be kept until the commit.
	g.header = append([]byte(nil), parsed.HeaderBytes...)
	return nil
}

func (s *Service) validate(ctx context.Context, parsed *segment.Group) *api.Error {
	ask, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	schema, err := s.deps.Catalog.Resolve(ask, parsed.Header.Table, parsed.Header.Fingerprint)
	if err != nil {
		return api.AsError(err)
	}
	s.unpacking <- struct{}{}
	defer func() { <-s.unpacking }()
	return CheckRows(parsed, schema)
}
