// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	clientrest "k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

func getFlunder(config *clientrest.Config, group, name string) (Flunder, error) {
	var flunder Flunder
	data, err := kubernetes.NewForConfigOrDie(config).RESTClient().Get().AbsPath(flunderPath(group) + name).Do(context.Background()).Raw()
	if err != nil {
		return flunder, fmt.Errorf("%w: %s", err, data)
	}
	return flunder, json.Unmarshal(data, &flunder)
}

// registered returns an APIService as a Go value.
func registered(group string) *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1." + group},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: group, Version: "v1", GroupPriorityMinimum: 100, VersionPriority: 10,
			Service: &apiregistrationv1.ServiceReference{Namespace: "any", Name: "any"},
		},
	}
}

// TestAPIService: a real aggregated API server from a manifest. It knows the users of
// the control plane, and obeys its RBAC.
func TestAPIService(t *testing.T) {
	t.Parallel()
	const group = "flunders.example.com"
	cp := controlplanetest.New(t, controlplanetest.Config{})
	// Twice, each time with another server: the first leaves nothing behind.
	for i := range 2 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			if _, err := getFlunder(cp.ClientConfig(), group, "one"); !apierrors.IsNotFound(err) {
				t.Fatalf("before: %v", err)
			}
			server := cp.InstallAPIServices(t, controlplanetest.APIServices{Paths: []string{"testdata/apiservice"}})
			runFlunderServer(t, cp, group, server)
			server.WaitAvailable(t)
			flunder, err := getFlunder(cp.ClientConfig(), group, "one")
			if err != nil || flunder.User != "kubernetes-admin" || !slices.Contains(flunder.Groups, "system:masters") {
				t.Errorf("%+v, %v", flunder, err)
			}
			if _, err := getFlunder(cp.ClientConfig(), group, "none"); !apierrors.IsNotFound(err) || !strings.Contains(err.Error(), group) {
				t.Errorf("an object that does not exist: %v", err)
			}
			if _, err := getFlunder(cp.UserConfig(t, "jane", "people"), group, "one"); !apierrors.IsForbidden(err) {
				t.Errorf("a user without permission: got %v, want forbidden", err)
			}
			groups, err := kubernetes.NewForConfigOrDie(cp.ClientConfig()).Discovery().ServerPreferredResources()
			if err != nil || !slices.ContainsFunc(groups, func(list *metav1.APIResourceList) bool { return list.GroupVersion == group+"/v1" }) {
				t.Errorf("not in discovery, %v", err)
			}
		})
	}
	if services, err := kubernetes.NewForConfigOrDie(cp.ClientConfig()).CoreV1().Services("kube-system").List(t.Context(), metav1.ListOptions{}); err != nil || len(services.Items) > 0 {
		t.Errorf("Services %v, %v", services.Items, err)
	}
}

// TestAPIServiceOfAHandler: the API is available when InstallAPIServices returns.
func TestAPIServiceOfAHandler(t *testing.T) {
	t.Parallel()
	const group = "handler.example.com"
	cp := controlplanetest.Shared(t)
	for i := range 5 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			cp.InstallAPIServices(t, controlplanetest.APIServices{
				Objects: []*apiregistrationv1.APIService{registered(group)}, Handler: flunderHandler(group),
			})
			if _, err := getFlunder(cp.ClientConfig(), group, "one"); err != nil {
				t.Error(err)
			}
		})
		if _, err := getFlunder(cp.ClientConfig(), group, "one"); !apierrors.IsNotFound(err) {
			t.Errorf("afterwards: %v", err)
		}
	}
}

// flunderHandler answers every client like an API server.
func flunderHandler(group string) http.Handler {
	answer := func(object any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(object)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /apis/"+group+"/v1", answer(metav1.APIResourceList{
		TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: group + "/v1",
		APIResources: []metav1.APIResource{{Name: "flunders", Kind: "Flunder", Verbs: metav1.Verbs{"get"}}},
	}))
	mux.HandleFunc("GET "+flunderPath(group)+"one", answer(Flunder{TypeMeta: metav1.TypeMeta{Kind: "Flunder", APIVersion: group + "/v1"}}))
	return mux
}

func TestAPIServicesOfNoUse(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.Shared(t)
	local, nameless := registered("local.example.com"), registered("nameless.example.com")
	local.Spec.Service = nil
	nameless.Name = "wrong"
	for name, test := range map[string]struct {
		services controlplanetest.APIServices
		want     []string
	}{
		"nothing":   {controlplanetest.APIServices{}, []string{"APIServices has no Paths"}},
		"no file":   {controlplanetest.APIServices{Paths: []string{"testdata/missing.yaml"}}, []string{"testdata/missing.yaml"}},
		"others":    {controlplanetest.APIServices{Paths: []string{"testdata/webhooks"}}, []string{"no APIService in"}},
		"local":     {controlplanetest.APIServices{Objects: []*apiregistrationv1.APIService{local}}, []string{`APIServices.Objects[0] "v1.local.example.com"`, "spec.service"}},
		"not valid": {controlplanetest.APIServices{Objects: []*apiregistrationv1.APIService{nameless}}, []string{`APIServices.Objects[0] "wrong"`, "metadata.name"}},
		"never available": {
			controlplanetest.APIServices{
				Objects: []*apiregistrationv1.APIService{registered("broken.example.com")},
				Handler: http.NotFoundHandler(), ReadyTimeout: 5 * time.Second,
			},
			[]string{`APIServices.Objects[0] "v1.broken.example.com"`, "is not available within 5s", "FailedDiscoveryCheck", "127.0.0.1:"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := recorder{}
			r.run(func(t controlplanetest.TB) { cp.InstallAPIServices(t, test.services) })
			if !r.failed {
				t.Error("it did not fail")
			}
			for _, want := range test.want {
				if !strings.Contains(r.text(), want) {
					t.Errorf("message without %q: %s", want, r.text())
				}
			}
		})
	}
}

// TestAPIServiceThatIsNotReady: the message has the registration and the address, and
// the next test is not affected.
func TestAPIServiceThatIsNotReady(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.Shared(t)
	r := recorder{name: "TestDead"}
	r.run(func(t controlplanetest.TB) {
		server := cp.InstallAPIServices(t, controlplanetest.APIServices{
			Objects: []*apiregistrationv1.APIService{registered("dead.example.com")}, ReadyTimeout: time.Second,
		})
		server.WaitAvailable(t)
	})
	if !r.failed {
		t.Error("it did not fail")
	}
	for _, want := range []string{"TestDead", `APIServices.Objects[0] "v1.dead.example.com"`, "connection refused", "https://127.0.0.1:", "/apis/dead.example.com/v1"} {
		wantError(t, fmt.Errorf("%s", r.text()), want)
	}
	if _, err := getFlunder(cp.ClientConfig(), "dead.example.com", "one"); !apierrors.IsNotFound(err) {
		t.Errorf("the next test: %v", err)
	}
}
