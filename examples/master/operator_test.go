// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/oidctest"
	"github.com/kubembed/kubembed/internal/testwait"
)

// TestFilesOfAnOperator: users of an OIDC provider, defaults of PodSecurity and an audit
// policy take a file each, in kube-apiserver's formats.
func TestFilesOfAnOperator(t *testing.T) {
	issuer := oidctest.Start(t)
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca, err := json.Marshal(issuer.CA())
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "audit.log")
	m := start(t,
		"--authentication-config="+write("authentication.yaml", strings.NewReplacer("URL", issuer.URL(), "CA", string(ca)).Replace(`
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer: {url: URL, certificateAuthority: CA, audiences: [kubernetes]}
  claimMappings:
    username: {claim: email, prefix: ""}
    groups: {claim: groups, prefix: "oidc:"}
`)),
		"--admission-control-config-file="+write("admission.yaml", `
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline}
- name: EventRateLimit
  configuration:
    apiVersion: eventratelimit.admission.k8s.io/v1alpha1
    kind: Configuration
    limits: [{type: Server, qps: 1000, burst: 1000}]
`), "--enable-admission-plugins=EventRateLimit",
		"--audit-log-path="+log, "--audit-policy-file="+write("audit.yaml", `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Request, users: [jane@example.com]}
- {level: None}
`))
	admin, config := m.client(t, "admin.kubeconfig")
	_, err = admin.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "developers"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "oidc:developers"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	anonymous := rest.AnonymousClientConfig(config)
	anonymous.BearerToken = issuer.Token(map[string]any{"aud": "kubernetes", "email": "jane@example.com", "groups": []string{"developers"}})
	jane, err := kubernetes.NewForConfig(anonymous)
	if err != nil {
		t.Fatal(err)
	}
	// The master does not wait for issuers.
	testwait.UntilWithin(t, time.Minute, "jane is a developer", func(ctx context.Context) error {
		_, err := jane.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
		return err
	})
	yes := true
	_, err = jane.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "privileged"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "c", SecurityContext: &corev1.SecurityContext{Privileged: &yes}}}},
	}, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "PodSecurity") {
		t.Errorf("a privileged pod: %v", err)
	}
	testwait.UntilWithin(t, time.Minute, "the audit log has jane's pod", func(context.Context) error {
		events, err := os.ReadFile(log)
		if err == nil && !strings.Contains(string(events), `"name":"privileged"`) {
			err = errors.New("it is not there")
		}
		if strings.Contains(string(events), `"username":"admin"`) {
			t.Fatal("the log has requests that the policy leaves out")
		}
		return err
	})
}
