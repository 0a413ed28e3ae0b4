// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

func TestDumpOnFailure(t *testing.T) {
	t.Parallel()
	directory := filepath.Join(t.TempDir(), "not", "there")
	test := func(fail bool) func(controlplanetest.TB) {
		return func(t controlplanetest.TB) {
			cp := controlplanetest.New(t, controlplanetest.Config{DumpOnFailure: directory, Audit: true})
			client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
			createPod(t, client, "default")
			if _, err := client.CoreV1().Secrets("default").Create(context.Background(), &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: "secret", Annotations: map[string]string{
					corev1.LastAppliedConfigAnnotation: "hunter2", "other": "stays",
				}},
				Data: map[string][]byte{"password": []byte("hunter2")},
			}, metav1.CreateOptions{}); err != nil {
				t.Fatalf("%v", err)
			}
			if _, err := client.CoreV1().Events("default").Create(context.Background(), &corev1.Event{
				ObjectMeta: metav1.ObjectMeta{Name: "event"}, Type: "Warning", Reason: "TooBad", Message: "it went wrong",
				InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "p", Namespace: "default"},
			}, metav1.CreateOptions{}); err != nil {
				t.Fatalf("%v", err)
			}
			if fail {
				t.Fatalf("on purpose")
			}
		}
	}
	passes := recorder{name: "TestPasses"}
	passes.run(test(false))
	if _, err := os.Stat(directory); passes.failed || err == nil {
		t.Errorf("something was written for a test that passed: %v\n%s", err, passes.text())
	}

	for _, name := range []string{"TestFails_a_case", "TestFails_a_case-2"} { // two runs
		fails := recorder{name: "TestFails/a case"}
		fails.run(test(true))
		dir := filepath.Join(directory, name)
		if !strings.Contains(fails.text(), dir) {
			t.Fatalf("the test does not say where:\n%s", fails.text())
		}
		read := func(file string) string {
			t.Helper()
			data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(file)))
			if err != nil {
				t.Error(err)
			}
			return string(data)
		}
		for file, want := range map[string]string{
			"namespaces/default/pods.yaml":                                "image: registry.k8s.io/pause",
			"namespaces/kube-system/roles.rbac.authorization.k8s.io.yaml": "name: extension-apiserver-authentication-reader",
			"namespaces/default/secrets.yaml":                             "password: '(left out",
			"cluster/namespaces.yaml":                                     "name: kube-system",
			"cluster/clusterroles.rbac.authorization.k8s.io.yaml":         "name: cluster-admin",
			"events.txt": "TooBad",
			"audit.log":  `"verb":"create"`,
		} {
			if got := read(file); !strings.Contains(got, want) {
				t.Errorf("no %q in %s:\n%.1000s", want, file, got)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "missing.txt")); err == nil {
			t.Errorf("missing: %s", read("missing.txt"))
		}
		err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			for _, secret := range []string{"hunter2", "aHVudGVyMg=="} {
				if strings.Contains(string(data), secret) {
					t.Errorf("the content of a Secret is in %s", path)
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// A directory that cannot be created is reported, and the rest of the cleanup
// continues.
func TestDumpToNowhere(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var cp *controlplanetest.ControlPlane
	var r recorder
	r.run(func(t controlplanetest.TB) {
		cp = controlplanetest.New(t, controlplanetest.Config{DumpOnFailure: file})
		t.Errorf("on purpose")
	})
	if !strings.Contains(r.text(), "Config.DumpOnFailure") || !strings.Contains(r.text(), file) {
		t.Error(r.text())
	}
	<-cp.Done()
}

// TestDumpOfWhatDoesNotAnswer dumps a control plane with an API whose server does not
// run.
func TestDumpOfWhatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	r := recorder{name: "TestFails"}
	r.run(func(t controlplanetest.TB) {
		cp := controlplanetest.New(t, controlplanetest.Config{DumpOnFailure: directory})
		config := cp.ClientConfig()
		_, err := aggregator.NewForConfigOrDie(config).ApiregistrationV1().APIServices().Create(context.Background(), &apiregistrationv1.APIService{
			ObjectMeta: metav1.ObjectMeta{Name: "v1.nowhere.example.com"},
			Spec: apiregistrationv1.APIServiceSpec{
				Group: "nowhere.example.com", Version: "v1", GroupPriorityMinimum: 100, VersionPriority: 100,
				Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "nowhere"}, InsecureSkipTLSVerify: true,
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatalf("%v", err)
		}
		client := kubernetes.NewForConfigOrDie(config).Discovery()
		err = wait.PollUntilContextTimeout(context.Background(), 20*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
			_, err := discovery.ServerPreferredResources(client)
			return discovery.IsGroupDiscoveryFailedError(err), nil
		})
		if err != nil {
			t.Fatalf("the group is not in discovery: %v", err)
		}
		t.Fatalf("on purpose")
	})
	missing, err := os.ReadFile(filepath.Join(directory, "TestFails", "missing.txt"))
	if err != nil || !strings.Contains(string(missing), "nowhere.example.com") {
		t.Errorf("missing.txt: %s, %v\n%s", missing, err, r.text())
	}
	if _, err := os.Stat(filepath.Join(directory, "TestFails", "cluster", "namespaces.yaml")); err != nil {
		t.Errorf("the rest: %v", err)
	}
}
