// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestProgressOnTheTerminal: go test shows standard error at the end of a package, and
// the terminal has the line at once.
func TestProgressOnTheTerminal(t *testing.T) {
	s := newSuite(t)
	_, release := s.slowGo()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals: %v", err)
	}
	t.Cleanup(func() { _ = keyboard.Close() }) // nothing is lost
	fd := int(keyboard.Fd())
	s.must(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	s.must(err)
	screen, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	s.must(err)
	f := s.newFinder()
	f.Stdin, f.SysProcAttr = screen, &syscall.SysProcAttr{Setsid: true, Setctty: true}
	s.start(f)
	s.must(screen.Close())
	line, err := bufio.NewReader(keyboard).ReadString('\n')
	if err != nil || !strings.Contains(line, "controlplanetest: go builds the program controlplanes") {
		t.Errorf("got %q, %v on the terminal, want the progress", line, err)
	}
	release()
	f.until(t, "found ")
	s.must(f.Wait())
}
