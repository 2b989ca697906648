package objstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
)

// S3Config says where `s3:` is. Credentials come the AWS way: AWS_ACCESS_KEY_ID and its like, the
// shared configuration, the machine's role.
type S3Config struct {
	// Endpoint is the server's URL; "" is Amazon's for the region, or AWS_ENDPOINT_URL_S3.
	Endpoint string
	// Region is the bucket's; "" is that of the shared configuration or AWS_REGION, and us-east-1,
	// which servers other than Amazon's expect, if there is an endpoint. A wrong one is refused.
	Region string
	// PathStyle asks for http://HOST/BUCKET/KEY. Without it the host is BUCKET.HOST, which needs
	// that name in the DNS.
	PathStyle bool
}

// S3 is a store in a bucket. Every call is bounded in time and in attempts; an attempt that is
// made again carries the same condition, so that it cannot do any harm.
type S3 struct {
	client *s3.Client
	http   *http.Client
	bucket string
	prefix string // of keys: "" or with a slash at its end
	limits s3Limits
}

// s3Limits bound what a server can make a caller wait for.
type s3Limits struct {
	attempts   int           // of a request
	backoffMax time.Duration // between two of them
	connect    time.Duration
	// answer is the time from the end of a request to the head of its answer.
	answer time.Duration
	// silence is the time without a byte from the server after which a connection is given up. It
	// bounds the sending of a body, too, where the server says nothing before it has all of it.
	silence time.Duration
	// call is a whole call with all attempts; of a list, one page; of a get, what comes before the
	// body.
	call time.Duration
}

var s3Defaults = s3Limits{attempts: 3, backoffMax: 2 * time.Second, connect: 5 * time.Second,
	answer: 10 * time.Second, silence: 20 * time.Second, call: 30 * time.Second}

// OpenS3 opens the store that name says, BUCKET or BUCKET/PREFIX, and tries whether it is one (see
// probe). Close it.
func OpenS3(ctx context.Context, name string, cfg S3Config) (*S3, error) {
	return openS3(ctx, name, cfg, s3Defaults)
}

func openS3(ctx context.Context, name string, cfg S3Config, limits s3Limits) (*S3, error) {
	s := &S3{limits: limits}
	err := s.setUp(ctx, name, cfg)
	if err == nil {
		err = s.probe(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("open object store s3:%s: %w", name, errors.Join(err, s.Close()))
	}
	return s, nil
}

func (s *S3) setUp(ctx context.Context, name string, cfg S3Config) error {
	s.bucket, s.prefix, _ = strings.Cut(strings.TrimSuffix(name, "/"), "/")
	if s.bucket == "" {
		return errors.New("no bucket named: use s3:BUCKET or s3:BUCKET/PREFIX")
	}
	if s.prefix != "" {
		if err := CheckKey(s.prefix); err != nil {
			return fmt.Errorf("prefix: %w", err)
		}
		s.prefix += "/"
	}
	a, err := cfg.load(ctx)
	if err != nil {
		return err
	}
	if s.http, err = s.httpClient(a.HTTPClient); err != nil {
		return err
	}
	s.client = s3.NewFromConfig(a, func(o *s3.Options) {
		cfg.place(o)
		o.HTTPClient = s.http
		o.Retryer = s.limits.retryer()
		// A put says its checksum itself, and what is read is a segment, which has its own. Servers
		// that do not know trailing checksums would refuse the SDK's.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	if s.client.Options().Region == "" {
		return errors.New("no region: give --s3-region, or set AWS_REGION")
	}
	return s.credentials(ctx, a.Credentials)
}

// load reads the environment's and the shared files' configuration.
func (cfg S3Config) load(ctx context.Context) (aws.Config, error) {
	if u, err := url.Parse(cfg.Endpoint); cfg.Endpoint != "" &&
		(err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return aws.Config{},
			fmt.Errorf("endpoint %q is not a URL like http://127.0.0.1:9000", cfg.Endpoint)
	}
	a, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(awshttp.NewBuildableClient()),
		config.WithLogger(logging.Nop{})) // what goes wrong comes as an error
	if err != nil {
		return aws.Config{}, fmt.Errorf("AWS configuration: %w", err)
	}
	return a, nil
}

// place says where the server is: cfg comes before the environment, of which o is made.
func (cfg S3Config) place(o *s3.Options) {
	if cfg.Endpoint != "" {
		o.BaseEndpoint = &cfg.Endpoint
	}
	if cfg.Region != "" {
		o.Region = cfg.Region
	}
	if o.Region == "" && o.BaseEndpoint != nil {
		o.Region = "us-east-1"
	}
	o.UsePathStyle = cfg.PathStyle
}

// credentials looks for them now, for a better error than that of the first request.
func (s *S3) credentials(ctx context.Context, p aws.CredentialsProvider) error {
	ctx, cancel := s.call(ctx)
	defer cancel()
	if _, err := p.Retrieve(ctx); err != nil {
		return fmt.Errorf("no credentials (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "+
			"or AWS_PROFILE): %w", err)
	}
	return nil
}

// httpClient is made from the SDK's, which knows the shared configuration's certificates, and has
// time-outs.
func (s *S3) httpClient(from aws.HTTPClient) (*http.Client, error) {
	sdk, ok := from.(*awshttp.BuildableClient)
	if !ok {
		return nil, fmt.Errorf("AWS configuration: its HTTP client is a %T", from)
	}
	t := sdk.GetTransport()
	dialer := net.Dialer{Timeout: s.limits.connect}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return silenceConn{c, s.limits.silence}, nil
	}
	t.ResponseHeaderTimeout = s.limits.answer
	return &http.Client{Transport: t,
		// A signature names its host, so a request that is redirected must be made anew.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// silenceConn gives a connection up that has not delivered a byte for max.
type silenceConn struct {
	net.Conn
	max time.Duration
}

func (c silenceConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.max)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// retryer tries again what is worth it, a few times: a server that is away longer is the caller's
// business. Requests that fail all the time use up the SDK's quota of retries, and then fail at
// once.
func (l s3Limits) retryer() aws.Retryer {
	return retry.AddWithErrorCodes(retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts, o.MaxBackoff = l.attempts, l.backoffMax
	}), conflictCode)
}

// conflictCode is S3's answer to a conditional put that met another one of the same key under way
// (409): neither success nor "taken".
const conflictCode = "ConditionalRequestConflict"

// Close lets go of connections. No call may be under way or follow.
func (s *S3) Close() error {
	if s.http != nil {
		s.http.CloseIdleConnections()
	}
	return nil
}

// key is the object's key in the bucket, if it may be one and ctx has not ended.
func (s *S3) key(ctx context.Context, key string) (*string, error) {
	full := s.prefix + key
	if err := CheckKey(full); err != nil {
		return nil, err
	}
	return &full, ctx.Err()
}

// call bounds a call in time.
func (s *S3) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, s.limits.call, s.limits.late())
}

// late is why a call was given up.
func (l s3Limits) late() error { return fmt.Errorf("no success within %s", l.call) }
