package objstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
)

// probePrefix begins the keys of probes. They are never listed: an object's key has no part that
// begins with a dot.
const probePrefix = ".probe/"

// errUnconditional says that a server replaces objects.
var errUnconditional = errors.New("the server ignores If-None-Match: it replaced the probe, and " +
	"would replace segments. Use a server, or a mode of it, that has conditional writes")

// probe tries what everything rests on, under a key that nobody else has: that an object can be
// put, is not replaced, and can be read, and that what is not there is "not found". A store that
// replaced objects would lose acknowledged writes, so it is better not to start. The probe's object
// stays, since nothing here may delete.
func (s *S3) probe(ctx context.Context) error {
	key := s.prefix + probePrefix + rand.Text()
	first, second := Bytes([]byte("put first\n")), Bytes([]byte("put second\n"))
	// "Taken" can only be by an attempt whose answer was lost.
	if err := s.upload(ctx, &key, first); err != nil && !taken(err) {
		return fmt.Errorf("put the probe %s: %w", key, err)
	}
	switch err := s.upload(ctx, &key, second); {
	case err == nil:
		return errUnconditional
	case !taken(err):
		return fmt.Errorf("put the probe %s again: %w", key, err)
	}
	if err := s.compare(ctx, &key, first); err != nil {
		return fmt.Errorf("look at the probe %s: %w", key, err)
	}
	crc, err := s.readCRC(ctx, &key)
	if err == nil && crc != first.CRC {
		err = ErrDifferent
	}
	if err != nil {
		return fmt.Errorf("read the probe %s: %w", key, err)
	}
	key += ".none"
	if _, err := s.head(ctx, &key); !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("look for %s, which is not there: %w; without s3:ListBucket a server does "+
			"not tell", key, cmp.Or(err, errors.New("it is there")))
	}
	return nil
}
