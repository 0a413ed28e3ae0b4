// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/e2e/cluster/history"
)

const (
	clientsPerMember = 2
	// callTimeout bounds a client's wait for an answer.
	callTimeout = 4 * time.Second
	// pace is the time between two calls of a client. A longer history would find no
	// more.
	pace = 15 * time.Millisecond
	keys = 8
)

// client is a client of one member.
type client struct {
	*round
	id     int
	member *member
	random *rand.Rand

	// stale is a mutant that only reads, from the member's watch cache.
	stale bool
	// early is a mutant that counts a write as acknowledged, whatever the answer is.
	early bool
}

// run makes calls until ctx ends, and waits for the last answer.
func (c *client) run(ctx context.Context) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.call(context.WithoutCancel(ctx))
		}
	}
}

// call makes one call and records the answer.
func (c *client) call(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	call := history.Call{Client: c.id, Member: c.member.name, Key: "k" + strconv.Itoa(c.random.IntN(keys))}
	n := c.random.IntN(100)
	if c.stale {
		n %= 30
	}
	switch {
	case n < 5:
		c.list(ctx)
		return
	case n < 30:
		call.Op = history.Get
	case n < 45:
		call.Op = history.Create
	case n < 90:
		call.Op, call.Expect = history.Update, c.expect(call.Key)
	default:
		call.Op = history.Delete
		if c.random.IntN(2) == 0 {
			call.Expect = c.expect(call.Key)
		}
	}
	if call.Op == history.Update && call.Expect == 0 {
		call.Op = history.Create
	}
	if call.Op == history.Create || call.Op == history.Update {
		call.Value = strconv.FormatInt(c.values.Add(1), 10)
	}
	call.Start = c.log.Now()
	object, err := c.do(ctx, call)
	call.End = c.log.Now()
	call.Outcome = outcome(err)
	switch {
	case call.Outcome == history.OK:
		call.Version = versionOf(object)
		if call.Op == history.Get {
			call.Read = object.Data["value"]
		}
		c.acknowledged(call)
	case call.Outcome == history.Unknown:
		c.failed(call, err)
		switch {
		case c.early && call.Op != history.Get:
			call.Outcome = history.OK
		case notSent(err):
			return
		}
	}
	c.log.Add(call)
}

// do makes the call. The Kubernetes client would retry some calls and report only the
// last answer.
func (c *client) do(ctx context.Context, call history.Call) (*corev1.ConfigMap, error) {
	api := c.member.api.Load()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: call.Key}, Data: map[string]string{"value": call.Value}}
	if call.Expect != 0 {
		object.ResourceVersion = strconv.FormatUint(call.Expect, 10)
	}
	var request *rest.Request
	switch call.Op {
	case history.Create:
		request = api.Post().Body(object)
	case history.Update:
		request = api.Put().Name(call.Key).Body(object)
	case history.Delete:
		options := &metav1.DeleteOptions{}
		if call.Expect != 0 {
			options.Preconditions = &metav1.Preconditions{ResourceVersion: &object.ResourceVersion}
		}
		request = api.Delete().Name(call.Key).Body(options)
	case history.Get:
		request = api.Get().Name(call.Key)
		if c.stale {
			request.Param("resourceVersion", "0")
		}
	}
	answer := &corev1.ConfigMap{}
	result := request.Namespace(c.namespace).Resource("configmaps").MaxRetries(0).Do(ctx)
	if call.Op == history.Delete {
		return answer, result.Error()
	}
	return answer, result.Into(answer)
}

// list reads all objects at once from the watch cache, which first asks etcd for the
// current revision.
func (c *client) list(ctx context.Context) {
	list := history.List{Member: c.member.name, Start: c.log.Now()}
	objects := &corev1.ConfigMapList{}
	request := c.member.api.Load().Get().Namespace(c.namespace).Resource("configmaps").MaxRetries(0)
	if c.stale {
		request.VersionedParams(&metav1.ListOptions{ResourceVersion: "0"}, scheme.ParameterCodec)
	}
	err := request.Do(ctx).Into(objects)
	list.End = c.log.Now()
	if err != nil {
		c.failed(history.Call{Member: list.Member, Start: list.Start, End: list.End}, err)
		return
	}
	list.Version, _ = strconv.ParseUint(objects.ResourceVersion, 10, 64)
	found := map[string]*corev1.ConfigMap{}
	for i := range objects.Items {
		found[objects.Items[i].Name] = &objects.Items[i]
	}
	for i := range keys {
		call := history.Call{
			Client: c.id, Member: list.Member, Key: "k" + strconv.Itoa(i), Op: history.Get,
			Start: list.Start, End: list.End, Outcome: history.NotFound,
		}
		if o := found[call.Key]; o != nil {
			call.Outcome, call.Read, call.Version = history.OK, o.Data["value"], versionOf(o)
			c.saw(call.Key, call.Version)
		}
		c.log.Add(call)
	}
	c.log.AddList(list)
}

func versionOf(o *corev1.ConfigMap) uint64 {
	v, _ := strconv.ParseUint(o.ResourceVersion, 10, 64)
	return v
}

func outcome(err error) history.Outcome {
	switch {
	case err == nil:
		return history.OK
	case apierrors.IsAlreadyExists(err):
		return history.Exists
	case apierrors.IsNotFound(err):
		return history.NotFound
	case apierrors.IsConflict(err):
		return history.Conflict
	}
	return history.Unknown
}

// notSent reports whether a call did not reach the server or was rejected by it.
func notSent(err error) bool {
	dial, ok := errors.AsType[*net.OpError](err)
	return ok && dial.Op == "dial" || apierrors.IsTooManyRequests(err)
}
