// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package klogbridge_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/containment"
	"github.com/kubembed/kubembed/internal/klogbridge"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// TestFatalOfAPart: an error for which upstream would end the process is an error of the
// goroutine's part, and nothing is printed.
func TestFatalOfAPart(t *testing.T) { wantAlive(t, "part's fatal") }

// TestFatalOfAPartWithHostsKlog: the same if the host has configured klog, which then
// prints as configured.
func TestFatalOfAPartWithHostsKlog(t *testing.T) {
	code, stdout, stderr := child(t, "part's fatal in host's klog")
	if code != 0 || stdout != "alive\n" {
		t.Errorf("got exit code %d, stdout %q, stderr %.1000q", code, stdout, stderr)
	}
}

// TestFatalOfTheHostIsPrinted: the host's fatal line is printed, once.
func TestFatalOfTheHostIsPrinted(t *testing.T) {
	code, stdout, stderr := child(t, "host's fatal")
	if code != 255 || stdout != "" || strings.Count(stderr, "the host gives up") != 1 {
		t.Errorf("got exit code %d, stdout %q, stderr %.1000q", code, stdout, stderr)
	}
}

func hostsFatal() error {
	logger, _ := observed(zapcore.DebugLevel)
	detach := klogbridge.Attach(logger)
	defer func() { _ = detach() }()
	forget := containment.Watch(lifecycle.NewGoroutineSet(), func(error) {})
	defer forget()
	klog.Fatal("the host gives up")
	return nil
}

func partsFatal() error {
	logger, logs := observed(zapcore.DebugLevel)
	detach := klogbridge.Attach(logger)
	if err := fatalOfAPart(func(message string) bool { return message == "it gives up" }); err != nil {
		return err
	}
	klog.Info("after it") // klog is not left locked
	_ = detach()
	if got := messages(logs); len(got) != 5 || got[0] != "error it gives up" || got[4] != "debug after it" {
		return fmt.Errorf("logged: %q", got)
	}
	return nil
}

func partsFatalInHostsKlog() error {
	if err := fatalOfAPart(func(message string) bool { return strings.Contains(message, "log of klog") }); err != nil {
		return err
	}
	klog.Info("after it")
	return nil
}

// fatalOfAPart makes goroutines of a part fail in each way.
func fatalOfAPart(want func(message string) bool) error {
	wanted := func(err error) error {
		var fatal *containment.Fatal
		if !errors.As(err, &fatal) || !want(fatal.Message) {
			return fmt.Errorf("the error is %w", err)
		}
		return nil
	}
	ways := map[string]func(){
		"fatal": func() { klog.Fatal("it gives up") },
		"exit":  func() { klog.Exit("it gives up") },
	}
	for name, giveUp := range ways {
		// In a goroutine that the part has started.
		set, failed := lifecycle.NewGoroutineSet(), make(chan error, 1)
		forget := containment.Watch(set, func(err error) { failed <- err })
		ended := make(chan struct{})
		set.Do(context.Background(), func() {
			go func() {
				defer close(ended)
				giveUp()
				failed <- errors.New("it went on")
			}()
		})
		<-ended
		forget()
		if err := wanted(<-failed); err != nil {
			return fmt.Errorf("%s in a goroutine: %w", name, err)
		}
		// In a call.
		_, err := containment.Call("part", func() (int, error) {
			giveUp()
			return 0, errors.New("it went on")
		})
		if err := wanted(err); err != nil {
			return fmt.Errorf("%s in a call: %w", name, err)
		}
	}
	return nil
}
