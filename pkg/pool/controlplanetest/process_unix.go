// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package controlplanetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
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

func releaseLock(file *os.File) {
	_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN) // the close is enough without children
}

// passTo keeps the lock as long as the process runs.
func (l *fileLock) passTo(cmd *exec.Cmd) { cmd.ExtraFiles = append(cmd.ExtraFiles, l.file) }

func openTerminal() (*os.File, error) {
	return os.OpenFile("/dev/tty", os.O_WRONLY|syscall.O_NOCTTY, 0)
}

// child is a process that may outlive this one.
type child struct{ pid int }

func watchChild(process *os.Process) (child, error) { return child{process.Pid}, nil }

func (child) close() {}

// ended reports whether the process has ended, without waiting for it. The failure is
// empty if the code is 0.
func (c child) ended() (ended bool, code int, failure string, err error) {
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(c.pid, &status, syscall.WNOHANG, nil)
	switch {
	case errors.Is(err, syscall.EINTR) || err == nil && pid == 0:
		return false, 0, "", nil
	case err != nil:
		return false, 0, "", fmt.Errorf("wait for process %d: %w", c.pid, err)
	case status.Signaled():
		return true, -1, "signal: " + status.Signal().String(), nil
	case status.ExitStatus() != 0:
		return true, status.ExitStatus(), fmt.Sprintf("exit status %d", status.ExitStatus()), nil
	}
	return true, 0, "", nil
}
