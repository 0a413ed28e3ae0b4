// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// The annotation of a pod has the time of its create request, in nanoseconds, from which
// a watcher computes the delay.
const (
	sent       = "bench/sent"
	sentBefore = "<sent:"
	sentAfter  = '>'
)

// watch starts watchers, creates pods, and waits until each watcher has seen all of them.
// Events are not decoded: only the time is searched in their bytes.
func (c *Client) watch(ctx context.Context, s Spec) (Result, error) {
	watches, err := c.OpenWatches(ctx, s.Namespace, s.Watchers)
	if err != nil {
		return Result{}, err
	}
	defer watches.Close()
	delays := make([][]time.Duration, s.Watchers)
	failures := make([]error, s.Watchers)
	var wg sync.WaitGroup
	began := time.Now()
	for i, body := range watches.bodies {
		wg.Go(func() {
			delays[i], failures[i] = readEvents(body, s.Objects)
		})
	}
	pods := c.client.CoreV1().Pods(s.Namespace)
	_, err = run(ctx, s.Objects, s.Clients, s.Rate, func(ctx context.Context, i int) error {
		pod := Pod(fmt.Sprint("pod-", s.First+i))
		pod.Annotations = map[string]string{sent: fmt.Sprintf("%s%d%c", sentBefore, time.Now().UnixNano(), sentAfter)}
		_, err := pods.Create(ctx, pod, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		watches.Close() // The readers would wait forever.
		wg.Wait()
		return Result{}, err
	}
	wg.Wait()
	elapsed := time.Since(began)
	for _, err := range failures {
		if err != nil {
			return Result{}, err
		}
	}
	return resultOf(slices.Concat(delays...), elapsed), nil
}

func readEvents(body io.ReadCloser, n int) ([]time.Duration, error) {
	var delays []time.Duration
	reader := frames(body)
	buffer := make([]byte, 64<<10)
	for len(delays) < n {
		length, err := reader.Read(buffer)
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("event %d of %d: %w: the API server has ended the watch, probably because the reader was too slow (apiserver_terminated_watchers_total): "+
				"is the machine busy with other work?", len(delays)+1, n, err)
		}
		if err != nil {
			return nil, fmt.Errorf("event %d of %d: %w", len(delays)+1, n, err)
		}
		at, err := sentAt(buffer[:length])
		if err != nil {
			return nil, err
		}
		delays = append(delays, time.Since(at))
	}
	return delays, nil
}

// sentAt finds the annotation in an event.
func sentAt(event []byte) (time.Time, error) {
	_, rest, found := bytes.Cut(event, []byte(sentBefore))
	digits, _, ended := bytes.Cut(rest, []byte{sentAfter})
	nano, err := strconv.ParseInt(string(digits), 10, 64)
	if !found || !ended || err != nil {
		return time.Time{}, fmt.Errorf("an event of %d bytes has no send time", len(event))
	}
	return time.Unix(0, nano), nil
}

// Watches are open watches. Close them.
type Watches struct {
	cancel context.CancelFunc
	bodies []io.ReadCloser
}

// OpenWatches opens n watches of the pods of a namespace, or of all namespaces if it is
// empty, from now on.
func (c *Client) OpenWatches(ctx context.Context, namespace string, n int) (_ *Watches, err error) {
	ctx, cancel := context.WithCancel(ctx)
	watches := &Watches{cancel: cancel, bodies: make([]io.ReadCloser, n)}
	defer func() {
		if err != nil {
			watches.Close()
		}
	}()
	list, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, err
	}
	_, err = run(ctx, n, 16, 0, func(_ context.Context, i int) (err error) {
		watches.bodies[i], err = c.rest.Get().Resource("pods").Namespace(namespace).
			Param("watch", "true").Param("resourceVersion", list.ResourceVersion).
			SetHeader("Accept", runtime.ContentTypeProtobuf+";stream=watch").
			Stream(ctx) // not the context of run, which ends with it
		return err
	})
	if err != nil {
		return nil, err
	}
	return watches, nil
}

// Close closes all watches.
func (w *Watches) Close() {
	w.cancel()
	for _, body := range w.bodies {
		if body != nil {
			_ = body.Close()
		}
	}
}
