// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// acknowledgedTries is the number of tries of each case. Most tries once failed in this
// process.
const acknowledgedTries = 30

// asker is an administrator's client, and creates other users' clients with the same path
// to the server.
type asker struct {
	ctx    context.Context
	config *rest.Config
	kubernetes.Interface
}

func (a asker) as(user string, groups ...string) kubernetes.Interface {
	config := rest.CopyConfig(a.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	return kubernetes.NewForConfigOrDie(config)
}

// wait polls without a pause until done, so that the next request follows immediately.
func (a asker) wait(what string, done func() (bool, error)) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if ok, err := done(); ok || err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: not within a minute", what)
}

// TestDecisionsKnowWhatWasAcknowledged: authorization and admission of a request see all
// earlier acknowledged writes. Clients in this process were once faster than the server's
// informers.
func TestDecisionsKnowWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	server := start(t, controlplane.Config{})
	kubeconfig, err := server.Kubeconfig("admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	for path, config := range map[string]*rest.Config{"memory": server.ClientConfig(), "tls": fromKubeconfig(t, kubeconfig)} {
		t.Run(path, func(t *testing.T) {
			a := asker{t.Context(), config, clientFor(t, config)}
			for name, try := range map[string]func(a asker, namespace, name string) error{
				"cluster role": tryClusterRole, "role": tryRole, "access review": tryAccessReview,
				"namespace": tryNamespace, "priority class": tryPriorityClass, "runtime class": tryRuntimeClass,
				"limit range": tryLimitRange, "quota": tryQuota, "storage class": tryStorageClass, "ingress class": tryIngressClass,
				"service account": tryServiceAccount, "webhook": tryWebhook, "node": tryNode, "custom resource": tryCustomResource,
			} {
				namespace := path + "-" + strings.ReplaceAll(name, " ", "-")
				createNamespace(t, admin(t, server), namespace)
				var failures []error
				tries := acknowledgedTries
				if name == "custom resource" {
					tries = 5 // Each takes long.
				}
				for i := range tries {
					if err := try(a, namespace, fmt.Sprintf("%s-%d", namespace, i)); err != nil {
						failures = append(failures, err)
					}
				}
				if len(failures) > 0 {
					t.Errorf("%s: got failures in %d of %d tries, the first %v, want none", name, len(failures), tries, failures[0])
				}
			}
		})
	}
}

func tryClusterRole(a asker, _, name string) error {
	meta := metav1.ObjectMeta{Name: name}
	role := &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list"}}}}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}}
	if _, err := a.RbacV1().ClusterRoles().Create(a.ctx, role, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := a.RbacV1().ClusterRoleBindings().Create(a.ctx, binding, metav1.CreateOptions{}); err != nil {
		return err
	}
	list := func() error {
		_, err := a.as(name).CoreV1().ConfigMaps("").List(a.ctx, metav1.ListOptions{Limit: 1})
		return err
	}
	if err := list(); err != nil {
		return err
	}
	if err := a.RbacV1().ClusterRoleBindings().Delete(a.ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	if err := list(); !apierrors.IsForbidden(err) {
		return fmt.Errorf("after the binding was deleted: %w", orAccepted(err))
	}
	return nil
}

func orAccepted(err error) error {
	if err == nil {
		return fmt.Errorf("got no error")
	}
	return err
}

func tryRole(a asker, namespace, name string) error {
	meta := metav1.ObjectMeta{Name: name}
	role := &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"create"}}}}
	binding := &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}}
	if _, err := a.RbacV1().RoleBindings(namespace).Create(a.ctx, binding, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := a.RbacV1().Roles(namespace).Create(a.ctx, role, metav1.CreateOptions{}); err != nil {
		return err
	}
	create := func() error {
		_, err := a.as(name).CoreV1().ConfigMaps(namespace).Create(a.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "c-"}}, metav1.CreateOptions{})
		return err
	}
	if err := create(); err != nil {
		return err
	}
	role.Rules[0].Verbs = []string{"get"}
	if _, err := a.RbacV1().Roles(namespace).Update(a.ctx, role, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if err := create(); !apierrors.IsForbidden(err) {
		return fmt.Errorf("after the role was changed: %w", orAccepted(err))
	}
	return nil
}

func tryAccessReview(a asker, namespace, name string) error {
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}}
	if _, err := a.RbacV1().RoleBindings(namespace).Create(a.ctx, binding, metav1.CreateOptions{}); err != nil {
		return err
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: name,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "get", Resource: "pods"}}}
	review, err := a.AuthorizationV1().SubjectAccessReviews().Create(a.ctx, review, metav1.CreateOptions{})
	if err == nil && !review.Status.Allowed {
		err = fmt.Errorf("%+v", review.Status)
	}
	return err
}

func tryNamespace(a asker, _, name string) error {
	_, err := a.CoreV1().Namespaces().Create(a.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = a.CoreV1().ConfigMaps(name).Create(a.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, metav1.CreateOptions{})
	return err
}

func (a asker) pod(namespace string, change func(*corev1.Pod)) (*corev1.Pod, error) {
	pod := newPod("")
	pod.GenerateName = "p-"
	pod.Spec.AutomountServiceAccountToken = new(false)
	change(pod)
	return a.CoreV1().Pods(namespace).Create(a.ctx, pod, metav1.CreateOptions{})
}

func tryPriorityClass(a asker, namespace, name string) error {
	_, err := a.SchedulingV1().PriorityClasses().Create(a.ctx, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: 7}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	pod, err := a.pod(namespace, func(p *corev1.Pod) { p.Spec.PriorityClassName = name })
	if err == nil && (pod.Spec.Priority == nil || *pod.Spec.Priority != 7) {
		err = fmt.Errorf("the pod's priority is %v", pod.Spec.Priority)
	}
	return err
}

func tryRuntimeClass(a asker, namespace, name string) error {
	class := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Handler: "h", Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"class": "it"}}}
	class, err := a.NodeV1().RuntimeClasses().Create(a.ctx, class, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if _, err := a.pod(namespace, func(p *corev1.Pod) { p.Spec.RuntimeClassName = &name }); err != nil {
		return err
	}
	class.Scheduling.NodeSelector = map[string]string{"class": "another"}
	if _, err := a.NodeV1().RuntimeClasses().Update(a.ctx, class, metav1.UpdateOptions{}); err != nil {
		return err
	}
	pod, err := a.pod(namespace, func(p *corev1.Pod) { p.Spec.RuntimeClassName = &name })
	if err == nil && pod.Spec.NodeSelector["class"] != "another" {
		err = fmt.Errorf("the pod selects %v", pod.Spec.NodeSelector)
	}
	return err
}

func tryLimitRange(a asker, namespace, name string) error {
	limits := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
		Type: corev1.LimitTypeContainer, DefaultRequest: corev1.ResourceList{"cpu": resource.MustParse("7m")}}}}}
	if _, err := a.CoreV1().LimitRanges(namespace).Create(a.ctx, limits, metav1.CreateOptions{}); err != nil {
		return err
	}
	pod, err := a.pod(namespace, func(*corev1.Pod) {})
	if err != nil {
		return err
	}
	if pod.Spec.Containers[0].Resources.Requests.Cpu().String() != "7m" {
		return fmt.Errorf("the pod requests %v", pod.Spec.Containers[0].Resources.Requests)
	}
	if err := a.CoreV1().LimitRanges(namespace).Delete(a.ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	pod, err = a.pod(namespace, func(*corev1.Pod) {})
	if err == nil && len(pod.Spec.Containers[0].Resources.Requests) > 0 {
		err = fmt.Errorf("after the deletion the pod requests %v", pod.Spec.Containers[0].Resources.Requests)
	}
	return err
}

func tryQuota(a asker, namespace, name string) error {
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("0")}}}
	quota, err := a.CoreV1().ResourceQuotas(namespace).Create(a.ctx, quota, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	// Without a status it does not count, as in upstream.
	if err := a.wait("the quota has a status", func() (bool, error) {
		quota, err = a.CoreV1().ResourceQuotas(namespace).Get(a.ctx, name, metav1.GetOptions{})
		return err == nil && len(quota.Status.Hard) > 0, err
	}); err != nil {
		return err
	}
	if _, err := a.pod(namespace, func(*corev1.Pod) {}); !apierrors.IsForbidden(err) {
		return orAccepted(err)
	}
	if err := a.CoreV1().ResourceQuotas(namespace).Delete(a.ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	_, err = a.pod(namespace, func(*corev1.Pod) {})
	return err
}

func tryStorageClass(a asker, namespace, name string) error {
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}}, Provisioner: "p"}
	if _, err := a.StorageV1().StorageClasses().Create(a.ctx, class, metav1.CreateOptions{}); err != nil {
		return err
	}
	claim, err := a.CoreV1().PersistentVolumeClaims(namespace).Create(a.ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}}},
	}, metav1.CreateOptions{})
	if err == nil && ptr.Deref(claim.Spec.StorageClassName, "") != name {
		err = fmt.Errorf("the claim's class is %q", ptr.Deref(claim.Spec.StorageClassName, ""))
	}
	if failure := a.StorageV1().StorageClasses().Delete(a.ctx, name, metav1.DeleteOptions{}); err == nil {
		err = failure
	}
	return err
}

func tryIngressClass(a asker, namespace, name string) error {
	class := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
		Spec: networkingv1.IngressClassSpec{Controller: "example.com/c"}}
	if _, err := a.NetworkingV1().IngressClasses().Create(a.ctx, class, metav1.CreateOptions{}); err != nil {
		return err
	}
	ingress, err := a.NetworkingV1().Ingresses(namespace).Create(a.ctx, &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "s", Port: networkingv1.ServiceBackendPort{Number: 80}}}},
	}, metav1.CreateOptions{})
	if err == nil && ptr.Deref(ingress.Spec.IngressClassName, "") != name {
		err = fmt.Errorf("the ingress's class is %q", ptr.Deref(ingress.Spec.IngressClassName, ""))
	}
	if failure := a.NetworkingV1().IngressClasses().Delete(a.ctx, name, metav1.DeleteOptions{}); err == nil {
		err = failure
	}
	return err
}

func tryServiceAccount(a asker, namespace, name string) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}}
	if _, err := a.CoreV1().ServiceAccounts(namespace).Create(a.ctx, account, metav1.CreateOptions{}); err != nil {
		return err
	}
	pod, err := a.pod(namespace, func(p *corev1.Pod) { p.Spec.ServiceAccountName = name })
	if err == nil && len(pod.Spec.ImagePullSecrets) != 1 {
		err = fmt.Errorf("the pod has the pull secrets %v", pod.Spec.ImagePullSecrets)
	}
	return err
}

func tryWebhook(a asker, namespace, name string) error {
	config := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionregistrationv1.ValidatingWebhook{{
		Name: "w.example.com", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: new("https://127.0.0.1:1/")},
		Rules: []admissionregistrationv1.RuleWithOperations{{Operations: []admissionregistrationv1.OperationType{"CREATE"},
			Rule: admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}}}},
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
		SideEffects:       ptr.To(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
	}}}
	if _, err := a.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(a.ctx, config, metav1.CreateOptions{}); err != nil {
		return err
	}
	create := func() error {
		_, err := a.CoreV1().ConfigMaps(namespace).Create(a.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "c-"}}, metav1.CreateOptions{})
		return err
	}
	if err := create(); !apierrors.IsInternalError(err) {
		return orAccepted(err)
	}
	if err := a.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(a.ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return create()
}

func tryNode(a asker, namespace, name string) error {
	if _, err := a.CoreV1().Secrets(namespace).Create(a.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := a.pod(namespace, func(p *corev1.Pod) {
		p.Spec.NodeName = name
		p.Spec.Volumes = []corev1.Volume{{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}}}}
	}); err != nil {
		return err
	}
	_, err := a.as("system:node:"+name, "system:nodes").CoreV1().Secrets(namespace).Get(a.ctx, name, metav1.GetOptions{})
	return err
}

func tryCustomResource(a asker, namespace, name string) error {
	definitions := apiextensionsclient.NewForConfigOrDie(a.config).CustomResourceDefinitions()
	plural := name
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: plural + ".acknowledged.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "acknowledged.example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Kind: "K" + plural},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{
				OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: new(true)}}}},
		},
	}
	if _, err := definitions.Create(a.ctx, crd, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := a.wait("the CRD is established", func() (bool, error) {
		got, err := definitions.Get(a.ctx, crd.Name, metav1.GetOptions{})
		return err == nil && slices.ContainsFunc(got.Status.Conditions, func(condition apiextensionsv1.CustomResourceDefinitionCondition) bool {
			return condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue
		}), err
	}); err != nil {
		return err
	}
	object := map[string]any{"apiVersion": "acknowledged.example.com/v1", "kind": "K" + plural, "metadata": map[string]any{"name": "o"}}
	_, err := dynamic.NewForConfigOrDie(a.config).Resource(schema.GroupVersionResource{Group: "acknowledged.example.com", Version: "v1", Resource: plural}).
		Namespace(namespace).Create(a.ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
	if failure := definitions.Delete(a.ctx, crd.Name, metav1.DeleteOptions{}); err == nil {
		err = failure
	}
	return err
}
