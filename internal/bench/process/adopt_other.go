// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package process

import (
	"errors"
	"time"
)

// Adopt needs Linux.
func Adopt() error { return errors.ErrUnsupported }

// Wait needs Linux.
func Wait() (time.Duration, error) { return 0, errors.ErrUnsupported }
