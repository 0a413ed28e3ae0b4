// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kubembed/kubembed/pkg/pool/internal/place"
)

// connect returns the socket and the log of the program, which is started if none runs.
func (p program) connect(ctx context.Context, idle time.Duration) (socket, log string, err error) {
	dir, err := place.Of(p.path)
	if err != nil {
		return "", "", err
	}
	socket, log = filepath.Join(dir, place.Socket), filepath.Join(dir, place.Log)
	if place.Answers(ctx, socket) {
		return socket, log, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, fmt.Errorf("the program %s does not answer for %s: its log is %s", p, answerTimeout, log))
	defer cancel()
	held, err := lock(ctx, filepath.Join(dir, "start.lock"), "waiting for another test that starts the program controlplanes")
	if err != nil {
		return "", "", err
	}
	defer held.unlock()
	for !place.Answers(ctx, socket) { // unless another test has started it
		again, err := p.start(ctx, idle, socket, log)
		if err != nil {
			return "", "", err
		}
		if !again {
			break
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return "", "", context.Cause(ctx)
		}
	}
	return socket, log, nil
}

// answerTimeout bounds a start, and the stop of another process of the program before it.
const answerTimeout = time.Minute

// start starts the program and waits for its socket. The program outlives the test. It
// ends with place.Served if another process of it serves. That one may be about to stop:
// start it again unless the socket answers.
func (p program) start(ctx context.Context, idle time.Duration, socket, log string) (again bool, err error) {
	file, err := openLog(log)
	if err != nil {
		return false, err
	}
	defer func() { _ = file.Close() }() // the program writes it
	begin, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	args := []string{"serve"}
	if idle > 0 {
		args = append(args, "--idle="+idle.String())
	}
	cmd := exec.Command(p.path, args...)
	// go test waits for all processes that have its output.
	cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.Env, cmd.SysProcAttr = file, file, filepath.Dir(log), programEnvironment(), detached()
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("%s: %w: is it built for this system?", p.from, err)
	}
	defer func() { _ = cmd.Process.Release() }() // it has ended, or goes on
	c, err := watchChild(cmd.Process)
	if err != nil {
		return false, err
	}
	defer c.close()
	for {
		ended, code, failure, err := c.ended()
		switch {
		case err != nil:
			return false, err
		case ended && code == place.Served:
			return true, nil
		case place.Answers(ctx, socket):
			return false, nil
		case ended:
			if failure == "" {
				failure = "without an error: is it another program?"
			}
			return false, fmt.Errorf("the program %s has ended at its start (%s):\n%s", p, failure, since(log, begin))
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// maxLogFile is the size from which a log begins again.
const maxLogFile = 1 << 20

func openLog(path string) (*os.File, error) {
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if info, err := os.Stat(path); err == nil && info.Size() > maxLogFile {
		flags |= os.O_TRUNC
	}
	return os.OpenFile(path, flags, 0o600)
}

// since returns the end of what a log has since a position.
func since(log string, begin int64) string {
	data, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	data = data[min(begin, int64(len(data))):]
	return strings.TrimSpace(string(data[max(0, len(data)-4096):]))
}

// programEnvironment is the same whichever test starts the program: all tests share it.
func programEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return !slices.Contains(programVariables, strings.ToUpper(name))
	})
}

// programVariables name the user, its directories and the system's.
var programVariables = []string{
	"HOME", "LANG", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER",
	// Windows:
	"APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "TMP", "USERNAME", "USERPROFILE", "WINDIR",
}
