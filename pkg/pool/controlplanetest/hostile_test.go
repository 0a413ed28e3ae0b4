// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
)

// hostile are tests that leave their control plane in a bad state. Each returns clients
// of identities that it has made.
var hostile = map[string]func(t *testing.T, cp *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config{
	"finalizers": func(t *testing.T, _ *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		for i := range 20 {
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("stays-", i), Finalizers: []string{"example.com/never"}}}
			must(client.CoreV1().ConfigMaps("default").Create(t.Context(), object, metav1.CreateOptions{}))(t)
			check(t, client.CoreV1().ConfigMaps("default").Delete(t.Context(), object.Name, metav1.DeleteOptions{}))
		}
		return nil
	},
	"terminating namespace": func(t *testing.T, _ *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		must(client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "stuck"}}, metav1.CreateOptions{}))(t)
		must(client.CoreV1().Secrets("stuck").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "stays", Finalizers: []string{"example.com/never"}}}, metav1.CreateOptions{}))(t)
		check(t, client.CoreV1().Namespaces().Delete(t.Context(), "stuck", metav1.DeleteOptions{}))
		return nil
	},
	"webhook that refuses everything": func(t *testing.T, _ *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		fail, none, url := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone, "https://127.0.0.1:1/"
		must(client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "refuses"},
			Webhooks: []admissionregistrationv1.ValidatingWebhook{{
				Name: "refuses.example.com", FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
				ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url},
				Rules: []admissionregistrationv1.RuleWithOperations{{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.OperationAll},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}},
				}},
			}},
		}, metav1.CreateOptions{}))(t)
		return nil
	},
	"policy": func(t *testing.T, _ *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		fail := admissionregistrationv1.Fail
		must(client.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "never"},
			Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
				FailurePolicy: &fail, Validations: []admissionregistrationv1.Validation{{Expression: "false"}},
				MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
				}}}},
			},
		}, metav1.CreateOptions{}))(t)
		must(client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "never"},
			Spec:       admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: "never", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}},
		}, metav1.CreateOptions{}))(t)
		return nil
	},
	"half-deleted CRD": func(t *testing.T, cp *controlplanetest.ControlPlane, _ kubernetes.Interface) []*rest.Config {
		crd := controlplanetest.NewCRD(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Foo"}, "foos", apiextensionsv1.ClusterScoped)
		cp.InstallCRDs(t, controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{crd}})
		client := apiextensions.NewForConfigOrDie(cp.ClientConfig())
		foo := []byte("{\"apiVersion\":\"example.com/v1\",\"kind\":\"Foo\",\"metadata\":{\"name\":\"foo\",\"finalizers\":[\"example.com/never\"]}}")
		check(t, client.ApiextensionsV1().RESTClient().Post().AbsPath("/apis/example.com/v1/foos").Body(foo).Do(t.Context()).Error())
		check(t, client.ApiextensionsV1().CustomResourceDefinitions().Delete(t.Context(), crd.Name, metav1.DeleteOptions{}))
		return nil
	},
	"APIService": func(t *testing.T, cp *controlplanetest.ControlPlane, _ kubernetes.Interface) []*rest.Config {
		service := &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1.gone.example.com"}}
		service.Spec = apiregistrationv1.APIServiceSpec{
			Group: "gone.example.com", Version: "v1", GroupPriorityMinimum: 1, VersionPriority: 1, InsecureSkipTLSVerify: true,
			Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "gone"},
		}
		must(aggregator.NewForConfigOrDie(cp.ClientConfig()).ApiregistrationV1().APIServices().Create(t.Context(), service, metav1.CreateOptions{}))(t)
		return nil
	},
	"priority levels": func(t *testing.T, _ *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		level := must(client.FlowcontrolV1().PriorityLevelConfigurations().Get(t.Context(), "global-default", metav1.GetOptions{}))(t)
		one := int32(1)
		level.Spec.Limited.NominalConcurrencyShares = &one
		level.Spec.Limited.LimitResponse = flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject}
		must(client.FlowcontrolV1().PriorityLevelConfigurations().Update(t.Context(), level, metav1.UpdateOptions{}))(t)
		return nil
	},
	"leases": func(t *testing.T, _ *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		all := must(client.CoordinationV1().Leases("kube-system").List(t.Context(), metav1.ListOptions{}))(t)
		for _, lease := range all.Items {
			holder := "an intruder"
			lease.Spec.HolderIdentity = &holder
			must(client.CoordinationV1().Leases("kube-system").Update(t.Context(), &lease, metav1.UpdateOptions{}))(t)
		}
		must(client.CoordinationV1().Leases("default").Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}, metav1.CreateOptions{}))(t)
		return nil
	},
	"quota and limits": func(t *testing.T, _ *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		must(client.CoreV1().ResourceQuotas("default").Create(t.Context(), &corev1.ResourceQuota{
			ObjectMeta: metav1.ObjectMeta{Name: "none"},
			Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/configmaps": resource.MustParse("0"), corev1.ResourcePods: resource.MustParse("0")}},
		}, metav1.CreateOptions{}))(t)
		return nil
	},
	"limits": func(t *testing.T, _ *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		must(client.CoreV1().LimitRanges("default").Create(t.Context(), &corev1.LimitRange{
			ObjectMeta: metav1.ObjectMeta{Name: "all"},
			Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
				Type: corev1.LimitTypeContainer, Default: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")},
			}}},
		}, metav1.CreateOptions{}))(t)
		return nil
	},
	"RBAC and priority classes": func(t *testing.T, _ *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		must(client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "all"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:unauthenticated"}},
		}, metav1.CreateOptions{}))(t)
		check(t, client.RbacV1().ClusterRoles().Delete(t.Context(), "view", metav1.DeleteOptions{}))
		must(client.SchedulingV1().PriorityClasses().Create(t.Context(), &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "all"}, Value: 1, GlobalDefault: true}, metav1.CreateOptions{}))(t)
		return nil
	},
	"much data": func(t *testing.T, _ *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		inParallel(t, 160, func(i int) error {
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("large-", i)}, BinaryData: map[string][]byte{"x": make([]byte, 1<<19)}}
			_, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), object, metav1.CreateOptions{})
			return err
		})
		return nil
	},
	"certificates and tokens": func(t *testing.T, cp *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		clients := []*rest.Config{cp.UserConfig(t, "intruder", "system:masters"), cp.ServiceAccountConfig(t, "default", "default")}
		token := must(client.CoreV1().ServiceAccounts("kube-system").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{}))(t)
		return append(clients, &rest.Config{Host: cp.URL(), TLSClientConfig: rest.TLSClientConfig{CAData: cp.CABundle()}, BearerToken: token.Status.Token})
	},
}

func must[T any](value T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// inParallel calls do for 0 to n-1.
func inParallel(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	errs := make([]error, n)
	workqueue.ParallelizeUntil(t.Context(), 16, n, func(i int) { errs[i] = do(i) })
	check(t, errors.Join(errs...))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// state is what a new control plane serves: its objects, without what differs between two
// control planes.
func state(t *testing.T, client kubernetes.Interface) string {
	t.Helper()
	var names []string
	add := func(kind string, list []string) { names = append(names, fmt.Sprint(kind, ": ", list)) }
	for _, list := range []struct {
		kind, path string
	}{{"namespaces", "/api/v1/namespaces"}, {"configmaps", "/api/v1/configmaps"}, {"secrets", "/api/v1/secrets"}, {"service accounts", "/api/v1/serviceaccounts"},
		{"quotas", "/api/v1/resourcequotas"}, {"webhooks", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"},
		{"policies", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"}, {"CRDs", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"},
		{"APIServices", "/apis/apiregistration.k8s.io/v1/apiservices"}, {"roles", "/apis/rbac.authorization.k8s.io/v1/clusterroles"},
		{"bindings", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"}, {"priority classes", "/apis/scheduling.k8s.io/v1/priorityclasses"},
		{"priority levels", "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"}, {"leases in default", "/apis/coordination.k8s.io/v1/namespaces/default/leases"},
		{"leases of the control plane", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"},
		{"services", "/api/v1/services"}, {"nodes", "/api/v1/nodes"}, {"pods", "/api/v1/pods"}, {"runtime classes", "/apis/node.k8s.io/v1/runtimeclasses"},
		{"storage classes", "/apis/storage.k8s.io/v1/storageclasses"}, {"requests", "/apis/certificates.k8s.io/v1/certificatesigningrequests"},
		{"role bindings", "/apis/rbac.authorization.k8s.io/v1/rolebindings"}, {"deployments", "/apis/apps/v1/deployments"},
	} {
		var objects struct{ Items []map[string]any }
		check(t, json.Unmarshal(must(client.CoreV1().RESTClient().Get().AbsPath(list.path).Do(t.Context()).Raw())(t), &objects))
		var found []string
		for _, object := range objects.Items {
			meta := object["metadata"].(map[string]any)
			for _, own := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields"} {
				delete(meta, own)
			}
			if data, ok := object["data"].(map[string]any); ok {
				for key, value := range data { // CAs and times differ
					begin, _, _ := strings.Cut(fmt.Sprint(value), "\n")
					data[key] = regexp.MustCompile("[0-9]+").ReplaceAllString(begin, "0")
				}
			}
			delete(object, "status")
			switch list.kind {
			case "services": // the port of the API server
				delete(object, "spec")
			case "leases of the control plane": // the port, times, and the ID of the holder
				delete(meta, "annotations")
				holder, _, _ := strings.Cut(fmt.Sprint(object["spec"].(map[string]any)["holderIdentity"]), "_")
				object["spec"] = holder
			}
			found = append(found, string(must(json.Marshal(object))(t)))
		}
		slices.Sort(found)
		add(list.kind, found)
	}
	return strings.Join(names, "\n")
}

// rejected returns an error unless a request ends without an answer, or with the answer
// that the credentials are not valid. It is one request: client-go would try again.
func rejected(t *testing.T, config *rest.Config) error {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	check(t, err)
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/api/v1/namespaces", nil)
	check(t, err)
	response, err := client.Do(request)
	if err == nil {
		_ = response.Body.Close()
		if response.StatusCode == http.StatusUnauthorized {
			return nil
		}
		return errors.New(response.Status)
	}
	// Another control plane may have got the port.
	if other := (*tls.CertificateVerificationError)(nil); errors.As(err, &other) {
		return nil
	}
	if utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err) {
		return nil
	}
	return err
}

// TestHostileTests: whatever a test leaves, the next one gets a control plane as new, and
// the clients of the former are rejected.
func TestHostileTests(t *testing.T) {
	tests := maps.Clone(hostile)
	maps.Copy(tests, hostileToBuiltins)
	maps.Copy(tests, hostileClients)
	var asNew string
	var names []string
	for name := range tests {
		names = append(names, name)
	}
	slices.Sort(names)
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	var former []*rest.Config
	defer endLasting(t)
	next := func(t *testing.T, cp *controlplanetest.ControlPlane) kubernetes.Interface {
		client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
		now := state(t, client)
		if asNew == "" {
			asNew = now
		}
		if now != asNew {
			got, want := strings.Split(now, "\n"), strings.Split(asNew, "\n")
			for i := range got {
				if got[i] != want[i] {
					t.Errorf("got  %s\nwant %s", got[i], want[i])
				}
			}
		}
		for _, old := range former {
			for _, host := range []string{old.Host, cp.URL()} {
				config := rest.CopyConfig(old)
				config.Host, config.WrapTransport = host, nil
				if host != old.Host {
					config.CAData = cp.CABundle()
				}
				if err := rejected(t, config); err != nil {
					t.Errorf("a client of a former test at %s: %v", host, err)
				}
			}
		}
		must(client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "works"}}, metav1.CreateOptions{}))(t)
		return client
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			cp := controlplanetest.New(t, controlplanetest.Config{})
			client := next(t, cp)
			former = append(tests[name](t, cp, client), cp.ClientConfig())
		})
	}
	t.Run("last", func(t *testing.T) { next(t, controlplanetest.New(t, controlplanetest.Config{})) })
}
