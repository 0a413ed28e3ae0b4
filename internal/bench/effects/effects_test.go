// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package effects

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// quick are effects of all kinds that take less than a second.
const quick = "^(namespace created|owner deleted|pod created → Running|Deployment of 3 created|Service created|Role and|ResourceQuota created|ValidatingAdmissionPolicy created|validating webhook|CertificateSigningRequest|APIService|CRD)"

func TestRun(t *testing.T) {
	server, err := controlplane.Start(t.Context(), controlplane.Config{Components: []controlplane.Component{
		controllers.New(controllers.Config{}), scheduler.New(scheduler.Config{}), hollownode.New(hollownode.Config{}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	results, err := Run(t.Context(), server.ClientConfig(), Spec{Trials: 2, Only: quick})
	if err != nil {
		t.Error(err)
	}
	var got, want []string
	for _, name := range Names() {
		if regexp.MustCompile(quick).MatchString(name) {
			want = append(want, name)
		}
	}
	for _, r := range results {
		got = append(got, r.Name)
		if len(r.Delays) != 2 || r.Delays[0] <= 0 || !slices.IsSorted(r.Delays) {
			t.Errorf("%s: got the delays %s, want two, sorted", r.Name, r.Delays)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got results of %q, want those of %q", got, want)
	}
}

// TestTheFirstErrorEndsATrial: what follows is not measured.
func TestTheFirstErrorEndsATrial(t *testing.T) {
	c := &client{}
	trial := c.newTrial(context.Background(), "any", "any")
	trial.fail(context.DeadlineExceeded)
	trial.begin()
	trial.repeat(func() (bool, error) { t.Error("asked"); return true, nil })
	trial.watch(podResource, "any").exists()
	trial.create(podResource, "any", "")
	if trial.delay != 0 || trial.err == nil || !strings.Contains(trial.err.Error(), "deadline") {
		t.Errorf("got delay %s, error %v", trial.delay, trial.err)
	}
	if err := trial.undo(); err != nil {
		t.Error(err)
	}
}

// TestNamesDiffer: results are found by their names.
func TestNamesDiffer(t *testing.T) {
	names := Names()
	slices.Sort(names)
	if len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("two effects have one name: %q", names)
	}
}
