// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package history checks the answers of several API servers to their clients against
// the possible answers of one sequential server. A history is correct if it is
// linearizable for each object.
//
// A [Log] records calls and their answers. A call without an answer may have taken
// effect at any time since it began, or never: it stays open to the end of the history.
// [Check] uses porcupine to search an order that explains all answers, in which each
// call takes effect between its start and its end. It includes resource versions: they
// rise with each write of an object; an update or deletion of a version takes effect if
// and only if the object has that version; and a read returns the version of the last
// write.
//
// [CheckVersions] checks all objects together: a write that began after the answer to
// another has a higher resource version.
package history
