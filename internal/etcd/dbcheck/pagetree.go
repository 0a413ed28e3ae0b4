// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package dbcheck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// pageCheck makes the checks that bbolt makes when it opens a file to find free pages:
// every page has its own number and a known kind, is used once, and holds its keys in
// order. bbolt checks in a goroutine of its own and panics there, as its Tx.Check does,
// so that its check cannot be called.
//
// The layout has been the same since bolt's first release: a header of 16
// bytes (id, flags, count, overflow), then elements of 16 bytes.
type pageCheck struct {
	file     io.ReaderAt
	pageSize uint64
	pages    uint64 // in the file
	used     []bool
}

const (
	pageHeaderSize  = 16
	pageElementSize = 16
	branchPage      = 1
	leafPage        = 2
	bucketElement   = 1
)

func newPageCheck(file io.ReaderAt, pageSize, pages uint64) *pageCheck {
	return &pageCheck{file: file, pageSize: pageSize, pages: pages, used: make([]bool, pages)}
}

// tree checks the page id and the pages below it. Keys must be at least low and less than
// high; nil is no bound.
func (c *pageCheck) tree(id uint64, low, high []byte) error {
	page, err := c.read(id)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	flags, count := binary.NativeEndian.Uint16(page[8:]), int(binary.NativeEndian.Uint16(page[10:]))
	previous := low
	for i := range count {
		at := pageHeaderSize + i*pageElementSize
		if at+pageElementSize > len(page) {
			return fmt.Errorf("page %d: too many elements", id)
		}
		element := page[at:]
		key, value, err := elementOf(element, flags)
		if err != nil {
			return fmt.Errorf("page %d: element %d: %w", id, i, err)
		}
		order := bytes.Compare(previous, key)
		if previous != nil && (order > 0 || order == 0 && i > 0) || high != nil && bytes.Compare(key, high) >= 0 {
			return fmt.Errorf("page %d: element %d: key is out of order", id, i)
		}
		previous = key
		switch {
		case flags == branchPage:
			next := high
			if i+1 < count && at+2*pageElementSize <= len(page) {
				if next, _, err = elementOf(page[at+pageElementSize:], flags); err != nil {
					return fmt.Errorf("page %d: element %d: %w", id, i+1, err)
				}
			}
			err = c.tree(binary.NativeEndian.Uint64(element[8:]), key, next)
		case binary.NativeEndian.Uint32(element)&bucketElement != 0:
			if len(value) < 16 {
				return fmt.Errorf("page %d: element %d: a bucket of %d bytes", id, i, len(value))
			}
			// A root of zero is a small bucket inside the value.
			if root := binary.NativeEndian.Uint64(value); root != 0 {
				err = c.tree(root, nil, nil)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// read returns a page with its overflow and marks them as used.
func (c *pageCheck) read(id uint64) ([]byte, error) {
	if id < 2 || id >= c.pages {
		return nil, errors.New("out of bounds")
	}
	var header [pageHeaderSize]byte
	if _, err := c.file.ReadAt(header[:], int64(id*c.pageSize)); err != nil {
		return nil, err
	}
	if self := binary.NativeEndian.Uint64(header[:]); self != id {
		return nil, fmt.Errorf("it says that it is page %d", self)
	}
	if flags := binary.NativeEndian.Uint16(header[8:]); flags != branchPage && flags != leafPage {
		return nil, fmt.Errorf("it is of kind %#x", flags)
	}
	n := 1 + uint64(binary.NativeEndian.Uint32(header[12:]))
	if id+n > c.pages {
		return nil, fmt.Errorf("its %d pages are out of bounds", n)
	}
	for i := id; i < id+n; i++ {
		if c.used[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		c.used[i] = true
	}
	page := make([]byte, n*c.pageSize)
	_, err := c.file.ReadAt(page, int64(id*c.pageSize))
	return page, err
}

// elementOf returns the key and, on a leaf, the value of an element. Its offsets are
// relative to its own start.
func elementOf(element []byte, flags uint16) (key, value []byte, err error) {
	var pos, ksize, vsize uint64
	if flags == branchPage {
		pos, ksize = uint64(binary.NativeEndian.Uint32(element)), uint64(binary.NativeEndian.Uint32(element[4:]))
	} else {
		pos, ksize, vsize = uint64(binary.NativeEndian.Uint32(element[4:])), uint64(binary.NativeEndian.Uint32(element[8:])), uint64(binary.NativeEndian.Uint32(element[12:]))
	}
	if pos+ksize+vsize > uint64(len(element)) {
		return nil, nil, errors.New("it reaches beyond its page")
	}
	return element[pos : pos+ksize], element[pos+ksize : pos+ksize+vsize], nil
}
