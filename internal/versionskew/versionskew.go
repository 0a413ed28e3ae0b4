// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package versionskew has the rules for a release that opens the data of another one.
package versionskew

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/util/version"
)

// Err reports that this release does not support the Kubernetes version of the data.
var Err = errors.New("version skew")

// Follows returns an error, with the cure, if release own must not open the data of
// release stored. It reports whether own is newer. Both are versions like v1.37.2.
//
// The rules follow https://kubernetes.io/releases/version-skew-policy: Kubernetes neither
// goes back to an older minor version nor skips one, even with a single server. Servers
// that share the data are at most one minor version apart, so each can be replaced, and
// restarted meanwhile.
func Follows(stored, own string, shared bool) (newer bool, err error) {
	was, err := version.ParseSemantic(stored)
	if err != nil {
		return false, err
	}
	is, err := version.ParseSemantic(own)
	if err != nil {
		return false, err
	}
	minors := int(is.Minor()) - int(was.Minor())
	switch {
	case was.Major() != is.Major():
		return false, fmt.Errorf("%w: this is %s, another major version", Err, own)
	case shared && minors < -1:
		return false, fmt.Errorf("%w: this is %s, and servers that share an etcd must be at most one minor version apart: use a release with Kubernetes v%d.%d or newer", Err, own, was.Major(), was.Minor()-1)
	case shared && minors > 1:
		return false, fmt.Errorf("%w: this is %s, and servers that share an etcd must be at most one minor version apart: upgrade all of them to a release with v%d.%d first", Err, own, was.Major(), was.Minor()+1)
	case !shared && minors < 0:
		return false, fmt.Errorf("%w: this is %s, and Kubernetes does not go back: use a release with v%d.%d or newer, or restore a snapshot from before the upgrade", Err, own, was.Major(), was.Minor())
	case !shared && minors > 1:
		return false, fmt.Errorf("%w: this is %s, and Kubernetes does not skip a minor version: start a release with v%d.%d on it before, once", Err, own, was.Major(), was.Minor()+1)
	}
	return was.LessThan(is), nil
}
