// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package durable

import "errors"

func disableFsync() error { return errors.New("needs Linux") }
