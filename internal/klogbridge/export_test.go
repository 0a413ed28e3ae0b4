package klogbridge

// Parse is for the fuzzer.
func Parse(text string) { _, _ = parsePairs(text) }
