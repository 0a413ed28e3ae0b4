// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
)

// hostileToBuiltins are tests that change and delete the objects of the control plane
// itself, or leave much behind.
var hostileToBuiltins = map[string]func(t *testing.T, cp *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config{
	"deleted built-in objects": func(t *testing.T, _ *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		check(t, client.CoreV1().Services("default").Delete(t.Context(), "kubernetes", metav1.DeleteOptions{}))
		check(t, client.CoreV1().ConfigMaps("kube-system").Delete(t.Context(), "extension-apiserver-authentication", metav1.DeleteOptions{}))
		check(t, client.CoreV1().ServiceAccounts("default").Delete(t.Context(), "default", metav1.DeleteOptions{}))
		check(t, client.CoreV1().ConfigMaps("kube-public").Delete(t.Context(), "kube-root-ca.crt", metav1.DeleteOptions{}))
		check(t, client.RbacV1().ClusterRoles().DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))
		check(t, client.RbacV1().ClusterRoleBindings().DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))
		check(t, client.CoreV1().Namespaces().Delete(t.Context(), "kube-node-lease", metav1.DeleteOptions{}))
		return nil
	},
	"edited built-in objects": func(t *testing.T, _ *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		role := must(client.RbacV1().ClusterRoles().Get(t.Context(), "cluster-admin", metav1.GetOptions{}))(t)
		role.Rules = nil
		must(client.RbacV1().ClusterRoles().Update(t.Context(), role, metav1.UpdateOptions{}))(t)
		for _, name := range []string{"default", "kube-system"} {
			namespace := must(client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{}))(t)
			namespace.Labels["pod-security.kubernetes.io/enforce"] = "restricted"
			must(client.CoreV1().Namespaces().Update(t.Context(), namespace, metav1.UpdateOptions{}))(t)
		}
		settings := must(client.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "extension-apiserver-authentication", metav1.GetOptions{}))(t)
		settings.Data = map[string]string{"client-ca-file": "none"}
		must(client.CoreV1().ConfigMaps("kube-system").Update(t.Context(), settings, metav1.UpdateOptions{}))(t)
		account := must(client.CoreV1().ServiceAccounts("default").Get(t.Context(), "default", metav1.GetOptions{}))(t)
		account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "mine"}}
		must(client.CoreV1().ServiceAccounts("default").Update(t.Context(), account, metav1.UpdateOptions{}))(t)
		return nil
	},
	"defaults of the cluster": func(t *testing.T, _ *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		must(client.StorageV1().StorageClasses().Create(t.Context(), &storagev1.StorageClass{
			ObjectMeta:  metav1.ObjectMeta{Name: "mine", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
			Provisioner: "example.com/none",
		}, metav1.CreateOptions{}))(t)
		must(client.NodeV1().RuntimeClasses().Create(t.Context(), &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Handler: "mine"}, metav1.CreateOptions{}))(t)
		must(client.CoreV1().LimitRanges("default").Create(t.Context(), &corev1.LimitRange{
			ObjectMeta: metav1.ObjectMeta{Name: "none"},
			Spec:       corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypePod}}},
		}, metav1.CreateOptions{}))(t)
		must(client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}, metav1.CreateOptions{}))(t)
		return nil
	},
	"thousands of objects": func(t *testing.T, _ *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		inParallel(t, 2000, func(i int) error {
			object := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("small-", i)}}
			_, err := client.CoreV1().Secrets("default").Create(t.Context(), object, metav1.CreateOptions{})
			return err
		})
		return nil
	},
	"stuck namespaces": func(t *testing.T, _ *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		for i := range 20 {
			name := fmt.Sprint("stuck-", i)
			must(client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{"example.com/never"}}}, metav1.CreateOptions{}))(t)
			must(client.CoreV1().Pods(name).Create(t.Context(), &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: "pod", Finalizers: []string{"example.com/never"}},
				Spec:       corev1.PodSpec{NodeName: "none", Containers: []corev1.Container{{Name: "c", Image: "image"}}},
			}, metav1.CreateOptions{}))(t)
			check(t, client.CoreV1().Namespaces().Delete(t.Context(), name, metav1.DeleteOptions{}))
		}
		return nil
	},
	"conversion webhook": func(t *testing.T, cp *controlplanetest.ControlPlane, _ kubernetes.Interface) []*rest.Config {
		crd := controlplanetest.NewCRD(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Bar"}, "bars", apiextensionsv1.ClusterScoped)
		cp.InstallCRDs(t, controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{crd}})
		client := apiextensions.NewForConfigOrDie(cp.ClientConfig())
		bar := []byte("{\"apiVersion\":\"example.com/v1\",\"kind\":\"Bar\",\"metadata\":{\"name\":\"bar\"}}")
		check(t, client.ApiextensionsV1().RESTClient().Post().AbsPath("/apis/example.com/v1/bars").Body(bar).Do(t.Context()).Error())
		stored := must(client.ApiextensionsV1().CustomResourceDefinitions().Get(t.Context(), crd.Name, metav1.GetOptions{}))(t)
		next := *stored.Spec.Versions[0].DeepCopy()
		next.Name, stored.Spec.Versions[0].Storage = "v2", false
		stored.Spec.Versions = append(stored.Spec.Versions, next)
		url := "https://127.0.0.1:1/"
		stored.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
			ClientConfig: &apiextensionsv1.WebhookClientConfig{URL: &url}, ConversionReviewVersions: []string{"v1"},
		}}
		must(client.ApiextensionsV1().CustomResourceDefinitions().Update(t.Context(), stored, metav1.UpdateOptions{}))(t)
		return nil
	},
}
