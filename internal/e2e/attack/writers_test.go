// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	writers          = 4
	objectsPerWriter = 40
)

// journal records the writes of an administrator and their answers.
type journal struct {
	mu      sync.Mutex
	objects map[string]*written

	acknowledged, refused, created atomic.Int64
	slowest                        atomic.Int64 // slowest acknowledged write, in nanoseconds
}

// written is an object. Its only writer numbers its writes.
type written struct {
	acknowledged, tried int
}

// write writes until ctx ends, at some ten writes a second for each writer.
func (j *journal) write(ctx context.Context, c kubernetes.Interface, writer int) {
	versions := map[string]string{}
	n := 0
	rounds(ctx, 100*time.Millisecond, func() {
		n++
		name := fmt.Sprintf("written-%d-%d", writer, n%objectsPerWriter)
		if n%20 == 0 {
			name = fmt.Sprintf("created-%d-%d", writer, n) // and not changed afterwards
			j.created.Add(1)
		}
		j.writeOnce(ctx, c, name, n, versions)
	})
}

// writeOnce makes one write. It names the known version, so that a late write without an
// answer cannot undo an acknowledged one.
func (j *journal) writeOnce(ctx context.Context, c kubernetes.Interface, name string, n int, versions map[string]string) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	maps := c.CoreV1().ConfigMaps(metav1.NamespaceDefault)
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: versions[name]}, Data: map[string]string{"n": strconv.Itoa(n)}}
	j.mu.Lock()
	if j.objects[name] == nil {
		j.objects[name] = &written{}
	}
	j.objects[name].tried = n
	j.mu.Unlock()
	begin := time.Now()
	var answer *corev1.ConfigMap
	var err error
	if versions[name] == "" {
		answer, err = maps.Create(ctx, object, metav1.CreateOptions{})
	} else {
		answer, err = maps.Update(ctx, object, metav1.UpdateOptions{})
	}
	if err != nil {
		j.refused.Add(1)
		// The next write updates the stored object.
		switch now, err := maps.Get(ctx, name, metav1.GetOptions{}); {
		case err == nil:
			versions[name] = now.ResourceVersion
		case apierrors.IsNotFound(err):
			delete(versions, name)
		}
		return
	}
	versions[name] = answer.ResourceVersion
	j.acknowledged.Add(1)
	for duration := int64(time.Since(begin)); ; {
		slowest := j.slowest.Load()
		if duration <= slowest || j.slowest.CompareAndSwap(slowest, duration) {
			break
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.objects[name].acknowledged = n
}

// lost compares the stored objects with the acknowledged writes.
func (j *journal) lost(list *corev1.ConfigMapList) (lost []string) {
	there := map[string]int{}
	for _, object := range list.Items {
		if n, err := strconv.Atoi(object.Data["n"]); err == nil {
			there[object.Name] = n
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for name, w := range j.objects {
		if n := there[name]; n < w.acknowledged || n > w.tried {
			lost = append(lost, fmt.Sprintf("%s is %d, acknowledged %d, tried %d", name, n, w.acknowledged, w.tried))
		}
	}
	return lost
}
