// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import "math"

// CBOR measures a CBOR document (RFC 8949). A malformed end is left to the
// decoder.
func CBOR(body []byte, sizes Sizes, limits Limits) (Cost, error) {
	m := meter{limits: limits}
	err := m.add(2 * int64(len(body)))
	// A bracket of definite length ends with a count, others with a break.
	type bracket struct {
		left  uint64 // items to come; math.MaxUint64: until a break
		begin int
		value int64 // the cost of an item
	}
	var open []bracket
	for i := 0; i < len(body) && err == nil; {
		for n := len(open); n > 0 && open[n-1].left == 0; n = len(open) {
			if err := m.span(i - open[n-1].begin); err != nil {
				return m.cost, err
			}
			open = open[:n-1]
		}
		if n := len(open); n > 0 {
			if open[n-1].left != math.MaxUint64 {
				open[n-1].left--
			}
			err = m.add(open[n-1].value)
			if err != nil {
				break
			}
		}
		begin, major, info := i, body[i]>>5, body[i]&31
		i++
		var argument uint64
		indefinite := info == 31
		switch {
		case info < 24:
			argument = uint64(info)
		case info < 28:
			for range 1 << (info - 24) {
				if i == len(body) {
					return m.cost, err
				}
				argument = argument<<8 | uint64(body[i])
				i++
			}
		case !indefinite:
			return m.cost, malformed("the body is not valid CBOR: reserved length %d", info)
		}
		switch major {
		case 2, 3:
			if indefinite { // chunks until a break
				open = append(open, bracket{left: math.MaxUint64, begin: begin, value: sizes.Element})
				err = m.enter(len(open))
			} else if argument > uint64(len(body)-i) {
				return m.cost, nil
			} else {
				i += int(argument)
			}
		case 4, 5:
			size, items := sizes.Element, argument
			if major == 5 {
				size = sizes.Object
				if items = 2 * argument; argument > math.MaxInt64 {
					return m.cost, malformed("the body is not valid CBOR: a map of %d pairs", argument)
				}
			}
			if indefinite {
				items = math.MaxUint64
			} else if items > uint64(len(body)-i) {
				return m.cost, nil // the body is too short: every decoder refuses it
			}
			if err = m.add(size); err == nil {
				value := sizes.Element
				if major == 5 {
					value = untypedMember
				}
				open = append(open, bracket{left: items, begin: begin, value: value})
				err = m.enter(len(open))
			}
		case 6: // a tag, followed by its content
			open = append(open, bracket{left: 1, begin: begin})
			err = m.enter(len(open))
		case 7:
			if n := len(open); indefinite && n > 0 { // a break
				err = m.span(i - open[n-1].begin)
				open = open[:n-1]
			}
		}
	}
	return m.cost, err
}
