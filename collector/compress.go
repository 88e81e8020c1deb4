package collector

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // senders may compress
)

// zstdWindowMax bounds what a frame may make its reader remember, whatever its header asks for.
const zstdWindowMax = 8 << 20

// zstdReader unpacks as it is read, without goroutines; it needs no closing.
func zstdReader(from io.Reader) (io.Reader, error) {
	d, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindowMax))
	if err != nil {
		return nil, fmt.Errorf("unpack zstd: %w", err)
	}
	return d, nil
}

// zstdCompressor is zstd for gRPC, which bounds the unpacked size itself.
type zstdCompressor struct{}

func (zstdCompressor) Name() string { return "zstd" }

func (zstdCompressor) Decompress(r io.Reader) (io.Reader, error) { return zstdReader(r) }

func (zstdCompressor) Compress(w io.Writer) (io.WriteCloser, error) {
	e, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, fmt.Errorf("pack zstd: %w", err)
	}
	return e, nil
}

// gRPC looks compressors up in a map of its own that may only be written before main: hence an init.
func init() { encoding.RegisterCompressor(zstdCompressor{}) }
