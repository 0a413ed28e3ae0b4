// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import "bytes"

// JSON measures a JSON document. It does not validate: a decoder of an invalid document
// takes no more than the measured cost.
func JSON(body []byte, sizes Sizes, limits Limits) (Cost, error) {
	m := meter{limits: limits}
	err := m.json(body, sizes, 0)
	return m.cost, err
}

// json measures a document that begins at a depth of the body.
func (m *meter) json(body []byte, sizes Sizes, outer int) error {
	if err := m.add(2 * int64(len(body))); err != nil {
		return err
	}
	// The beginnings of the open objects and arrays; an array's is negative, less one.
	var room [32]int
	open := room[:0]
	for i := 0; i < len(body); i++ {
		var err error
		switch body[i] {
		case '"':
			i = endOfString(body, i)
		case '{', '[':
			begin, size := i, sizes.Object
			if n := len(open); n > 0 && open[n-1] < 0 {
				size = max(0, sizes.Object-sizes.Element) // the element has the rest
			}
			if body[i] == '[' {
				begin, size = -i-1, sizes.Element
			}
			open = append(open, begin)
			if err = m.enter(outer + len(open)); err == nil {
				err = m.add(size)
			}
		case ',':
			size := int64(untypedMember)
			if n := len(open); n > 0 && open[n-1] < 0 {
				size = sizes.Element
			}
			err = m.add(size)
		case '}', ']':
			if n := len(open); n > 0 {
				begin := open[n-1]
				if begin < 0 {
					begin = -begin - 1
				}
				open = open[:n-1]
				err = m.span(i + 1 - begin)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// untypedMember is the size of a further member of an object, in a map.
const untypedMember = 48

// endOfString returns the end of the string that begins at i.
func endOfString(body []byte, i int) int {
	for i++; i < len(body); {
		quote := bytes.IndexByte(body[i:], '"')
		if quote < 0 {
			return len(body)
		}
		// Escaped by an odd number of backslashes before it.
		end := i + quote
		slashes := 0
		for slashes < quote && body[end-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return end
		}
		i = end + 1
	}
	return len(body)
}
