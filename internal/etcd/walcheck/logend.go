// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package walcheck

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// The write-ahead log ends at the first record that cannot be read. A crash leaves such
// an end anywhere in the part that was not synced yet, so etcd truncates the log there
// and continues. If the cause is damage instead, it would forget acknowledged writes.
// CheckEnd distinguishes the two by the limits of a crash:
//
//   - Only whole sectors after the end are missing, and they are zero. The length of a
//     record is in one sector, so it is right or zero, and the rest of the record agrees
//     with it.
//   - A segment is allocated in full before it is used, and keeps its size. It is short
//     only where etcd has truncated it, which leaves a copy with the suffix .broken, or
//     was stopped while doing so, which leaves it at the end of a record.
//   - The data after an end was written without a sync in between. So no later record
//     says that a missing entry had been committed.
//
// A crash and damage look the same if they remove everything that was written since the
// last sync but one.

// fileError is an error about a file.
type fileError struct {
	path string
	err  error
}

func (e *fileError) Error() string { return e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// logEnd is the end of the write-ahead log, in its last segment.
type logEnd struct {
	file *os.File
	size int64
	at   int64  // offset of the first record that cannot be read
	last uint64 // index of the last entry before it
	torn bool   // the end has part of a record
}

// CheckEnd checks the end of the log in dir; last is the index of its last readable
// entry. standalone says that the member belongs to no cluster.
func CheckEnd(dir string, last uint64, standalone bool) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(paths) == 0 {
		return err
	}
	path := paths[len(paths)-1] // Glob sorts.
	// A segment has the index of its first entry in its name.
	for i, next := range paths[1:] {
		if first, ok := firstIndex(next); ok && first > last+1 {
			return &fileError{paths[i], fmt.Errorf("it ends at entry %d, but the next file begins with entry %d", last, first)}
		}
	}
	if err := checkSegment(path, last, standalone); err != nil {
		return &fileError{path, err}
	}
	return nil
}

func firstIndex(path string) (index uint64, ok bool) {
	var seq uint64
	_, err := fmt.Sscanf(filepath.Base(path), "%016x-%016x.wal", &seq, &index)
	return index, err == nil
}

func checkSegment(path string, last uint64, standalone bool) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	e := &logEnd{file: file, size: info.Size(), last: last}
	if err := e.find(); err != nil {
		return err
	}
	short := e.size < wal.SegmentSizeBytes && !fileutil.Exist(path+".broken")
	if e.torn {
		if err := e.checkTorn(short); err != nil {
			return err
		}
	}
	if err := e.checkAfter(standalone); err != nil {
		return err
	}
	if short {
		// A crash of the next start must not leave it short inside a record.
		return fileutil.Preallocate(file, wal.SegmentSizeBytes, true)
	}
	return nil
}

// find reads records to the end, as wal.Repair does.
func (e *logEnd) find() error {
	decoder := wal.NewDecoder(fileutil.NewFileReader(e.file))
	var rec walpb.Record
	for {
		switch err := decoder.Decode(&rec); {
		case err == nil:
			if rec.GetType() == wal.CrcType {
				decoder.UpdateCRC(rec.GetCrc())
			}
			continue
		case errors.Is(err, io.ErrUnexpectedEOF):
			e.torn = true
		case !errors.Is(err, io.EOF):
			return err
		}
		e.at = decoder.LastOffset()
		return nil
	}
}

// checkTorn checks the incomplete record.
func (e *logEnd) checkTorn(short bool) error {
	const sector = 512
	head := make([]byte, frameBytes+2*sector)
	n, err := e.file.ReadAt(head, e.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	head = head[:n]
	if len(head) < frameBytes {
		return e.cutShort(short)
	}
	size, pad := frameSize(head)
	body := head[frameBytes:]
	// The start of the record, as far as its first sector has it.
	here := min(sector-(e.at+frameBytes)%sector, int64(len(body)), size)
	if !isZero(body[:here]) {
		if claimed, ok := bodySize(body[:here]); ok && claimed != size {
			return fmt.Errorf("the record at byte %d is damaged: its length is %d, but its content has %d bytes", e.at, size, claimed)
		}
	}
	// The last record of a segment may make the file longer.
	if end := e.at + frameBytes + size + pad; end > e.size && end <= wal.SegmentSizeBytes {
		return e.cutShort(short)
	}
	return nil
}

func (e *logEnd) cutShort(short bool) error {
	if !short {
		return nil
	}
	return fmt.Errorf("the file is cut short: it has %d bytes of %d, and ends in a record", e.size, wal.SegmentSizeBytes)
}

// checkAfter looks for records after the end which prove that the entry after e.last had
// been committed, and synced before they were written.
//
// A standalone member commits an entry once it is synced, and records the commit later. A
// member of a cluster may record an entry and its commit together: there the sync comes
// before the next entry.
func (e *logEnd) checkAfter(standalone bool) error {
	committed := false
	return e.recordsAfter(func(at int64, rec *walpb.Record) error {
		switch rec.GetType() {
		case wal.StateType:
			var state raftpb.HardState
			if proto.Unmarshal(rec.GetData(), &state) == nil && state.GetCommit() > e.last {
				committed = true
			}
		case wal.EntryType:
			if !committed {
				return nil
			}
		default:
			return nil
		}
		if committed && (standalone || rec.GetType() == wal.EntryType) {
			return fmt.Errorf("it is readable up to byte %d, entry %d, but further entries had been stored: see the record at byte %d", e.at, e.last, at)
		}
		return nil
	})
}

// recordsAfter calls f for the records after the end. Data is a record if another record
// follows that continues its checksum.
func (e *logEnd) recordsAfter(f func(at int64, rec *walpb.Record) error) error {
	rec, next := new(walpb.Record), new(walpb.Record)
	return e.dataAfter(func(at int64, data []byte) error {
		for p := 0; p+frameBytes <= len(data); {
			n := parseRecord(data[p:], rec)
			if n == 0 || parseRecord(data[p+n:], next) == 0 || !continues(rec, next) {
				p += frameBytes // Records begin at multiples of it.
				continue
			}
			for n > 0 {
				if err := f(at+int64(p), rec); err != nil {
					return err
				}
				p += n
				if n = parseRecord(data[p:], next); n > 0 && !continues(rec, next) {
					n = 0
				}
				rec, next = next, rec
			}
		}
		return nil
	})
}

// dataAfter calls f for the nonzero ranges of the file after the end.
func (e *logEnd) dataAfter(f func(at int64, data []byte) error) error {
	const block = 1 << 20
	var data []byte
	buf := make([]byte, block)
	from := int64(0)
	for at := (e.at + frameBytes - 1) / frameBytes * frameBytes; ; {
		next := nextData(e.file, at)
		if next < 0 || next >= e.size {
			break
		}
		at = max(at, next/frameBytes*frameBytes)
		n, err := e.file.ReadAt(buf, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n == 0 {
			break
		}
		if !isZero(buf[:n]) {
			if len(data) == 0 {
				from = at
			}
			// A skipped gap has no record, and stays a gap.
			data = append(data, make([]byte, at-from-int64(len(data)))...)
			data = append(data, buf[:n]...)
		} else if len(data) > 0 {
			if err := f(from, data); err != nil {
				return err
			}
			data = data[:0]
		}
		at += int64(n)
	}
	if len(data) == 0 {
		return nil
	}
	return f(from, data)
}

// frameBytes is the size of the header of a record: the length of the record, in 56 bits,
// and of the padding after it to a multiple of 8 bytes.
const frameBytes = 8

func frameSize(frame []byte) (size, pad int64) {
	length := binary.LittleEndian.Uint64(frame)
	size = int64(length &^ (0xff << 56))
	if length>>63 == 1 {
		pad = int64(length >> 56 & 7)
	}
	return size, pad
}

// parseRecord parses the record at the start of data and returns its size with the
// header. It returns 0 if there is none.
func parseRecord(data []byte, rec *walpb.Record) int {
	if len(data) < frameBytes {
		return 0
	}
	size, pad := frameSize(data)
	if size == 0 || pad != (8-size%8)%8 || size+pad > int64(len(data)-frameBytes) {
		return 0
	}
	rec.Reset()
	if proto.Unmarshal(data[frameBytes:frameBytes+size], rec) != nil || int64(proto.Size(rec)) != size ||
		rec.GetType() < wal.MetadataType || rec.GetType() > wal.SnapshotType {
		return 0
	}
	return frameBytes + int(size+pad)
}

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// continues reports whether the checksum of next, which covers the whole log, continues
// the checksum of rec.
func continues(rec, next *walpb.Record) bool {
	if next.GetType() == wal.CrcType {
		return next.GetCrc() == rec.GetCrc()
	}
	return next.GetCrc() == crc32.Update(rec.GetCrc(), crcTable, next.GetData())
}

// bodySize returns the length of a record by its first fields: type, checksum and the
// length of its data.
func bodySize(body []byte) (size int64, ok bool) {
	at := 0
	for field := uint64(1); field <= 3; field++ {
		wire := uint64(0)
		if field == 3 {
			wire = 2
		}
		tag, n := binary.Uvarint(body[at:])
		if n <= 0 {
			return 0, false
		}
		if tag != field<<3|wire {
			return 0, true // not a record
		}
		at += n
		value, n := binary.Uvarint(body[at:])
		if n <= 0 {
			return 0, false
		}
		at += n
		size = int64(at) + int64(value)
	}
	return size, true
}

func isZero(data []byte) bool {
	for _, b := range data {
		if b != 0 {
			return false
		}
	}
	return true
}
