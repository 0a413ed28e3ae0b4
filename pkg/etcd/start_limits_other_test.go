// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package etcd_test

import "errors"

var errOnlyLinux = errors.New("only on Linux")

func limited(string) error { return errOnlyLinux }
func flooded(string) error { return errOnlyLinux }
