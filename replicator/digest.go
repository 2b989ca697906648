package replicator

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// digestsMax is how many questions may wait; more are refused.
const digestsMax = 64

type digestQuestion struct {
	request  api.DigestRequest
	incoming bus.Incoming
}

// serveDigests listens to the node's digest subject. Questions are answered by answerDigests, since looking up an
// earlier digest reads a file.
func (s *Service) serveDigests() (stop func() error, err error) {
	service, err := bus.NewService(s.deps.Conn, bus.ServiceOptions{
		Name: "braid-replicator", Version: api.Version, Logger: s.deps.Logger,
		Description: "replicator of node " + s.cfg.ID + ": applies the commit logs", Registerer: s.deps.Registerer,
		Inboxes: s.deps.Subjects.Inboxes,
	})
	if err != nil {
		return nil, err
	}
	err = service.Handle("digest", s.deps.Subjects.NodeDigest(s.cfg.ID), bus.Endpoint{}, s.askDigest)
	if err != nil {
		return nil, errors.Join(err, service.Stop())
	}
	return service.Stop, nil
}

func (s *Service) askDigest(in bus.Incoming) {
	var r api.DigestRequest
	if err := json.Unmarshal(in.Data(), &r); err != nil {
		s.reply(in.ReplyError(api.Errorf(api.Invalid, "digest request: %v", err)))
		return
	}
	select {
	case s.digests <- digestQuestion{request: r, incoming: in}:
	default:
		s.reply(in.ReplyError(api.OverloadedError(100, "%d digests are waited for", digestsMax)))
	}
}

func (s *Service) answerDigests(ctx context.Context) error {
	for {
		select {
		case q := <-s.digests:
			s.answerDigest(q)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Service) answerDigest(q digestQuestion) {
	answer, err := s.tables.Digest(q.request.Table, q.request.TxID)
	if err != nil {
		s.repairTable(q.request.Table, err)
		s.reply(q.incoming.ReplyError(api.Errorf(api.Unavailable, "%v", err).InTable(q.request.Table)))
		return
	}
	s.reply(q.incoming.ReplyJSON(answer, nil))
}

// reply takes the error of an answer that could not be sent: whoever asked asks again.
func (s *Service) reply(err error) {
	if err != nil {
		s.metrics.errors.WithLabelValues("reply").Inc()
		s.deps.Logger.Warn("answer not sent", "error", err)
	}
}
