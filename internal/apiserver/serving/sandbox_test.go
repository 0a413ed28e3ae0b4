// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"net/http/httptest"
	"testing"

	_ "k8s.io/kubernetes/pkg/apis/apps/install" // a built-in group
)

func TestWhoAnswers(t *testing.T) {
	for _, test := range []struct {
		path            string
		others, proxied bool
	}{
		{path: "/api/v1/namespaces/default/pods/web/proxy", others: true, proxied: true},
		{path: "/api/v1/namespaces/default/pods/https:web:443/proxy/a/b?c", others: true, proxied: true},
		{path: "/api/v1/namespaces/default/services/web:http/proxy/", others: true, proxied: true},
		{path: "/api/v1/nodes/n1:10250/proxy/logs/", others: true, proxied: true},
		{path: "/api/v1/nodes/n1/%70roxy/", others: true, proxied: true},
		{path: "/api/v1/proxy/namespaces/default/pods/web", others: true, proxied: true},
		{path: "/api/v1/namespaces/default/pods/web/log", others: true},
		{path: "/logs/kube-apiserver.log", others: true},
		{path: "/apis/metrics.example.com/v1/page", others: true},
		{path: "/apis/metrics.example.com", others: true},
		{path: "/api/v1/namespaces/proxy", others: true}, // harmless
		{path: "/api/v1/namespaces/default/pods/web"},
		{path: "/api/v1/namespaces/default/secrets"},
		{path: "/apis/apps/v1/deployments"},
		{path: "/apis"},
		{path: "/"},
	} {
		r := httptest.NewRequest("GET", test.path, nil)
		if got := OthersAnswer(r.URL.Path); got != test.others {
			t.Errorf("%s: others answer: %v", test.path, got)
		}
		if got := proxies(r); got != test.proxied {
			t.Errorf("%s: proxies: %v", test.path, got)
		}
	}
}
