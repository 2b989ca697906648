package objstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// explain says what an error of the SDK means: ErrNotFound, the end of ctx, or itself with a hint.
func explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case status(err) == http.StatusNotFound && (code(err) == "NotFound" || code(err) == "NoSuchKey"):
		return ErrNotFound
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	text := brief(err)
	if h := hint(err); h != "" {
		text += " (" + h + ")"
	}
	return &s3Error{text, err}
}

// s3Error is an error of the SDK in words that fit on a line.
type s3Error struct {
	text string
	err  error
}

func (e *s3Error) Error() string { return e.text }
func (e *s3Error) Unwrap() error { return e.err }

// brief is what the server said, or what went wrong on the way to it; the SDK's own text has the
// identifiers of everything that took part.
func brief(err error) string {
	var answer smithy.APIError
	var way *url.Error
	switch {
	case errors.As(err, &answer):
		return fmt.Sprintf("%s (HTTP status %d): %s", answer.ErrorCode(), status(err),
			strings.TrimSuffix(answer.ErrorMessage(), "."))
	case errors.As(err, &way):
		return way.Error()
	}
	return err.Error()
}

// status is the HTTP status of an answer that is an error, 0 if there was no answer.
func status(err error) int {
	var r *smithyhttp.ResponseError
	if errors.As(err, &r) {
		return r.HTTPStatusCode()
	}
	return 0
}

// code is S3's own name of an error.
func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// taken says whether a put was refused because there is an object.
func taken(err error) bool { return status(err) == http.StatusPreconditionFailed }

// hint says what an operator can do.
func hint(err error) string {
	var dns *net.DNSError
	switch c := code(err); {
	case c == "NoSuchBucket":
		return "create the bucket, or correct its name"
	case c == "InvalidAccessKeyId" || c == "SignatureDoesNotMatch" || c == "ExpiredToken" ||
		c == "InvalidToken":
		return "the credentials are wrong: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile"
	case c == "RequestTimeTooSkewed":
		return "this machine's clock is wrong"
	case c == "NotImplemented":
		return "conditional writes are needed"
	case status(err) == http.StatusMovedPermanently || c == "AuthorizationHeaderMalformed" ||
		c == "IllegalLocationConstraintException":
		return "the region is wrong: " + regionHint(err)
	case status(err) == http.StatusForbidden:
		return "the credentials need s3:PutObject and s3:GetObject on the objects, and " +
			"s3:ListBucket on the bucket"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "is the server running, and is --s3-endpoint its URL?"
	case errors.As(err, &dns):
		return "is --s3-endpoint right? With a server of your own, --s3-path-style keeps the " +
			"bucket out of the host name"
	}
	return ""
}

// regionHint reads which region the bucket is in from the answer.
func regionHint(err error) string {
	var r *smithyhttp.ResponseError
	if errors.As(err, &r) && r.Response != nil {
		if region := r.Response.Header.Get("X-Amz-Bucket-Region"); region != "" {
			return "--s3-region " + region
		}
	}
	return "--s3-region must be the bucket's"
}

// Away says that an error of Open means that the store could not be reached, or is not in order itself: waiting may
// help. A store that refuses, or is not one that Braid can use, is there.
func Away(err error) bool {
	var network *net.OpError
	if errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	n := status(err)
	return n >= http.StatusInternalServerError && n != http.StatusNotImplemented
}
