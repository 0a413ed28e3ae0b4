// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package effects

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ready waits until a node is ready and the controllers work.
func ready(t *trial) {
	node := t.watch(nodes, "")
	node.until(func(o *unstructured.Unstructured) bool { return condition(o, "Ready") })
	t.createNamespace(t.namespace)
	t.deploy("ready", 1)
	t.removed(deployments, "ready")
}

// createNamespace creates a namespace in which pods can run: with the service account and
// the certificate that they mount. It stays until the control plane ends.
func (t *trial) createNamespace(name string) {
	account, bundle := t.watchIn(name, serviceAccounts, "default"), t.watchIn(name, configMaps, "kube-root-ca.crt")
	t.begin()
	if t.err != nil {
		return
	}
	object, err := namespaces.object(name, "")
	if err == nil {
		_, err = t.of(namespaces, "").Create(t.ctx, object, metav1.CreateOptions{})
	}
	if err != nil {
		t.fail(fmt.Errorf("create namespace %s: %w", name, err))
	}
	account.exists()
	delay := t.delay
	bundle.exists()
	t.delay = delay
}

var accounts = []effect{{
	name: "namespace created → default service account",
	try:  func(t *trial) { t.createNamespace(t.namespace + "-" + t.name) },
}}

var namespaceEffects = []effect{
	{name: "empty namespace deleted → gone", try: namespaceGone(func(*trial) {})},
	{name: "namespace with 50 objects deleted → gone", try: namespaceGone(func(t *trial) {
		for i := range 50 {
			t.create(configMaps, fmt.Sprint("object-", i), "data: {key: value}")
		}
	})},
	{
		name:   "namespace with a custom resource deleted → gone",
		before: func(t *trial) { t.define("inside") },
		try:    namespaceGone(func(t *trial) { t.create(custom("inside"), "custom", "spec: {a: x}") }),
	},
}

// namespaceGone returns a trial that fills a namespace and deletes it.
func namespaceGone(fill func(*trial)) func(*trial) {
	return func(t *trial) {
		t.namespace += "-" + t.name
		// The namespace is younger than the pause, or older: it makes no difference.
		pause := t.pause
		t.pause = 0
		t.createNamespace(t.namespace)
		fill(t)
		t.pause = pause
		gone := t.watch(namespaces, t.namespace)
		t.begin()
		t.delete(namespaces, t.namespace, metav1.DeletePropagationBackground)
		gone.deleted()
	}
}
