// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package inmem

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// source is a snapshot that records its Close.
type source struct {
	io.Reader
	size   int64
	closed bool
}

func (s *source) Size() int64 { return s.size }
func (s *source) Close() error {
	s.closed = true
	return nil
}

// TestSnapshotStream: the stream has every byte, counts the remaining bytes, and closes
// the snapshot at its end.
func TestSnapshotStream(t *testing.T) {
	data := bytes.Repeat([]byte("snapshot"), 10_000)
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		reader io.Reader
		want   error
	}{
		"complete":     {bytes.NewReader(data), io.EOF},
		"byte by byte": {iotest.OneByteReader(bytes.NewReader(data)), io.EOF},
		"empty":        {bytes.NewReader(nil), io.EOF},
		"broken":       {io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken)), broken},
	} {
		t.Run(name, func(t *testing.T) {
			s := &source{Reader: c.reader, size: int64(len(data))}
			stream := &snapshotStream{snapshot: s, ctx: t.Context(), left: s.size}
			var got []byte
			for {
				response, err := stream.Recv()
				if err != nil {
					if !errors.Is(err, c.want) {
						t.Errorf("ends with %v, want %v", err, c.want)
					}
					break
				}
				got = append(got, response.Blob...)
				if left := len(data) - len(got); response.RemainingBytes != uint64(left) {
					t.Errorf("%d bytes remain, want %d", response.RemainingBytes, left)
				}
			}
			if !bytes.HasPrefix(data, got) || name != "empty" && name != "broken" && len(got) != len(data) {
				t.Errorf("got %d bytes, want the %d of the snapshot", len(got), len(data))
			}
			if !s.closed {
				t.Error("the snapshot is still open")
			}
		})
	}
}
