// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/internal/testwait"
)

// replaceUnderLoad replaces the file at path 200 times, by the contents in turn, while 16
// clients send requests. None of them may fail. The log has a line with changed or with
// refused for each file. A quarter of the files must be refused.
func replaceUnderLoad(t *testing.T, path string, contents []string, logs *observer.ObservedLogs, changed, refused string, client func(i int) func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var requests atomic.Int64
	for i := range 16 {
		request := client(i)
		clients.Go(func() {
			for ctx.Err() == nil {
				if err := request(ctx); err != nil && ctx.Err() == nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				requests.Add(1)
			}
		})
	}
	results := func() int {
		return logs.FilterMessageSnippet(changed).Len() + logs.FilterMessageSnippet(refused).Len()
	}
	for i := 1; i <= 200; i++ {
		before := results()
		replaceFile(t, path, contents[i%len(contents)]+fmt.Sprintf("# %d\n", i), 0o600)
		testwait.Until(t, "the file is read", func(context.Context) error {
			if results() == before {
				return errors.New("not yet")
			}
			return nil
		})
	}
	cancel()
	clients.Wait()
	t.Logf("%d requests, %d reloads", requests.Load(), results())
	if requests.Load() == 0 {
		t.Error("the clients have sent nothing")
	}
	if got := logs.FilterMessageSnippet(refused).Len(); got != 50 {
		t.Errorf("got %d refusals, want 50: %v", got, logs.All())
	}
}
