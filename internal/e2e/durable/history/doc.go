// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package history checks the objects of a control plane after a crash against the
// writes that it acknowledged before.
//
// A [Log] records writes before they start, and their answers. Each object has one
// writer, so at most one write of it is in flight, and each write has a unique stamp.
// After a restart [Log.Check] compares: an object must be as after the last
// acknowledged write, or after the write in flight. A [Watch] records the events of one
// watch across restarts, and [Log.CheckWatches] compares them with the writes.
//
// Findings are a list of sentences. The list is empty if the control plane has lost
// nothing.
package history
