// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package place names the directory in which tests and programs of a user meet. Only this
// user can read it. It has a directory for each version of the program.
package place

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Files in the directory of a program.
const (
	Socket = "socket"
	Log    = "log"
)

// Served is the exit code of a program if another process of it serves.
const Served = 75

// Dir returns the directory of this user, which is created if missing.
func Dir() (string, error) {
	dir, err := path()
	if err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("the directory for control planes of this user: %w: set %s to a directory that this user can write to", err, Variable)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() || !private(info) {
		return "", fmt.Errorf("%s is not a directory of this user with mode 0700: delete it, or set another %s", dir, Variable)
	}
	return dir, nil
}

// Of returns the directory of a program, which is created if missing. A link to the
// program has the same directory. A program at the same path with another size or time
// has another one.
func Of(program string) (string, error) {
	dir, err := Dir()
	if err != nil {
		return "", err
	}
	if program, err = filepath.Abs(program); err != nil {
		return "", err
	}
	// os.Executable of the program has no links on Linux.
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return "", err
	}
	info, err := os.Stat(program)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%d\n%d", program, info.Size(), info.ModTime().UnixNano()))
	// path leaves room for it in the path of a socket.
	dir = filepath.Join(dir, hex.EncodeToString(sum[:6]))
	if err := os.Mkdir(dir, 0o700); err == nil || !errors.Is(err, fs.ErrExist) {
		return dir, err
	}
	now := time.Now()
	return dir, os.Chtimes(dir, now, now) // programs remove unused ones
}

// Sockets returns the sockets of all programs of this user. Some of the programs may have
// ended.
func Sockets() ([]string, error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(dir, "*", Socket))
}
