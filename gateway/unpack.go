package gateway

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/seed-551dd829/braid/internal/api"
)

// unpacker undoes Content-Encoding. Several gzip members or zstd frames are one payload. It is safe
// for concurrent use; it keeps decoders, which are dear to make.
type unpacker struct {
	limit int // of the unpacked payload, in bytes
	gzips sync.Pool
	zstds sync.Pool
}

func newUnpacker(limit int) *unpacker { return &unpacker{limit: limit} }

// unpack returns the payload's bytes. Past the limit it stops: what a few kilobytes claim to be is
// never allocated.
func (u *unpacker) unpack(data []byte, p packing) ([]byte, *api.Error) {
	if p == plain {
		return data, nil
	}
	if len(data) == 0 {
		return nil, nil
	}
	if p == gzipped {
		return u.gunzip(data)
	}
	return u.unzstd(data)
}

func (u *unpacker) gunzip(data []byte) ([]byte, *api.Error) {
	r, ok := u.gzips.Get().(*gzip.Reader)
	if !ok {
		r = new(gzip.Reader)
	}
	defer u.gzips.Put(r)
	if err := r.Reset(bytes.NewReader(data)); err != nil {
		return nil, api.Errorf(api.Invalid, "the payload is not gzip: %v", err)
	}
	out, err := u.read(r, len(data))
	if err != nil {
		return nil, u.refusal("gzip", err)
	}
	return out, nil
}

func (u *unpacker) unzstd(data []byte) ([]byte, *api.Error) {
	r, ok := u.zstds.Get().(*zstd.Decoder)
	if !ok {
		var err error
		// One at a time: the decoder then has no goroutine of its own, and the workers are the
		// parallelism.
		r, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(uint64(u.limit)))
		if err != nil {
			return nil, api.Errorf(api.Unavailable, "zstd: %v", err)
		}
	}
	defer func() {
		if r.Reset(nil) == nil {
			u.zstds.Put(r)
		}
	}()
	if err := r.Reset(bytes.NewReader(data)); err != nil {
		return nil, u.refusal("zstd", err)
	}
	out, err := u.read(r, len(data))
	if err != nil {
		return nil, u.refusal("zstd", err)
	}
	return out, nil
}

var errUnpackedTooLarge = errors.New("unpacked too large")

func (u *unpacker) read(r io.Reader, packed int) ([]byte, error) {
	out := bytes.NewBuffer(make([]byte, 0, min(4*packed, u.limit)+bytes.MinRead))
	n, err := out.ReadFrom(io.LimitReader(r, int64(u.limit)+1))
	if err != nil {
		return nil, err
	}
	if n > int64(u.limit) {
		return nil, errUnpackedTooLarge
	}
	return out.Bytes(), nil
}

func (u *unpacker) refusal(what string, err error) *api.Error {
	if errors.Is(err, errUnpackedTooLarge) || errors.Is(err, zstd.ErrDecoderSizeExceeded) ||
		errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return api.Errorf(api.TooLarge, "the payload unpacks to more than %d bytes", u.limit)
	}
	return api.Errorf(api.Invalid, "the payload is damaged %s: %v", what, err)
}
