package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

type healthCmd struct {
	URL     string        `arg:"" optional:"" help:"What to ask: a service's /readyz (it serves) or /healthz (it lives)." default:"http://127.0.0.1:9000/readyz"`
	TLSCA   string        `name:"tls-ca" help:"Certificates to trust, PEM." type:"existingfile" placeholder:"FILE"`
	Timeout time.Duration `help:"How long to wait for the answer." default:"2s"`
}

// Run asks a service whether it is well: exit status 0 if it is. It is the health check of images that hold nothing but
// this binary.
func (c *healthCmd) Run(p *process) error {
	ctx, cancel := context.WithTimeout(p.ctx, c.Timeout)
	defer cancel()
	trust, err := (&trustFlags{TLSCA: c.TLSCA}).trust()
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return err
	}
	answer, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.URL, err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", c.URL, answer.Status, strings.TrimSpace(string(body)))
	}
	return nil
}
