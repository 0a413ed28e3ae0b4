// Package history checks what a control plane shows after a crash against what it
// acknowledged before.
//
// A [Log] takes down what writers intend before they ask, and the answers. Each
// object has one writer, so that at most one write of it is in flight, and each
// write a stamp of its own by which it is known again. After a restart
// [Log.Check] compares: an object must be as the last acknowledged write left it,
// or as the one that was in flight would have. A [Watch] takes down the events of
// one watch across restarts, and [Log.CheckWatch] compares these with the writes.
//
// What is found is a list of sentences; an empty one is a control plane that has
// kept its word.
package history
