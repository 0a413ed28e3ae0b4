// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package contain

import (
	"errors"
	"io"
	"strings"
	"testing"

	"go.uber.org/zap"
)

func TestRunReturnsPanicsAsErrors(t *testing.T) {
	var nothing *struct{ client int }
	for name, f := range map[string]func(lg *zap.Logger){
		"fatal": func(lg *zap.Logger) { lg.Fatal("gave up", zap.Error(io.ErrUnexpectedEOF)) },
		"panic": func(lg *zap.Logger) { lg.Panic("gave up", zap.String("why", "because")) },
		"raw":   func(*zap.Logger) { panic("gave up") },
		"nil":   func(*zap.Logger) { _ = nothing.client },
	} {
		t.Run(name, func(t *testing.T) {
			c := New()
			err := c.Run(func() error { f(c.Logger(nil)); return nil })
			if err == nil {
				t.Fatal("no error")
			}
			if c.OK() || !errors.Is(c.Err(), err) {
				t.Errorf("recorded %v, returned %v", c.Err(), err)
			}
			if name == "fatal" && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("got %v, want the cause in it", err)
			}
			if name == "panic" && !strings.Contains(err.Error(), "why=because") {
				t.Errorf("got %v, want the fields in it", err)
			}
		})
	}
	c := New()
	if err := c.Run(func() error { return io.EOF }); !errors.Is(err, io.EOF) || !c.OK() {
		t.Errorf("got %v, want io.EOF without a failure", err)
	}
}
