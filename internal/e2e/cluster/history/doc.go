// Package history checks what clients of several API servers were told against what
// one server that does one thing after the other could have told them: a history is
// good if it is linearizable, for each object by itself.
//
// A [Log] takes down calls and their answers. A call without an answer may have been
// done at any time since it began, or never: it stays open to the end of the history.
// [Check] has porcupine look for an order that explains all answers, in which each
// call is done between its begin and its end. Resource versions are part of it: they
// rise with each write of an object, an update or deletion of a version is done if
// and only if the object has that version, and a read tells the version that the write
// had been given.
//
// [CheckVersions] looks at all objects together: a write that began after another was
// answered has a higher resource version.
package history
