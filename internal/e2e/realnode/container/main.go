// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Container is the only program in the image of the test: a web server, and a few Unix
// programs, each called by its name as in busybox.
package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

func main() {
	programs := map[string]func(args []string) error{
		"nginx": nginx, "pause": pause,
		"cat": cat, "echo": echo, "exit": exit, "tar": archive, "winsize": winsize,
	}
	name := filepath.Base(os.Args[0])
	program, ok := programs[name]
	if !ok {
		program = func([]string) error { return errors.New("no such program") }
	}
	if err := program(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// nginx serves a page on port 80, and logs its requests.
func nginx([]string) error {
	listener, err := net.Listen("tcp", ":80")
	if err != nil {
		return err
	}
	fmt.Println("ready")
	failed := make(chan error, 1)
	go func() {
		failed <- http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Println(r.Method, r.URL)
			hostname, _ := os.Hostname()
			fmt.Fprintf(w, "Welcome to nginx! This is %s.\n", hostname)
		}))
	}()
	select {
	case err := <-failed:
		return err
	case <-terminated():
		fmt.Println("terminated")
		return nil
	}
}

func pause([]string) error {
	<-terminated()
	return nil
}

// terminated returns a channel with an element when the runtime stops the container.
func terminated() <-chan os.Signal {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	return signals
}

func echo(args []string) error {
	fmt.Println(strings.Join(args, " "))
	return nil
}

func cat(args []string) error {
	if len(args) == 0 {
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	}
	for _, name := range args {
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if _, err := os.Stdout.Write(content); err != nil {
			return err
		}
	}
	return nil
}

func exit(args []string) error {
	code, err := strconv.Atoi(strings.Join(args, ""))
	if err != nil {
		return err
	}
	os.Exit(code)
	return nil
}

// winsize waits until its terminal has a size, and prints its rows and columns.
func winsize([]string) error {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	for {
		var size struct{ rows, cols, x, y uint16 }
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size))); errno != 0 {
			return fmt.Errorf("stdin is not a terminal: %w", errno)
		}
		if size.rows > 0 {
			fmt.Println(size.rows, size.cols)
			return nil
		}
		<-changed
	}
}

// archive is the part of tar that "kubectl cp" of a file needs: cf - FILE, and xf - -C
// DIRECTORY.
func archive(args []string) error {
	if len(args) < 2 {
		return errors.New("too few arguments")
	}
	last := args[len(args)-1]
	if !strings.Contains(args[0], "x") {
		content, err := os.ReadFile(last)
		if err != nil {
			return err
		}
		w := tar.NewWriter(os.Stdout)
		header := &tar.Header{Name: strings.TrimPrefix(last, "/"), Mode: 0o644, Size: int64(len(content))}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(content); err != nil {
			return err
		}
		return w.Close()
	}
	r := tar.NewReader(os.Stdin)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(last, header.Name), content, 0o644); err != nil {
			return err
		}
	}
}
