// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// The annotations with the content of an object.
const (
	stampKey = "durable.test/stamp"
	againKey = "durable.test/stamp-again"
	fillKey  = "durable.test/fill"
	sumKey   = "durable.test/sum"
)

// Content returns the annotations of a write with this stamp: the stamp twice, and some
// bytes with their checksum.
func Content(stamp int64, size int) map[string]string {
	id := strconv.FormatInt(stamp, 10)
	fill := strings.Repeat(id+".", size/(len(id)+1)+1)
	return map[string]string{stampKey: id, againKey: id, fillKey: fill, sumKey: sum(id, fill)}
}

// Stamp returns the stamp of an object's content, or an error if the content does not
// come from one write.
func Stamp(content map[string]string) (int64, error) {
	id := content[stampKey]
	stamp, err := strconv.ParseInt(id, 10, 64)
	switch {
	case err != nil:
		return 0, fmt.Errorf("half there: %w", err)
	case content[againKey] != id:
		return stamp, fmt.Errorf("half there: the stamps are %q and %q", id, content[againKey])
	case content[sumKey] != sum(id, content[fillKey]):
		return stamp, fmt.Errorf("half there: the checksum of write %s is wrong", id)
	}
	return stamp, nil
}

func sum(id, fill string) string {
	return strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(id+" "+fill))), 16)
}

// Report adds a finding.
func (l *Log) Report(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report(format, args...)
}

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }
