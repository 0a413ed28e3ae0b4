// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/internal/olddata"
)

// TestPlugPulledInUpgrade pulls the plug during the first starts on a DataDir of an
// earlier release, each time later: nothing of that release is lost.
func TestPlugPulledInUpgrade(t *testing.T) {
	releases, err := olddata.Releases()
	if err != nil || len(releases) == 0 {
		t.Fatal(releases, err)
	}
	d := newDisk(t)
	record, err := olddata.Unpack(d.dir, releases[len(releases)-1], olddata.Stopped)
	if err != nil {
		t.Fatal(err)
	}
	unix.Sync()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	spawn := func() *process {
		return startProcess(t, "--data-dir="+filepath.Join(d.dir, olddata.DataDir), "--bind-address=127.0.0.1:0", "--kubeconfig="+kubeconfig)
	}
	n := *plugs
	if testing.Short() {
		n = 2
	}
	const step = 100 * time.Millisecond
	for i := range n {
		p := spawn()
		select {
		case <-p.url:
		case <-time.After(time.Duration(i+1) * step):
		}
		if err := d.pullPlug(p); err != nil {
			t.Fatal(err)
		}
	}
	p := spawn()
	if _, err := p.ready(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, was := range record.Objects {
		o := &unstructured.Unstructured{Object: was.Object}
		if o.GetNamespace() != "olddata" {
			continue
		}
		resource := client.Resource(schema.GroupVersionResource{Group: was.Group, Version: was.Version, Resource: was.Resource}).Namespace("olddata")
		is, err := resource.Get(t.Context(), o.GetName(), metav1.GetOptions{})
		if err != nil {
			t.Errorf("%s %s: %v", was.Resource, o.GetName(), err)
			continue
		}
		if is.GetUID() != o.GetUID() || is.GetResourceVersion() != o.GetResourceVersion() {
			t.Errorf("%s %s is at %s, was at %s", was.Resource, o.GetName(), is.GetResourceVersion(), o.GetResourceVersion())
		}
		compared++
	}
	t.Logf("the plug was pulled %d times; %d objects compared", n, compared)
	if compared < 20 {
		t.Errorf("%d objects compared", compared)
	}
	if err := p.kill(); err != nil {
		t.Error(err)
	}
}
