// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const auditPolicy = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}`

// startAudit records kube-apiserver's requests to itself in the first four seconds and
// during a stop: the verb, and the resource or path, of each request of system:apiserver
// in its audit log. The server has the authorization modes Node and RBAC,
// NodeRestriction, and an address that is not loopback.
func startAudit(assets, dir string) error {
	work, err := os.MkdirTemp("", "golden-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	policy, log := filepath.Join(work, "policy"), filepath.Join(work, "log")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	env := &envtest.Environment{BinaryAssetsDirectory: assets}
	env.ControlPlane.GetAPIServer().Configure().
		Set("authorization-mode", "Node,RBAC").Set("enable-admission-plugins", "NodeRestriction").Disable("disable-admission-plugins").
		Set("advertise-address", "192.0.2.1").Set("endpoint-reconciler-type", "lease").
		Set("audit-policy-file", policy).Set("audit-log-path", log)
	if _, err := env.Start(); err != nil {
		return err
	}
	time.Sleep(4 * time.Second)
	if err := env.Stop(); err != nil {
		return err
	}
	file, err := os.Open(log)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	var requests []string
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event auditv1.Event
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return err
		}
		if event.User.Username != user.APIServerUser {
			continue
		}
		request := event.Verb + " " + strings.SplitN(event.RequestURI, "?", 2)[0]
		if o := event.ObjectRef; o != nil && o.Resource != "" {
			request = event.Verb + " " + strings.Trim(o.APIGroup+"/"+o.Resource+"/"+o.Subresource, "/")
		}
		requests = append(requests, request)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return write(filepath.Join(dir, "start-audit"), requests)
}
