// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"os"
	"slices"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

func TestUsers(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.Shared(t)
	namespace := cp.Namespace(t)
	file := cp.KubeconfigFile(t, "jane", "developers")
	fromFile, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the file, with a key in it: %v %v", info.Mode(), err)
	}
	for name, test := range map[string]struct {
		config      *rest.Config
		user, group string
	}{
		"certificate":     {cp.UserConfig(t, "jane", "developers"), "jane", "developers"},
		"impersonated":    {cp.ImpersonatedConfig("jane", "developers"), "jane", "developers"},
		"file":            {fromFile, "jane", "developers"},
		"service account": {cp.ServiceAccountConfig(t, namespace, "robot"), "system:serviceaccount:" + namespace + ":robot", "system:serviceaccounts:" + namespace},
		"one that exists": {cp.ServiceAccountConfig(t, namespace, "default"), "system:serviceaccount:" + namespace + ":default", "system:serviceaccounts"},
	} {
		client := kubernetes.NewForConfigOrDie(test.config)
		review, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		info := review.Status.UserInfo
		if info.Username != test.user || !slices.Contains(info.Groups, test.group) || !slices.Contains(info.Groups, "system:authenticated") {
			t.Errorf("%s: %+v", name, info)
		}
		if _, err := client.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("%s may list Secrets: %v", name, err)
		}
	}
}

func TestServiceAccountOfNoNamespace(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.Shared(t)
	var r recorder
	r.run(func(t controlplanetest.TB) { cp.ServiceAccountConfig(t, "nowhere", "robot") })
	if want := `controlplanetest: ServiceAccountConfig for nowhere/robot: create the service account: namespaces "nowhere" not found`; !r.failed || r.text() != want {
		t.Errorf("failed %v: %s, want: %s", r.failed, r.text(), want)
	}
}
