//go:build !linux

package durable

import "errors"

func disableFsync() error { return errors.New("needs Linux") }
