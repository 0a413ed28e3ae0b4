// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// recorder is a sink that keeps the events of ConfigMaps.
type recorder struct {
	mu     sync.Mutex
	events []auditv1.Event
}

func (r *recorder) Events(_ context.Context, events []auditv1.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		if e.ObjectRef != nil && e.ObjectRef.Resource == "configmaps" && e.Verb == "create" {
			r.events = append(r.events, e)
		}
	}
	return nil
}

func (r *recorder) names() (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		names = append(names, e.ObjectRef.Name)
	}
	return names
}

// configMap creates a ConfigMap in namespace default.
func (p *plane) configMap(t testing.TB, name string) error {
	t.Helper()
	_, err := p.admin().CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"key": "value of " + name},
	}, metav1.CreateOptions{})
	return err
}

// createsOfConfigMaps records creates of ConfigMaps with their objects.
func createsOfConfigMaps() *auditv1.Policy {
	return &auditv1.Policy{
		OmitStages:        []auditv1.Stage{auditv1.StageRequestReceived},
		OmitManagedFields: true,
		Rules: []auditv1.PolicyRule{{
			Level: auditv1.LevelRequestResponse, Verbs: []string{"create"}, Namespaces: []string{"default"},
			Resources: []auditv1.GroupResources{{Resources: []string{"configmaps"}}},
		}},
	}
}

// TestAuditPolicyInGo: the policy is a Go type, without a log file. A sink gets events as
// audit.k8s.io/v1, with objects and without their managed fields.
func TestAuditPolicyInGo(t *testing.T) {
	var sink recorder
	p := startPlane(t, func(c *apiserver.Config) {
		c.Audit = apiserver.Audit{Policy: createsOfConfigMaps(), Sinks: []apiserver.AuditSink{{Name: "recorder", Events: sink.Events, MaxBatchWait: time.Millisecond}}}
	})
	for _, name := range []string{"first", "second"} {
		if err := p.configMap(t, name); err != nil {
			t.Fatal(err)
		}
	}
	testwait.True(t, "the sink has both events", func() bool { return slices.Equal(sink.names(), []string{"first", "second"}) })
	e := sink.events[0]
	if e.Kind != "Event" || e.APIVersion != "audit.k8s.io/v1" || e.Stage != auditv1.StageResponseComplete || e.User.Username != "kubernetes-admin" {
		t.Errorf("got event %+v, want a complete audit.k8s.io/v1 Event of the administrator", e)
	}
	if object := string(e.ResponseObject.Raw); !strings.Contains(object, "value of first") || strings.Contains(object, "managedFields") {
		t.Errorf("got object %s, want the ConfigMap without managed fields", object)
	}
}

// TestBadSinksHoldNothing: with a sink that blocks, one that panics, and one that works,
// requests go on and the last one gets everything. Lost events are in metrics and log, by
// the names of the sinks. The stop does not wait for the sink that blocks.
func TestBadSinksHoldNothing(t *testing.T) {
	const creates = 30
	core, logs := observer.New(zapcore.WarnLevel)
	entered, release := make(chan struct{}, creates), make(chan struct{})
	defer close(release)
	var sink recorder
	address := ""
	p, err := newPlane(t.TempDir(), func(c *apiserver.Config) {
		address = c.Listener.Addr().String()
		c.Logger = zap.New(core)
		c.Audit.Policy = createsOfConfigMaps()
		c.Audit.Sinks = []apiserver.AuditSink{
			{Name: "blocks", BufferSize: 5, MaxBatchSize: 1, Events: func(context.Context, []auditv1.Event) error {
				entered <- struct{}{}
				<-release
				return nil
			}},
			{Name: "panics", MaxBatchSize: 1, Events: func(context.Context, []auditv1.Event) error { panic("a broken sink") }},
			{Name: "works", Events: sink.Events, MaxBatchWait: time.Millisecond},
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range creates {
		name := fmt.Sprintf("created-%02d", i)
		if err := p.configMap(t, name); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
		if i == 0 {
			<-entered
		}
	}
	testwait.True(t, "the sink that works has all events", func() bool { return slices.Equal(sink.names(), want) })
	testwait.Until(t, "lost events are in the metrics", func(context.Context) error {
		metrics := p.get(t, "/metrics").body
		for _, metric := range []string{
			fmt.Sprintf(`kubembed_audit_events_dropped_total{control_plane=%q,sink="blocks"} 25`, address),
			fmt.Sprintf(`kubembed_audit_events_dropped_total{control_plane=%q,sink="panics"} 30`, address),
			fmt.Sprintf(`kubembed_audit_events_dropped_total{control_plane=%q,sink="works"} 0`, address),
		} {
			if !strings.Contains(metrics, metric) {
				return fmt.Errorf("no %s", metric)
			}
		}
		return nil
	})
	if err := p.close(); err != nil {
		t.Errorf("got error %v of the stop, want none", err)
	}
	lost := map[any]int64{}
	for _, line := range logs.FilterMessage("audit events are lost for a sink").All() {
		fields := line.ContextMap()
		lost[fields["sink"]] = fields["total"].(int64)
	}
	if lost["blocks"] != creates || lost["panics"] != creates || len(lost) != 2 {
		t.Errorf("the log has lost events %v, want 30 each of the sinks that block and panic", lost)
	}
}

// TestSinksOfTwoServers: each server of a process has its own sinks and policy.
func TestSinksOfTwoServers(t *testing.T) {
	sinks, planes := [2]recorder{}, [2]*plane{}
	for i := range planes {
		planes[i] = startPlane(t, func(c *apiserver.Config) {
			c.Audit = apiserver.Audit{Policy: createsOfConfigMaps(), Sinks: []apiserver.AuditSink{{Name: "recorder", Events: sinks[i].Events, MaxBatchWait: time.Millisecond}}}
		})
	}
	for i, p := range planes {
		if err := p.configMap(t, fmt.Sprintf("of-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range sinks {
		testwait.True(t, "the sink has its event", func() bool { return slices.Equal(sinks[i].names(), []string{fmt.Sprintf("of-%d", i)}) })
	}
}
