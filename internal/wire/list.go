// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package wire

// LongestList returns the largest number of objects in an array of a JSON document.
func LongestList(body []byte) (longest int) {
	const object = -1
	var room [32]int
	open := room[:0] // the number of objects so far in each open array
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '"':
			i = endOfString(body, i)
		case '[':
			open = append(open, 0)
		case '{':
			if n := len(open); n > 0 && open[n-1] != object {
				open[n-1]++
				longest = max(longest, open[n-1])
			}
			open = append(open, object)
		case '}', ']':
			if n := len(open); n > 0 {
				open = open[:n-1]
			}
		}
	}
	return longest
}
