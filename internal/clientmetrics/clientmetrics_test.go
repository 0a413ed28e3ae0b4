// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package clientmetrics

import (
	"context"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	clientgo "k8s.io/client-go/tools/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

func gather(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*dto.MetricFamily{}
	for _, family := range families {
		if strings.HasPrefix(family.GetName(), "rest_client_") {
			found[family.GetName()] = family
		}
	}
	return found
}

// use calls all observers of client-go for a host.
func use(host string) {
	ctx := context.Background()
	u := url.URL{Host: host}
	clientgo.RequestResult.Increment(ctx, "200", "GET", host)
	clientgo.RequestLatency.Observe(ctx, "GET", u, time.Second)
	clientgo.RateLimiterLatency.Observe(ctx, "GET", u, time.Second)
	clientgo.RequestSize.Observe(ctx, "GET", host, 1)
	clientgo.ResponseSize.Observe(ctx, "GET", host, 1)
	clientgo.RequestRetry.IncrementRetry(ctx, "500", "GET", host)
	clientgo.ExecPluginCalls.Increment(1, "no_error")
	clientgo.ClientCertRotationAge.Observe(time.Hour)
	clientgo.TransportCacheEntries.Observe(3)
	clientgo.TransportCreateCalls.Increment("hit")
	clientgo.TransportCAReloads.Increment("success", "ca_hash_changed")
	clientgo.TransportCertRotationGCCalls.Increment()
	clientgo.TransportCacheGCCalls.Increment("deleted")
}

// TestForget: each control plane is a host of its clients.
func TestForget(t *testing.T) {
	Register()
	use("a:1")
	use("b:2")
	hosts := func() (found []string) {
		for _, family := range gather(t) {
			for _, m := range family.Metric {
				for _, label := range m.Label {
					if label.GetName() == "host" {
						found = append(found, label.GetValue())
					}
				}
			}
		}
		slices.Sort(found)
		return slices.Compact(found)
	}
	if got := hosts(); !slices.Equal(got, []string{"a:1", "b:2"}) {
		t.Fatalf("hosts %q", got)
	}
	Forget("a:1")
	if got := hosts(); !slices.Equal(got, []string{"b:2"}) {
		t.Errorf("got hosts %q after Forget", got)
	}
}

// upstream is the source of a program that registers upstream's metrics and then ours.
const upstream = `package main

import (
	"fmt"
	"context"
	"os"

	clientgo "k8s.io/client-go/tools/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	_ "k8s.io/component-base/metrics/prometheus/restclient"

	"github.com/kubembed/kubembed/internal/clientmetrics"
)

func main() {
	clientmetrics.Register()
	clientgo.RequestResult.Increment(context.Background(), "200", "GET", "a:1")
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, family := range families {
		if family.GetName() == "rest_client_requests_total" {
			fmt.Print(family.Metric[0].Counter.GetValue())
		}
	}
}
`

// TestProgramMayImportUpstream: a library must not use a name of its program.
func TestProgramMayImportUpstream(t *testing.T) {
	dir, err := os.MkdirTemp(".", "testprogram")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(upstream), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "run", "./"+dir).CombinedOutput()
	if err != nil || string(out) != "1" {
		t.Errorf("rest_client_requests_total is %q, want 1 (%v)", out, err)
	}
}

type counted struct{ n int }

func (c *counted) Increment(context.Context, string, string, string) { c.n++ }

// TestOtherObserversStay: controller-runtime's observer still counts, in whatever order
// the two packages are initialized.
func TestOtherObserversStay(t *testing.T) {
	Register()
	before := clientgo.RequestResult
	t.Cleanup(func() { clientgo.RequestResult = before })
	value := func() float64 {
		for _, m := range gather(t)["rest_client_requests_total"].GetMetric() {
			for _, label := range m.Label {
				if label.GetValue() == "other:1" {
					return m.Counter.GetValue()
				}
			}
		}
		return 0
	}
	other := &counted{}
	clientgo.RequestResult = other // registered first
	observe()
	clientgo.RequestResult.Increment(t.Context(), "200", "GET", "other:1")
	if other.n != 1 || value() != 1 {
		t.Errorf("the earlier observer counted %d, ours %v", other.n, value())
	}
	clientgo.RequestResult = before
	second := &counted{}
	clientgo.Register(clientgo.RegisterOpts{RequestResult: second}) // registered last
	clientgo.RequestResult.Increment(t.Context(), "200", "GET", "other:1")
	if second.n != 1 {
		t.Error("the later observer counts nothing")
	}
}

// TestAsUpstream compares names, help, labels and buckets with upstream's source.
func TestAsUpstream(t *testing.T) {
	Register()
	use("c:3")
	source, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", "k8s.io/component-base/metrics/prometheus/restclient").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(source)), "metrics.go"))
	if err != nil {
		t.Fatal(err)
	}
	// Names that upstream composes.
	flat := strings.Join(strings.Fields(strings.ReplaceAll(string(text), `" +`, "\x00")), " ")
	flat = strings.ReplaceAll(flat, "\x00 \"", "")
	families := gather(t)
	for _, name := range slices.Sorted(maps.Keys(families)) {
		family := families[name]
		if !strings.Contains(flat, `"`+name+`"`) {
			t.Errorf("upstream has no %s", name)
		}
		help := strings.TrimPrefix(family.GetHelp(), "[ALPHA] ")
		if !strings.Contains(flat, `"`+help+`"`) {
			t.Errorf("%s: upstream's help is not %q", name, help)
		}
	}
	// rest_client_dns_resolution_duration_seconds and ..._policy_call_total are not
	// registered upstream either.
	if n := strings.Count(flat, `"rest_client_`) - 2; n != len(families) {
		t.Errorf("upstream has %d metrics, we have %d", n, len(families))
	}
}
