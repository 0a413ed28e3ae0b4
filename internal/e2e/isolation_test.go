// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestNodeIsolation uses the credentials of a worker as an intruder on it would, and
// tries to reach beyond the node. The worker's own requests succeed.
func TestNodeIsolation(t *testing.T) {
	p, _ := startServer(t, controlplane.Config{})
	k, admin := p.kubectl(t), p.client(t)
	workers := map[string]*worker{}
	nodes := map[string]*corev1.Node{}
	uids := map[string]types.UID{}
	for i, name := range []string{"worker1", "worker2"} {
		workers[name] = startWorker(t, p, name)
		k.okStdin(t, fmt.Sprintf(isolated, i+1), "apply", "-f", "-")
	}
	for i, name := range []string{"worker1", "worker2"} {
		nodes[name] = waitNode(t, admin, name, ready)
		uids[name] = waitPod(t, admin, fmt.Sprintf("pod%d", i+1), running).UID
		waitLease(t, admin, name, func(*coordinationv1.Lease) bool { return true })
	}
	me := workers["worker1"].client(t)

	// The authorizer learns the references of pods with a delay. The kubelet's own
	// first requests have waited for that.
	for _, test := range []struct {
		what string
		run  attempt
		may  verdict
	}{
		{"read the secret of an own pod", getSecret("secret1"), allowed},
		{"read the secret of a pod elsewhere", getSecret("secret2"), forbidden},
		{"read a secret of no pod", getSecret("secret-of-nobody"), forbidden},
		{"list secrets", func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Secrets("").List(ctx, metav1.ListOptions{})
			return err
		}, forbidden},
		{"watch secrets", func(ctx context.Context, c kubernetes.Interface) error {
			w, err := c.CoreV1().Secrets("default").Watch(ctx, metav1.ListOptions{})
			if err == nil {
				w.Stop()
			}
			return err
		}, forbidden},
		{"read the configmap of an own pod", getConfigMap("settings1"), allowed},
		{"read the configmap of a pod elsewhere", getConfigMap("settings2"), forbidden},
		{"write the secret of an own pod", func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Secrets("default").Patch(ctx, "secret1", types.MergePatchType, []byte(`{"data":{}}`), metav1.PatchOptions{})
			return err
		}, forbidden},

		{"read its own pod", getPod("pod1"), allowed},
		{"read a pod elsewhere", getPod("pod2"), forbidden},
		{"list its own pods", listPods("spec.nodeName=worker1"), allowed},
		{"list the pods of another node", listPods("spec.nodeName=worker2"), forbidden},
		{"list all pods", listPods(""), forbidden},
		{"write the status of its own pod", patchPod("pod1", `{"status":{"message":"hello"}}`, "status"), allowed},
		{"write the status of a pod elsewhere", patchPod("pod2", `{"status":{"phase":"Failed"}}`, "status"), forbidden},
		{"change its own pod", patchPod("pod1", `{"metadata":{"labels":{"app":"victim"}}}`), forbidden},
		{"evict a pod elsewhere", evict("spare2"), forbidden},
		{"evict its own pod", evict("spare1"), allowed},
		{"delete a pod elsewhere", deletePod("pod2"), never},
		{"delete its own pod", deletePod("spare1"), allowed},
		{"create a mirror pod", createPod("mirror1", nodes["worker1"], true), allowed},
		{"create a mirror pod for another node", createPod("mirror2", nodes["worker2"], true), forbidden},
		{"create a pod that is no mirror", createPod("made", nodes["worker1"], false), forbidden},

		{"read its own node", getNode("worker1"), allowed},
		{"read another node", getNode("worker2"), forbidden},
		{"write the status of its own node", patchNode("worker1", `{"status":{"nodeInfo":{"bootID":"x"}}}`, "status"), allowed},
		{"write the status of another node", patchNode("worker2", `{"status":{"nodeInfo":{"bootID":"x"}}}`, "status"), forbidden},
		{"label its own node", patchNode("worker1", `{"metadata":{"labels":{"colour":"red"}}}`), allowed},
		{"label another node", patchNode("worker2", `{"metadata":{"labels":{"colour":"red"}}}`), forbidden},
		{"give itself a role", patchNode("worker1", `{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}`), forbidden},
		{"give itself a restricted label", patchNode("worker1", `{"metadata":{"labels":{"node-restriction.kubernetes.io/tenant":"a"}}}`), forbidden},
		{"taint itself", patchNode("worker1", `{"spec":{"taints":[{"key":"a","effect":"NoSchedule"}]}}`), forbidden},
		{"create another node", func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker3"}}, metav1.CreateOptions{})
			return err
		}, forbidden},
		{"delete its own node", deleteNode("worker1"), never},
		{"delete another node", deleteNode("worker2"), never},
		{"reach the kubelet of another node", func(ctx context.Context, c kubernetes.Interface) error {
			return c.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes/worker2/proxy/pods").Do(ctx).Error()
		}, forbidden},
		{"read the log of its own pod", func(ctx context.Context, c kubernetes.Interface) error {
			return c.CoreV1().Pods("default").GetLogs("pod1", &corev1.PodLogOptions{}).Do(ctx).Error()
		}, forbidden},

		{"renew its own lease", patchLease("worker1"), allowed},
		{"renew the lease of another node", patchLease("worker2"), forbidden},
		{"create a lease elsewhere", func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoordinationV1().Leases("kube-system").Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "worker1"}}, metav1.CreateOptions{})
			return err
		}, forbidden},

		{"make a token for an own pod", token("robot1", "pod1", uids["worker1"]), allowed},
		{"make a token for a pod elsewhere", token("robot2", "pod2", uids["worker2"]), forbidden},
		{"make a token of a pod elsewhere for an own one", token("robot2", "pod1", uids["worker1"]), never},
		{"make a token for a pod with another UID", token("robot1", "pod1", "00000000-0000-0000-0000-000000000000"), never},
		{"make a token for no pod", token("robot1", "", ""), forbidden},
		{"make itself an administrator", func(ctx context.Context, c kubernetes.Interface) error {
			return c.CoreV1().RESTClient().Post().AbsPath("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings").
				Body([]byte(`{"metadata":{"name":"x"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"system:node:worker1"}]}`)).
				SetHeader("Content-Type", "application/json").Do(ctx).Error()
		}, forbidden},
	} {
		t.Run(test.what, func(t *testing.T) {
			err := test.run(t.Context(), me)
			if test.may == allowed {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if !apierrors.IsForbidden(err) {
				t.Errorf("not forbidden: %v", err)
			}
			if test.may == never {
				return
			}
			if err := test.run(t.Context(), admin); err != nil {
				t.Errorf("the admin: %v", err)
			}
		})
	}
}

// verdict is the expected answer to a node.
type verdict int

const (
	allowed   verdict = iota
	forbidden         // for the node, while an administrator succeeds
	never             // for the node; not tried as administrator
)

// isolated are the objects of worker %d.
const isolated = `apiVersion: v1
kind: Secret
metadata: {name: secret%[1]d}
stringData: {key: value}
---
apiVersion: v1
kind: Secret
metadata: {name: secret-of-nobody}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings%[1]d}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot%[1]d}
---
apiVersion: v1
kind: Pod
metadata: {name: pod%[1]d}
spec:
  nodeName: worker%[1]d
  serviceAccountName: robot%[1]d
  containers:
  - name: c
    image: nginx
    envFrom: [{secretRef: {name: secret%[1]d}}, {configMapRef: {name: settings%[1]d}}]
  volumes: [{name: token, projected: {sources: [{serviceAccountToken: {path: token}}]}}]
---
apiVersion: v1
kind: Pod
metadata: {name: spare%[1]d}
spec:
  nodeName: worker%[1]d
  terminationGracePeriodSeconds: 60
  containers: [{name: c, image: nginx}]
`

// attempt is a request of the intruder.
type attempt func(ctx context.Context, client kubernetes.Interface) error

func getSecret(name string) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		_, err := c.CoreV1().Secrets("default").Get(ctx, name, metav1.GetOptions{})
		return err
	}
}

func getConfigMap(name string) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		_, err := c.CoreV1().ConfigMaps("default").Get(ctx, name, metav1.GetOptions{})
		return err
	}
}

func getPod(name string) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		_, err := c.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
		return err
	}
}

func listPods(selector string) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		_, err := c.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: selector})
		return err
	}
}

func patchPod(name, patch string, subresources ...string) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		_, err := c.CoreV1().Pods("default").Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, subresources...)
		return err
	}
}

func evict(name string) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		return c.PolicyV1().Evictions("default").Evict(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}})
	}
}

func deletePod(name string) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		return c.CoreV1().Pods("default").Delete(ctx, name, metav1.DeleteOptions{})
	}
}

// createPod creates a pod, or with mirror the mirror pod of a static pod. A node owns
// its mirror pods.
func createPod(name string, node *corev1.Node, mirror bool) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.PodSpec{NodeName: node.Name, Containers: []corev1.Container{{Name: "c", Image: "nginx"}}},
		}
		if mirror {
			pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
			pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID, Controller: new(true)}}
		}
		_, err := c.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
		return err
	}
}

func getNode(name string) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		_, err := c.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		return err
	}
}

func patchNode(name, patch string, subresources ...string) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		_, err := c.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, subresources...)
		return err
	}
}

func deleteNode(name string) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		return c.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{})
	}
}

func patchLease(name string) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		_, err := c.CoordinationV1().Leases(corev1.NamespaceNodeLease).Patch(ctx, name, types.MergePatchType, []byte(`{"spec":{"holderIdentity":"x"}}`), metav1.PatchOptions{})
		return err
	}
}

// token requests a token of a service account, bound to a pod unless pod is empty.
func token(account, pod string, uid types.UID) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		request := &authenticationv1.TokenRequest{}
		if pod != "" {
			request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod, UID: uid}
		}
		_, err := c.CoreV1().ServiceAccounts("default").CreateToken(ctx, account, request, metav1.CreateOptions{})
		return err
	}
}
