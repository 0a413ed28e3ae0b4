// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/pki"
)

var updateSeeded = flag.Bool("update-seeded", false, "write testdata/seeded.json, by the programs in -assets, which should be kube-apiserver and etcd")

// seededKinds are the paths of all kinds with objects that kube-apiserver creates when
// it starts on an empty etcd.
var seededKinds = []string{
	"/api/v1/namespaces", "/api/v1/configmaps", "/api/v1/services", "/api/v1/endpoints", "/api/v1/serviceaccounts", "/api/v1/secrets", "/api/v1/events",
	"/apis/discovery.k8s.io/v1/endpointslices",
	"/apis/rbac.authorization.k8s.io/v1/clusterroles", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
	"/apis/rbac.authorization.k8s.io/v1/roles", "/apis/rbac.authorization.k8s.io/v1/rolebindings",
	"/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
	"/apis/networking.k8s.io/v1/servicecidrs", "/apis/networking.k8s.io/v1/ipaddresses",
	"/apis/apiregistration.k8s.io/v1/apiservices", "/apis/scheduling.k8s.io/v1/priorityclasses",
	"/apis/coordination.k8s.io/v1/leases",
}

// TestSeededMetadata compares the metadata of all objects after a start with
// kube-apiserver's, in testdata/seeded.json. This command writes that file:
//
//	go test ./internal/e2e/envtest -run=SeededMetadata \
//		-args -update-seeded -assets=/path/to/directory
//
// The directory has kube-apiserver and etcd, and the machine needs a default route.
func TestSeededMetadata(t *testing.T) {
	golden := filepath.Join("testdata", "seeded.json")
	if *updateSeeded {
		ours := built.dir
		built.dir = *assetsDir
		defer func() { built.dir = ours }()
	}
	var flags []string
	if *updateSeeded {
		flags = frontProxy(t)
	}
	c := startCluster(t, flags...)
	admin := c.client(t, "admin", "system:masters")
	if *updateSeeded {
		testwait.UntilWithin(t, waitTimeout, "the endpoints of kubernetes", func(ctx context.Context) error {
			list, err := admin.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{})
			if err == nil && len(list.Items) == 0 {
				err = errors.New("there is no EndpointSlice")
			}
			return err
		})
		data, err := json.MarshalIndent(seeded(t, admin), "", " ")
		if err == nil {
			err = os.WriteFile(golden, append(data, '\n'), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	data, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	if _, err := utilnet.ChooseHostInterface(); err != nil { // kube-apiserver does not start without one
		delete(want, "/api/v1/endpoints/default/kubernetes")
		delete(want, "/apis/discovery.k8s.io/v1/endpointslices/default/kubernetes")
	}
	// Controllers write some of them within a second after the start.
	var difference string
	err = wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) {
		difference = differences(want, seeded(t, admin))
		return difference == "", nil
	})
	if err != nil {
		t.Fatalf("metadata of seeded objects (kube-apiserver's and ours):\n%s", difference)
	}
}

// frontProxy returns the flags that make kube-apiserver trust a front proxy, as our
// programs always do. The ConfigMap extension-apiserver-authentication shows it.
func frontProxy(t *testing.T) []string {
	t.Helper()
	identities, err := pki.Open(pki.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "front-proxy-ca.crt")
	if err := os.WriteFile(ca, identities.CABundle(), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{
		"--requestheader-client-ca-file=" + ca, "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-uid-headers=X-Remote-Uid", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
	}
}

// seeded returns the metadata of all objects by path and name, without fields that
// differ between starts, and without objects of this project.
func seeded(t *testing.T, admin *kubernetes.Clientset) map[string]any {
	t.Helper()
	all := map[string]any{}
	for _, path := range seededKinds {
		data, err := admin.Discovery().RESTClient().Get().AbsPath(path).SetHeader("Accept", "application/json").DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var list unstructured.UnstructuredList
		if err := list.UnmarshalJSON(data); err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			item := &list.Items[i]
			if strings.HasPrefix(item.GetName(), "kubembed:") {
				continue
			}
			name := item.GetName()
			metadata, _ := item.Object["metadata"].(map[string]any)
			if strings.HasPrefix(name, "apiserver-") {
				name = "apiserver-ID"
			}
			for _, key := range []string{"name", "uid", "resourceVersion", "creationTimestamp"} {
				delete(metadata, key)
			}
			hide(metadata, "labels", "kubernetes.io/hostname")
			hide(metadata, "annotations", "kubernetes.io/peer-advertise-address")
			fields, _ := metadata["managedFields"].([]any)
			for _, entry := range fields {
				if entry, ok := entry.(map[string]any); ok {
					delete(entry, "time")
				}
			}
			all[strings.TrimSuffix(path+"/"+item.GetNamespace(), "/")+"/"+name] = metadata
		}
	}
	// In the form that is read from a file.
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	all = map[string]any{}
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// hide replaces the value of a label or annotation that depends on the machine.
func hide(metadata map[string]any, kind, key string) {
	if values, ok := metadata[kind].(map[string]any); ok && values[key] != nil {
		values[key] = "HIDDEN"
	}
}

// differences lists the objects with different metadata, with both versions.
func differences(want, got map[string]any) string {
	var all strings.Builder
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if !reflect.DeepEqual(want[key], got[key]) {
			fmt.Fprintf(&all, "%s:\n\t%v\n\t%v\n", key, want[key], got[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if want[key] == nil {
			fmt.Fprintf(&all, "%s: not there in kube-apiserver\n", key)
		}
	}
	return all.String()
}
