package native

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/go-faster/city"
	"github.com/pierrec/lz4/v4"
)

// A compressed frame is: a CityHash128 of all that follows, the method, the size from the method on, the
// size unpacked, and the data.
const (
	frameChecksum = 16
	frameHeader   = frameChecksum + 1 + 4 + 4
	methodLZ4     = 0x82
	// frameBytes is about how much one frame holds unpacked: it fits the processor's second cache.
	frameBytes = 256 << 10
)

// frames collects a column after the other and packs what has come together.
type frames struct {
	raw    []byte
	packed []byte
	lz4    lz4.Compressor
}

// room packs what is there, once that is enough for a frame.
func (f *frames) room() {
	if len(f.raw) >= frameBytes {
		f.pack()
	}
}

func (f *frames) pack() {
	if len(f.raw) == 0 {
		return
	}
	from := len(f.packed)
	most := frameHeader + lz4.CompressBlockBound(len(f.raw))
	f.packed = slices.Grow(f.packed, most)
	frame := f.packed[from : from+most]
	n, err := f.lz4.CompressBlock(f.raw, frame[frameHeader:])
	if err != nil {
		panic(fmt.Sprintf("lz4 with room enough: %v", err)) // the only error it knows is too little room
	}
	frame = frame[:frameHeader+n]
	frame[frameChecksum] = methodLZ4
	binary.LittleEndian.PutUint32(frame[frameChecksum+1:], uint32(len(frame)-frameChecksum))
	binary.LittleEndian.PutUint32(frame[frameChecksum+5:], uint32(len(f.raw)))
	sum := city.CH128(frame[frameChecksum:])
	binary.LittleEndian.PutUint64(frame, sum.Low)
	binary.LittleEndian.PutUint64(frame[8:], sum.High)
	f.packed = f.packed[:from+len(frame)]
	f.raw = f.raw[:0]
}

func (f *frames) byte(b byte)     { f.raw = append(f.raw, b) }
func (f *frames) uint32(n uint32) { f.raw = binary.LittleEndian.AppendUint32(f.raw, n) }
func (f *frames) uint64(n uint64) { f.raw = binary.LittleEndian.AppendUint64(f.raw, n) }
func (f *frames) varint(n int)    { f.raw = binary.AppendUvarint(f.raw, uint64(n)) }

func (f *frames) text(s []byte) {
	if len(s) < 0x80 {
		f.raw = append(f.raw, byte(len(s)))
	} else {
		f.varint(len(s))
	}
	f.raw = append(f.raw, s...)
}

func (f *frames) string(s string) {
	f.varint(len(s))
	f.raw = append(f.raw, s...)
}
