package objstore

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// crcMetadata is the name of an object's metadata that has its CRC-32C in hexadecimal digits, for
// servers that do not keep the checksum itself.
const crcMetadata = "braid-crc32c"

func (s *S3) Put(ctx context.Context, key string, body Body) error {
	full, err := s.key(ctx, key)
	if err != nil {
		return fmt.Errorf("put: %w", err)
	}
	if err := s.put(ctx, full, body); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

func (s *S3) put(ctx context.Context, key *string, body Body) error {
	// A wrong body is found here: a server may not check, and one that refuses does not tell
	// whether the body was wrong or the way to it.
	if err := body.copyTo(ctx, io.Discard); err != nil {
		return err
	}
	err := s.upload(ctx, key, body)
	if !taken(err) {
		return err
	}
	// By another, or by an attempt whose answer was lost.
	err = s.compare(ctx, key, body)
	if errors.Is(err, ErrNotFound) {
		return errors.New("the key is taken, yet there is no object: does somebody delete?")
	}
	return err
}

// upload puts the object unless the key is taken.
func (s *S3) upload(ctx context.Context, key *string, body Body) error {
	r, err := body.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	ctx, cancel := s.call(ctx)
	defer cancel()
	_, err = s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.bucket, Key: key, IfNoneMatch: aws.String("*"),
		Body: body.seeker(r), ContentLength: &body.Size,
		ChecksumCRC32C: aws.String(base64.StdEncoding.EncodeToString(
			binary.BigEndian.AppendUint32(nil, body.CRC))),
		Metadata: map[string]string{crcMetadata: fmt.Sprintf("%08x", body.CRC)},
	})
	return explain(ctx, err)
}

// seeker makes r, which is b opened, one that an attempt can begin anew.
func (b Body) seeker(r io.Reader) io.ReadSeeker {
	if at, ok := r.(io.ReaderAt); ok {
		return io.NewSectionReader(at, 0, b.Size)
	}
	if b.Reader != nil {
		return b.Reader
	}
	return strings.NewReader("")
}

// compare returns nil if the object has the body's length and checksum.
func (s *S3) compare(ctx context.Context, key *string, body Body) error {
	head, err := s.head(ctx, key)
	if err != nil {
		return err
	}
	if size := aws.ToInt64(head.ContentLength); size != body.Size {
		return fmt.Errorf("%w: %d bytes are there, not %d", ErrDifferent, size, body.Size)
	}
	crc, ok := storedCRC(head)
	if !ok {
		if crc, err = s.readCRC(ctx, key); err != nil {
			return err
		}
	}
	if crc != body.CRC {
		return fmt.Errorf("%w: checksum %08x is there, not %08x", ErrDifferent, crc, body.CRC)
	}
	return nil
}

// storedCRC is what the server knows: its own checksum, which it verified, or else what whoever put
// the object said.
func storedCRC(head *s3.HeadObjectOutput) (uint32, bool) {
	// Of an object that was put in parts it is another thing.
	if head.ChecksumType == types.ChecksumTypeFullObject || head.ChecksumType == "" {
		b, err := base64.StdEncoding.DecodeString(aws.ToString(head.ChecksumCRC32C))
		if err == nil && len(b) == 4 {
			return binary.BigEndian.Uint32(b), true
		}
	}
	crc, err := strconv.ParseUint(head.Metadata[crcMetadata], 16, 32)
	return uint32(crc), err == nil
}

func (s *S3) readCRC(ctx context.Context, key *string) (uint32, error) {
	r, _, err := s.get(ctx, key)
	if err != nil {
		return 0, err
	}
	sum := crc32.New(castagnoli)
	_, err = io.Copy(sum, r)
	return sum.Sum32(), errors.Join(err, r.Close())
}
