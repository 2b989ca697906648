package cluster

import (
	"context"
	"errors"
	"fmt"
)

// plain is a service that has nothing to serve over HTTP but what every process has.
type plain struct {
	name, id string
	http     string // where /metrics, /healthz and /readyz are served; "" nowhere
	run      func(context.Context) error
	isReady  func() bool
	notYet   string // what /readyz says of it until then
}

// runPlain runs p until ctx ends or it fails, and calls ready once it is.
func (e Env) runPlain(ctx context.Context, p plain, ready func(Ready)) error {
	s := newStack()
	s.start(ctx, p.name, p.run)
	told := Ready{Service: p.name, ID: p.id}
	if p.http != "" {
		l, err := listen(p.http)
		if err != nil {
			return errors.Join(err, s.stop())
		}
		told.HTTP = e.HTTP.at(l.Addr().String())
		s.start(ctx, "http", func(ctx context.Context) error {
			return e.serve(ctx, l, e.mux(func() error {
				if !p.isReady() {
					return fmt.Errorf("%s %s %s", p.name, p.id, p.notYet)
				}
				return nil
			}, nil))
		})
	}
	err := awaitReady(ctx, s, p.isReady)
	if err == nil {
		ready(told)
		err = s.wait(ctx)
	}
	return errors.Join(stopped(err), s.stop())
}
