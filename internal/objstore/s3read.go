package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func (s *S3) Get(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	full, err := s.key(ctx, key)
	if err != nil {
		return nil, 0, fmt.Errorf("get: %w", err)
	}
	r, size, err := s.get(ctx, full)
	if err != nil {
		return nil, 0, fmt.Errorf("get %s: %w", key, err)
	}
	return r, size, nil
}

// get bounds the time until the body begins. From there on only a connection's silence ends it: how
// fast the caller reads is the caller's business.
func (s *S3) get(ctx context.Context, key *string) (io.ReadCloser, int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(s.limits.call, func() { cancel(s.limits.late()) })
	answer, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: key})
	timer.Stop()
	if err == nil && answer.ContentLength == nil {
		err = errors.Join(errors.New("the server does not tell the object's length"), answer.Body.Close())
	}
	if err != nil {
		err = explain(ctx, err)
		cancel(nil)
		return nil, 0, err
	}
	size := *answer.ContentLength
	return Sized(&cancelled{answer.Body, cancel}, size), size, nil
}

// cancelled lets go of its request's context when it is closed.
type cancelled struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (c *cancelled) Close() error {
	defer c.cancel(nil)
	return c.ReadCloser.Close()
}

func (s *S3) Stat(ctx context.Context, key string) (Info, error) {
	full, err := s.key(ctx, key)
	if err != nil {
		return Info{}, fmt.Errorf("stat: %w", err)
	}
	head, err := s.head(ctx, full)
	if err != nil {
		return Info{}, fmt.Errorf("stat %s: %w", key, err)
	}
	return Info{Key: key, Size: aws.ToInt64(head.ContentLength)}, nil
}

// head asks for an object without its bytes. A bucket that is not there cannot be told from an
// object that is not there; the probe has seen the bucket.
func (s *S3) head(ctx context.Context, key *string) (*s3.HeadObjectOutput, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	head, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket: &s.bucket, Key: key, ChecksumMode: types.ChecksumModeEnabled})
	return head, explain(ctx, err)
}

func (s *S3) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{
			Bucket: &s.bucket, Prefix: aws.String(s.prefix + prefix)})
		last := ""
		for pages.HasMorePages() {
			page, err := s.page(ctx, pages)
			if err != nil {
				yield(Info{}, fmt.Errorf("list %s: %w", prefix, err))
				return
			}
			for _, object := range page.Contents {
				full := aws.ToString(object.Key)
				key := strings.TrimPrefix(full, s.prefix)
				switch {
				case CheckKey(key) != nil:
					continue // a probe, or nothing of ours
				case key <= last:
					// Amazon's directory buckets do this.
					yield(Info{}, fmt.Errorf("list %s: the server does not list in order: %q after %q",
						prefix, key, last))
					return
				}
				last = key
				if !yield(Info{Key: key, Size: aws.ToInt64(object.Size)}, nil) {
					return
				}
			}
		}
	}
}

func (s *S3) page(
	ctx context.Context, pages *s3.ListObjectsV2Paginator,
) (*s3.ListObjectsV2Output, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	page, err := pages.NextPage(ctx)
	return page, explain(ctx, err)
}
