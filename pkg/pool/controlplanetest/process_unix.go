// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package controlplanetest

import (
	"errors"
	"os"
	"syscall"
)

// detached keeps the program from the signals of the test's terminal.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func tryLock(file *os.File) (bool, error) {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
