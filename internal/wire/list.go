package wire

// LongestList returns how many objects the array with most of them holds, of a JSON
// document.
func LongestList(body []byte) (longest int) {
	const object = -1
	var room [32]int
	open := room[:0] // of each open array: the objects in it so far
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
