// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		sorted  []time.Duration
		percent int
		want    time.Duration
	}{{nil, 50, 0}, {hundred[:1], 99, 1}, {hundred, 50, 50}, {hundred, 99, 99}, {hundred[:3], 50, 2}, {hundred[:3], 99, 3}} {
		if got := percentile(c.sorted, c.percent); got != c.want {
			t.Errorf("%d%% of %d: got %d, want %d", c.percent, len(c.sorted), got, c.want)
		}
	}
}

func TestRunAsksForEachOnce(t *testing.T) {
	var asked [200]atomic.Int32
	result, err := run(t.Context(), len(asked), 7, 10000, func(_ context.Context, i int) error {
		asked[i].Add(1)
		return nil
	})
	if err != nil || result.Count != len(asked) {
		t.Fatalf("got %+v, %v", result, err)
	}
	for i := range asked {
		if n := asked[i].Load(); n != 1 {
			t.Errorf("number %d: got %d calls, want 1", i, n)
		}
	}
	if least := time.Duration(len(asked)-1) * time.Second / 10000; result.Took < least {
		t.Errorf("took %s: the rate was not kept", result.Took)
	}
}

func TestRunEndsWithTheFirstError(t *testing.T) {
	failure := errors.New("refused")
	_, err := run(t.Context(), 1000000, 4, 0, func(_ context.Context, i int) error {
		if i == 10 {
			return failure
		}
		return nil
	})
	if !errors.Is(err, failure) {
		t.Error(err)
	}
}

func TestContinuation(t *testing.T) {
	list := &corev1.PodList{Items: []corev1.Pod{*Pod("one")}}
	for _, token := range []string{"", "abc"} {
		list.ListMeta = metav1.ListMeta{ResourceVersion: "7", Continue: token}
		for _, contentType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
			info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), contentType)
			if !ok {
				t.Fatal(contentType)
			}
			page, err := runtime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), list)
			if err != nil {
				t.Fatal(err)
			}
			got, err := continuation(page, contentType == runtime.ContentTypeJSON)
			if err != nil || got != token {
				t.Errorf("%s: got %q, want %q: %v", contentType, got, token, err)
			}
		}
	}
	if _, err := continuation([]byte("not found"), false); err == nil {
		t.Error("got no error for a Status instead of a list")
	}
}

func TestSentAt(t *testing.T) {
	at, err := sentAt([]byte("\x00\x01bench/sent\x12\x1b<sent:1700000000000000001>\x00"))
	if err != nil || at.UnixNano() != 1700000000000000001 {
		t.Errorf("got %d, %v", at.UnixNano(), err)
	}
	for _, bad := range []string{"", "<sent:17", "<sent:x>"} {
		if _, err := sentAt([]byte(bad)); err == nil {
			t.Errorf("got no error for %q", bad)
		}
	}
}

// TestCounterCountsOnce: an object counts once while it meets the condition.
func TestCounterCountsOnce(t *testing.T) {
	c := &counter{want: 2, met: map[string]bool{}, done: make(chan struct{}), meets: func(object any) bool {
		return object.(*corev1.Pod).Status.Phase == corev1.PodRunning
	}}
	pod := func(name string, phase corev1.PodPhase) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{Phase: phase}}
	}
	for _, p := range []*corev1.Pod{pod("a", corev1.PodPending), pod("a", corev1.PodRunning), pod("a", corev1.PodRunning)} {
		_ = c.Update(p)
	}
	_ = c.Delete(pod("a", corev1.PodRunning))
	_ = c.Replace([]any{pod("b", corev1.PodRunning)}, "")
	select {
	case <-c.done:
		t.Errorf("done with %d of 2", c.count())
	default:
	}
	_ = c.Add(pod("c", corev1.PodRunning))
	select {
	case <-c.done:
	default:
		t.Errorf("not done with %d of 2", c.count())
	}
	_ = c.Update(pod("d", corev1.PodRunning)) // it is closed once
}
