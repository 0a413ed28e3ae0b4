// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// detached keeps the program from the signals of the test's console.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP | windows.DETACHED_PROCESS}
}

func tryLock(file *os.File) (bool, error) {
	err := windows.LockFileEx(windows.Handle(file.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}

// releaseLock leaves it to the close: nobody else can have the lock.
func releaseLock(*os.File) {}

// passTo does nothing: a lock on Windows belongs to one process. After the end of a test
// that builds, the next one builds beside it.
func (l *fileLock) passTo(*exec.Cmd) {}

func openTerminal() (*os.File, error) { return os.OpenFile("CONOUT$", os.O_RDWR, 0) }

// child is a process that may outlive this one.
type child struct{ handle windows.Handle }

func watchChild(process *os.Process) (child, error) {
	handle, err := windows.OpenProcess(windows.SYNCHRONIZE|windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(process.Pid))
	return child{handle}, err
}

func (c child) close() { _ = windows.CloseHandle(c.handle) } // it is not used again

// ended reports whether the process has ended, without waiting for it. The failure is
// empty if the code is 0.
func (c child) ended() (ended bool, code int, failure string, err error) {
	event, err := windows.WaitForSingleObject(c.handle, 0)
	if event == uint32(windows.WAIT_TIMEOUT) {
		return false, 0, "", nil
	}
	if err != nil {
		return false, 0, "", err
	}
	var exit uint32
	if err := windows.GetExitCodeProcess(c.handle, &exit); err != nil {
		return false, 0, "", err
	}
	if exit != 0 {
		failure = fmt.Sprintf("exit status %d", exit)
	}
	return true, int(exit), failure, nil
}
