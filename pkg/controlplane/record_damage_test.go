// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// change is a request of an administrator.
type change struct{ method, path, body string }

const (
	apiServices    = "/apis/apiregistration.k8s.io/v1/apiservices/"
	flowControl    = "/apis/flowcontrol.apiserver.k8s.io/v1/"
	rbac           = "/apis/rbac.authorization.k8s.io/v1/"
	admissions     = "/apis/admissionregistration.k8s.io/v1/"
	elsewhere      = `{"spec":{"insecureSkipTLSVerify":true,"service":{"name":"nope","namespace":"default"}}}`
	terminating    = `{"metadata":{"finalizers":["example.com/never"]}}`
	noFinalizers   = `{"metadata":{"finalizers":null}}`
	unmanaged      = `{"metadata":{"labels":{"kube-aggregator.kubernetes.io/automanaged":null}},"spec":{"insecureSkipTLSVerify":true,"service":{"name":"nope","namespace":"default"}}}`
	everyOperation = `"operations":["*"],"apiGroups":["*"],"apiVersions":["*"],"resources":["*/*"]`
)

// damages are changes of an administrator to objects that a start uses. undo is applied
// after the next start, before the following damage.
var damages = []struct {
	name       string
	do, undo   []change
	restricted bool // writes are refused after the start, too
}{
	{name: "v1 at another server", do: []change{{"PATCH", apiServices + "v1.", elsewhere}}},
	{name: "built-in groups at another server", do: []change{
		{"PATCH", apiServices + "v1.rbac.authorization.k8s.io", elsewhere},
		{"PATCH", apiServices + "v1.flowcontrol.apiserver.k8s.io", elsewhere},
		{"PATCH", apiServices + "v1.networking.k8s.io", elsewhere},
		{"PATCH", apiServices + "v1.coordination.k8s.io", elsewhere},
		{"PATCH", apiServices + "v1.apps", elsewhere},
		{"PATCH", apiServices + "v1.admissionregistration.k8s.io", elsewhere},
		{"PATCH", apiServices + "v1.apiextensions.k8s.io", elsewhere},
		{"PATCH", apiServices + "v1.discovery.k8s.io", elsewhere},
		{"PATCH", apiServices + "v1.scheduling.k8s.io", elsewhere},
		{"PATCH", apiServices + "v1.", elsewhere},
	}},
	{name: "v1 at another server for good", do: []change{{"PATCH", apiServices + "v1.", unmanaged}}},
	{name: "APIServices deleted", do: []change{
		{"DELETE", apiServices + "v1.", ""}, {"DELETE", apiServices + "v1.apps", ""}, {"DELETE", apiServices + "v1.rbac.authorization.k8s.io", ""},
	}},
	{name: "APIService with a finalizer", do: []change{
		{"PATCH", apiServices + "v1.batch", terminating}, {"DELETE", apiServices + "v1.batch", ""},
	}, undo: []change{{"PATCH", apiServices + "v1.batch", noFinalizers}}},
	{name: "priorities and CA bundle", do: []change{
		{"PATCH", apiServices + "v1.", `{"spec":{"groupPriorityMinimum":1,"versionPriority":1}}`},
		{"PATCH", apiServices + "v1.apps", `{"spec":{"groupPriorityMinimum":20000,"versionPriority":1000}}`},
		{"PATCH", apiServices + "v1.storage.k8s.io", `{"spec":{"caBundle":"LS0t","service":{"name":"nope","namespace":"default"}}}`},
	}},
	{name: "namespaces", do: []change{
		{"PATCH", "/api/v1/namespaces/kube-node-lease", terminating},
		{"DELETE", "/api/v1/namespaces/kube-node-lease", ""},
		{"PATCH", "/api/v1/namespaces/kube-system", `{"metadata":{"labels":{"a":"b"},"finalizers":["example.com/never"]}}`},
		{"PATCH", "/api/v1/namespaces/default", `{"metadata":{"annotations":{"a":"b"},"labels":{"kubernetes.io/metadata.name":"other"}}}`},
	}, undo: []change{
		{"PATCH", "/api/v1/namespaces/kube-node-lease", noFinalizers}, {"PATCH", "/api/v1/namespaces/kube-system", noFinalizers},
	}},
	{name: "flow control deleted", do: []change{
		{"DELETE", flowControl + "flowschemas", ""}, {"DELETE", flowControl + "prioritylevelconfigurations", ""},
	}},
	{name: "flow control starves", do: []change{
		{"PATCH", flowControl + "prioritylevelconfigurations/exempt", `{"metadata":{"annotations":{"apf.kubernetes.io/autoupdate-spec":"false"}},"spec":{"exempt":{"nominalConcurrencyShares":0,"lendablePercent":0}}}`},
		{"PATCH", flowControl + "prioritylevelconfigurations/system", `{"metadata":{"annotations":{"apf.kubernetes.io/autoupdate-spec":"false"}},"spec":{"limited":{"nominalConcurrencyShares":0,"lendablePercent":0,"borrowingLimitPercent":0,"limitResponse":{"type":"Reject","queuing":null}}}}`},
		{"PATCH", flowControl + "prioritylevelconfigurations/workload-low", `{"metadata":{"annotations":{"apf.kubernetes.io/autoupdate-spec":"false"}},"spec":{"limited":{"nominalConcurrencyShares":0,"lendablePercent":0,"borrowingLimitPercent":0,"limitResponse":{"type":"Reject","queuing":null}}}}`},
		{"POST", flowControl + "prioritylevelconfigurations", `{"metadata":{"name":"none"},"spec":{"type":"Limited","limited":{"nominalConcurrencyShares":0,"lendablePercent":0,"borrowingLimitPercent":0,"limitResponse":{"type":"Reject"}}}}`},
		{"POST", flowControl + "flowschemas", `{"metadata":{"name":"all"},"spec":{"matchingPrecedence":2,"priorityLevelConfiguration":{"name":"none"},"rules":[{"subjects":[{"kind":"Group","group":{"name":"*"}}],"resourceRules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"],"namespaces":["*"],"clusterScope":true}],"nonResourceRules":[{"verbs":["*"],"nonResourceURLs":["*"]}]}]}}`},
	}, undo: []change{
		{"DELETE", flowControl + "flowschemas/all", ""}, {"DELETE", flowControl + "prioritylevelconfigurations/none", ""},
		{"DELETE", flowControl + "prioritylevelconfigurations/system", ""}, {"DELETE", flowControl + "prioritylevelconfigurations/workload-low", ""},
	}},
	{name: "kubernetes Service elsewhere", do: []change{
		{"PATCH", "/api/v1/namespaces/default/services/kubernetes", `{"spec":{"type":"ExternalName","externalName":"example.com","clusterIP":null,"clusterIPs":null,"selector":{"a":"b"}}}`},
	}, undo: []change{{"DELETE", "/api/v1/namespaces/default/services/kubernetes", ""}}},
	{name: "kubernetes Service gone, its address taken", do: []change{
		{"DELETE", "/api/v1/namespaces/default/services/kubernetes", ""},
		{"POST", "/api/v1/namespaces/default/services", `{"metadata":{"name":"thief"},"spec":{"clusterIP":"10.0.0.1","ports":[{"port":80}]}}`},
	}, undo: []change{{"DELETE", "/api/v1/namespaces/default/services/thief", ""}}},
	{name: "kubernetes Service not created in time, its address left", do: []change{
		{"DELETE", "/api/v1/namespaces/default/services/kubernetes", ""},
		{"POST", "/apis/networking.k8s.io/v1/ipaddresses", `{"metadata":{"name":"10.0.0.1","labels":{"ipaddress.kubernetes.io/ip-family":"IPv4","ipaddress.kubernetes.io/managed-by":"ipallocator.k8s.io"}},"spec":{"parentRef":{"resource":"services","namespace":"default","name":"kubernetes"}}}`},
	}, undo: []change{{"PATCH", "/api/v1/namespaces/default/services/kubernetes", `{"metadata":{"labels":{"a":"b"}}}`}}},
	{name: "range of Services terminating", do: []change{
		{"PATCH", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes", terminating},
		{"DELETE", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes", ""},
	}, undo: []change{{"PATCH", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes", noFinalizers}}},
	{name: "range and addresses of Services deleted", do: []change{
		{"DELETE", "/apis/networking.k8s.io/v1/servicecidrs", ""}, {"DELETE", "/apis/networking.k8s.io/v1/ipaddresses", ""},
	}},
	{name: "range of Services not ready", do: []change{
		{"PATCH", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes/status", `{"status":{"conditions":[{"type":"Ready","status":"False","reason":"Mine","message":"mine","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`},
	}, undo: []change{{"DELETE", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes", ""}}},
	{name: "range of Services replaced", do: []change{
		{"DELETE", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes", ""},
		{"POST", "/apis/networking.k8s.io/v1/servicecidrs", `{"metadata":{"name":"kubernetes"},"spec":{"cidrs":["10.9.0.0/24"]}}`},
	}, undo: []change{{"DELETE", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes", ""}}},
	{name: "leases held by others", do: []change{
		{"DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", ""},
		{"POST", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", `{"metadata":{"name":"kubembed-controllers"},"spec":{"holderIdentity":"other","leaseDurationSeconds":2000000000,"acquireTime":"2026-01-01T00:00:00.000000Z","renewTime":"2090-01-01T00:00:00.000000Z"}}`},
		{"POST", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", `{"metadata":{"name":"apiserver-other","labels":{"apiserver.kubernetes.io/identity":"kube-apiserver"}},"spec":{"holderIdentity":"other","leaseDurationSeconds":2000000000,"renewTime":"2090-01-01T00:00:00.000000Z"}}`},
	}},
	{name: "CRD status wiped", do: []change{
		{"POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", `{"metadata":{"name":"gadgets.example.com"},"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"gadgets","kind":"Gadget"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`},
		{"PATCH", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.example.com/status", `{"status":{"storedVersions":["v1"],"acceptedNames":{"plural":"other","kind":"Other"},"conditions":[{"type":"NamesAccepted","status":"False","reason":"No","message":"no","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`},
	}, undo: []change{{"DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.example.com", ""}}},
	{name: "bootstrap policy", do: []change{
		{"DELETE", rbac + "clusterrolebindings", ""},
		{"DELETE", rbac + "clusterroles/system:node", ""}, {"DELETE", rbac + "clusterroles/cluster-admin", ""},
		{"PATCH", rbac + "clusterroles/system:basic-user", `{"rules":[]}`},
		{"PATCH", rbac + "clusterroles/view", terminating}, {"DELETE", rbac + "clusterroles/view", ""},
		{"DELETE", rbac + "namespaces/kube-system/rolebindings", ""}, {"DELETE", rbac + "namespaces/kube-system/roles", ""},
	}, undo: []change{{"PATCH", rbac + "clusterroles/view", noFinalizers}}},
	{name: "priority classes and ConfigMaps", do: []change{
		{"POST", "/apis/scheduling.k8s.io/v1/priorityclasses", `{"metadata":{"name":"mine"},"value":1,"globalDefault":true}`},
		{"PATCH", "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication", `{"data":{"client-ca-file":"x","requestheader-client-ca-file":"x","requestheader-allowed-names":"x","requestheader-group-headers":"{","requestheader-username-headers":"["}}`},
		{"PATCH", "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking", `{"data":{"since":"x"}}`},
		{"PATCH", "/api/v1/namespaces/kube-system/configmaps/kube-root-ca.crt", `{"data":{"ca.crt":"x"}}`},
	}, undo: []change{{"DELETE", "/apis/scheduling.k8s.io/v1/priorityclasses/mine", ""}}},
	{name: "quotas of nothing", do: []change{
		{"POST", "/api/v1/namespaces/default/resourcequotas", `{"metadata":{"name":"none"},"spec":{"hard":{"services":"0","pods":"0","count/configmaps":"0"}}}`},
		{"POST", "/api/v1/namespaces/kube-system/resourcequotas", `{"metadata":{"name":"none"},"spec":{"hard":{"configmaps":"0","count/leases.coordination.k8s.io":"0"}}}`},
		{"DELETE", "/api/v1/namespaces/default/services/kubernetes", ""},
	}, undo: []change{
		{"DELETE", "/api/v1/namespaces/default/resourcequotas/none", ""}, {"DELETE", "/api/v1/namespaces/kube-system/resourcequotas/none", ""},
	}, restricted: true},
	{name: "policies refuse everything", do: []change{
		{"PATCH", rbac + "clusterroles/system:basic-user", `{"rules":[]}`},
		{"DELETE", rbac + "clusterrolebindings/system:basic-user", ""},
		{"DELETE", "/api/v1/namespaces/default/services/kubernetes", ""},
		{"PATCH", apiServices + "v1.", elsewhere},
		{"POST", admissions + "validatingadmissionpolicies", `{"metadata":{"name":"never"},"spec":{"failurePolicy":"Fail","matchConstraints":{"resourceRules":[{` + everyOperation + `}]},"validations":[{"expression":"false"}]}}`},
		{"POST", admissions + "validatingadmissionpolicybindings", `{"metadata":{"name":"never"},"spec":{"policyName":"never","validationActions":["Deny"]}}`},
	}, undo: []change{
		{"DELETE", admissions + "validatingadmissionpolicybindings/never", ""}, {"DELETE", admissions + "validatingadmissionpolicies/never", ""},
	}, restricted: true},
	{name: "webhooks that hang", do: []change{
		{"PATCH", rbac + "clusterroles/system:basic-user", `{"rules":[]}`},
		{"PATCH", rbac + "clusterroles/system:discovery", `{"rules":[]}`},
		{"PATCH", rbac + "clusterroles/system:node", `{"rules":[]}`},
		{"PATCH", rbac + "clusterroles/system:kube-scheduler", `{"rules":[]}`},
		{"PATCH", rbac + "clusterroles/system:kube-dns", `{"rules":[]}`},
		{"DELETE", "/api/v1/namespaces/default/services/kubernetes", ""},
		{"PATCH", apiServices + "v1.", elsewhere},
		{"POST", admissions + "mutatingwebhookconfigurations", `{"metadata":{"name":"hung"},"webhooks":[{"name":"hung.example.com","failurePolicy":"Fail","sideEffects":"None","timeoutSeconds":30,"admissionReviewVersions":["v1"],"clientConfig":{"url":"https://HUNG/"},"rules":[{` + everyOperation + `}]}]}`},
		{"POST", admissions + "validatingwebhookconfigurations", `{"metadata":{"name":"hung"},"webhooks":[{"name":"hung.example.com","failurePolicy":"Fail","sideEffects":"None","timeoutSeconds":30,"admissionReviewVersions":["v1"],"clientConfig":{"url":"https://HUNG/"},"rules":[{` + everyOperation + `}]}]}`},
	}, undo: []change{
		{"DELETE", admissions + "mutatingwebhookconfigurations/hung", ""}, {"DELETE", admissions + "validatingwebhookconfigurations/hung", ""},
	}, restricted: true},
}

// damagedStart bounds a start, which takes well under a second. A start that waits in
// vain takes more than a minute.
const damagedStart = 30 * time.Second

// TestStartAfterDamage: whatever an administrator did to the objects that a start uses,
// the next start succeeds, and repairs the control plane's own objects.
func TestStartAfterDamage(t *testing.T) {
	hung := hungListener(t)
	dir := t.TempDir()
	server := start(t, controlplane.Config{DataDir: dir})
	for _, damage := range damages {
		ok := t.Run(damage.name, func(t *testing.T) {
			apply(t, admin(t, server), hung, damage.do)
			closeServer(t, server)
			ctx, cancel := context.WithTimeout(t.Context(), damagedStart)
			defer cancel()
			begin := time.Now()
			again, err := controlplane.Start(ctx, controlplane.Config{DataDir: dir})
			if err != nil {
				t.Fatalf("after %s: %v", time.Since(begin), err)
			}
			t.Log(time.Since(begin))
			server = again
			wantRepaired(t, admin(t, server))
			wantManagers(t, server, "v1.")
			if !damage.restricted {
				wantPod(t, admin(t, server))
			}
			apply(t, admin(t, server), hung, damage.undo)
		})
		if !ok {
			break
		}
	}
	closeServer(t, server)
}

// apply makes the requests. Missing objects need no deletion. Policies of the previous
// damage stay in effect for another second. It begins again if the running server has
// repaired a Service before its address was taken.
func apply(t *testing.T, client kubernetes.Interface, hung string, changes []change) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), damagedStart)
	defer cancel()
	for i := 0; i < len(changes); i++ {
		c := changes[i]
		var last error
		err := lifecycle.Poll(ctx, func() bool {
			request := client.Discovery().RESTClient().Verb(c.method).AbsPath(c.path)
			if c.body != "" {
				request = request.Body([]byte(strings.ReplaceAll(c.body, "HUNG", hung))).SetHeader("Content-Type", contentType(c.method))
			}
			last = request.Do(ctx).Error()
			if c.method == http.MethodDelete && apierrors.IsNotFound(last) {
				last = nil
			}
			// The running server may have repaired the damage of the last case just now.
			if c.method == http.MethodPost && apierrors.IsAlreadyExists(last) {
				last = nil
			}
			// Objects of a hook may follow a moment after the start.
			early := c.method == http.MethodPatch && apierrors.IsNotFound(last)
			return last == nil || !early && !strings.Contains(last.Error(), "ValidatingAdmissionPolicy")
		})
		if err == nil && last != nil && strings.Contains(last.Error(), "already allocated") {
			i = -1
			continue
		}
		if err != nil || last != nil {
			t.Fatalf("%s %s: got %v, %v, want no error", c.method, c.path, err, last)
		}
	}
}

func contentType(method string) string {
	if method == http.MethodPatch {
		return string(types.MergePatchType)
	}
	return "application/json"
}

// wantRepaired checks that the APIs are served here, and the RBAC policy is complete.
func wantRepaired(t *testing.T, client *kubernetes.Clientset) {
	t.Helper()
	for _, path := range []string{"/apis/apps/v1", "/api/v1", rbac, flowControl, "/apis/batch/v1"} {
		if err := client.Discovery().RESTClient().Get().AbsPath(path).Do(t.Context()).Error(); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, name := range []string{"system:basic-user", "system:node", "cluster-admin"} {
		role, err := client.RbacV1().ClusterRoles().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || len(role.Rules) == 0 {
			t.Errorf("ClusterRole %s: got rules %v, error %v, want rules", name, role.Rules, err)
		}
	}
	if _, err := client.RbacV1().ClusterRoleBindings().Get(t.Context(), "system:basic-user", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

// wantManagers checks the field managers of a repaired APIService.
func wantManagers(t *testing.T, server *controlplane.Server, name string) {
	t.Helper()
	client, err := metadata.NewForConfig(server.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	service, err := client.Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}).
		Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owned := false
	for _, entry := range service.ManagedFields {
		owned = owned || entry.Subresource == ""
		if entry.Manager != "kube-apiserver" {
			t.Errorf("owner of %s of the repaired APIService: got %s, want kube-apiserver", entry.FieldsV1, entry.Manager)
		}
	}
	if !owned {
		t.Errorf("owners of the repaired APIService: got %v, want kube-apiserver", service.ManagedFields)
	}
}

func wantPod(t *testing.T, client *kubernetes.Clientset) {
	t.Helper()
	pod := newPod("")
	pod.GenerateName = "after-"
	if _, err := client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Errorf("the first pod: %v", err)
	}
}
