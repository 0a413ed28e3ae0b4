// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// TestAuditTrail runs twice at once on a shared control plane: each test gets its own
// requests in order, and no earlier ones.
func TestAuditTrail(t *testing.T) {
	t.Parallel()
	before := controlplanetest.Shared(t)
	earlier := before.Namespace(t)
	createPod(t, kubernetes.NewForConfigOrDie(before.ClientConfig()), earlier)
	for _, agent := range []string{"operator-a", "operator-b"} {
		t.Run(agent, func(t *testing.T) {
			t.Parallel()
			cp := controlplanetest.Shared(t)
			namespace := cp.Namespace(t)
			config := cp.UserConfig(t, "admin-"+agent, "system:masters")
			config.UserAgent = agent + "/v1"
			client := kubernetes.NewForConfigOrDie(config)
			created, err := client.CoreV1().ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm"}}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			created.Data = map[string]string{"a": "b"}
			if _, err := client.CoreV1().ConfigMaps(namespace).Update(t.Context(), created, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := client.CoreV1().Pods(namespace).Get(t.Context(), "missing", metav1.GetOptions{}); err == nil {
				t.Fatal("found")
			}
			impersonated := cp.ImpersonatedConfig("jane")
			impersonated.UserAgent = agent + "/v1"
			if err := kubernetes.NewForConfigOrDie(impersonated).CoreV1().Secrets(namespace).Delete(t.Context(), "x", metav1.DeleteOptions{}); err == nil {
				t.Fatal("allowed")
			}
			watch, err := client.CoreV1().Pods(namespace).Watch(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer watch.Stop()

			trail := func(filter controlplanetest.AuditFilter) []string {
				var got []string
				for _, e := range cp.AuditTrail(t, filter) {
					user := e.User.Username
					if e.ImpersonatedUser != nil {
						user = e.ImpersonatedUser.Username
					}
					got = append(got, fmt.Sprintf("%s %s %s/%s %d", user, e.Verb, e.ObjectRef.Resource, e.ObjectRef.Name, e.ResponseStatus.Code))
				}
				return got
			}
			admin := "admin-" + agent
			all := []string{
				admin + " create configmaps/ 201", admin + " update configmaps/cm 200", admin + " get pods/missing 404",
				"jane delete secrets/x 403", admin + " watch pods/ 200",
			}
			all[0] = strings.Replace(all[0], "/ ", "/cm ", 1)
			for i, test := range []struct {
				filter controlplanetest.AuditFilter
				want   []string
			}{
				{controlplanetest.AuditFilter{UserAgent: agent}, all},
				{controlplanetest.AuditFilter{UserAgent: agent, Namespace: namespace}, all},
				{controlplanetest.AuditFilter{UserAgent: agent, Verbs: []string{"create", "update"}}, all[:2]},
				{controlplanetest.AuditFilter{UserAgent: agent, Resource: "pods"}, []string{all[2], all[4]}},
				{controlplanetest.AuditFilter{User: "jane", UserAgent: agent}, all[3:4]},
				{controlplanetest.AuditFilter{UserAgent: "nobody"}, nil},
			} {
				if got := trail(test.filter); !slices.Equal(got, test.want) {
					t.Errorf("%d: %+v:\n%s\nwant:\n%s", i, test.filter, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
				}
			}
			if got := trail(controlplanetest.AuditFilter{Namespace: earlier}); len(got) > 0 {
				t.Errorf("from before the test: %v", got)
			}
			// Requests of the fixture and the control plane are left out.
			for _, e := range cp.AuditTrail(t, controlplanetest.AuditFilter{}) {
				if e.UserAgent == "kubembed-controlplanetest" || e.User.Username == "system:apiserver" || e.ObjectRef == nil {
					t.Errorf("%+v", e)
				}
			}
			// The end of a watch is not a second request.
			watch.Stop()
			for {
				watches := cp.AuditTrail(t, controlplanetest.AuditFilter{UserAgent: agent, Verbs: []string{"watch"}})
				if len(watches) != 1 {
					t.Fatalf("%d watches: %+v", len(watches), watches)
				}
				if watches[0].Stage == "ResponseComplete" {
					break
				}
			}
		})
	}
}

func TestNoAuditTrail(t *testing.T) {
	t.Parallel()
	var r recorder
	r.run(func(t controlplanetest.TB) {
		controlplanetest.New(t, controlplanetest.Config{}).AuditTrail(t, controlplanetest.AuditFilter{})
	})
	if !r.failed || !strings.Contains(r.text(), "Config.Audit") {
		t.Errorf("failed %v: %s", r.failed, r.text())
	}
}
