// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/etcdtest"
	"github.com/kubembed/kubembed/internal/join"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

// A stack overflow cannot be recovered: before there was a limit, the first of these
// ended the process of the test.
func TestDeepBodies(t *testing.T) {
	p := sharedPlane(t)
	clients := map[string]*http.Client{"in-process": p.inProcess(t), "TLS": p.httpClient(t, must(p.pki.IssueClient("deep", []string{"system:masters"}, 0))(t))}
	crd := func(version, schema string) string {
		return pbBody(t, "apiextensions.k8s.io/"+version, "CustomResourceDefinition", pbCRD(t, "deeps", "deep.example.com", schema))
	}
	fields := nestedText(`{"f:a":`, "{}", "}", 100_000)
	managed := pbField(1, pbField(1, "x"), pbField(17, pbField(1, "a"), pbField(2, "Update"), pbField(3, "v1"), pbField(6, "FieldsV1"), pbField(7, pbField(1, fields))))
	configMap := func(name, data string) string {
		return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `"},"data":` + data + `}`
	}
	deep := nestedText(`{"a":`, "1", "}", 5000)
	for name, c := range map[string]struct{ method, path, body, contentType string }{
		"schema in not":              {"POST", crdsPath, crd("v1", pbNested(100_000, 28)), protobufType},
		"schema in properties":       {"POST", crdsPath, crd("v1", pbNested(100_000, 29, 2)), protobufType},
		"schema in items":            {"POST", crdsPath, crd("v1", pbNested(100_000, 24, 1)), protobufType},
		"schema of v1beta1":          {"POST", crdsPath, crd("v1beta1", pbNested(100_000, 28)), protobufType},
		"schema in an update":        {"PUT", crdsPath + "/deeps.deep.example.com", crd("v1", pbNested(100_000, 28)), protobufType},
		"CRD as another resource":    {"POST", podsPath, crd("v1", pbNested(100_000, 28)), protobufType},
		"managedFields in protobuf":  {"POST", configMapsPath, pbBody(t, "v1", "ConfigMap", managed), protobufType},
		"JSON":                       {"POST", configMapsPath, configMap("deep", deep), "Content-Type: application/json"},
		"JSON without content type":  {"POST", configMapsPath, configMap("deep", deep), "Content-Type: "},
		"JSON schema":                {"POST", crdsPath, jsonCRD(t, "deeps", "deep.example.com", nestedText(`{"type":"object","properties":{"a":`, `{"type":"string"}`, "}}", 4000)), "Content-Type: application/json"},
		"YAML":                       {"POST", configMapsPath, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: deep}\ndata:\n  a: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), yamlType},
		"YAML with a quote":          {"POST", configMapsPath, `{apiVersion: v1, kind: ConfigMap, metadata: {name: deep}, data: {x: a", y: ` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}}", yamlType},
		"apply":                      {"PATCH", configMapsPath + "/deep?fieldManager=a", configMap("deep", deep), applyType},
		"merge patch":                {"PATCH", configMapsPath + "/kube-root-ca.crt", `{"data":` + deep + `}`, mergePatchType},
		"strategic merge patch":      {"PATCH", configMapsPath + "/kube-root-ca.crt", `{"data":` + deep + `}`, "Content-Type: application/strategic-merge-patch+json"},
		"JSON patch":                 {"PATCH", configMapsPath + "/kube-root-ca.crt", `[{"op":"add","path":"/data","value":` + deep + `}]`, jsonPatchType},
		"JSON patch with a far path": {"PATCH", configMapsPath + "/kube-root-ca.crt", `[{"op":"copy","from":"/data","path":"` + strings.Repeat("/a", 600) + `"}]`, jsonPatchType},
		"JSON patch from afar":       {"PATCH", configMapsPath + "/kube-root-ca.crt", `[{"op":"copy","path":"/data/x","from":"` + strings.Repeat("/a", 600) + `"}]`, jsonPatchType},
		"delete options":             {"DELETE", configMapsPath + "/none", deep, "Content-Type: application/json"},
		"APIService":                 {"POST", "/apis/apiregistration.k8s.io/v1/apiservices", `{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","spec":` + deep + `}`, "Content-Type: application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			for by, client := range clients {
				a := p.call(t, client, c.method, c.path, c.body, c.contentType)
				if a.status != http.StatusBadRequest || !strings.Contains(a.body, "deep") && !strings.Contains(a.body, "depth") && !strings.Contains(a.body, "elements") {
					t.Errorf("%s: got HTTP %d, want 400 with the depth: %.300s", by, a.status, a.body)
				}
			}
		})
	}
}

// Upstream merges long lists in quadratic time.
func TestLongListsInPatches(t *testing.T) {
	p := sharedPlane(t)
	patch := func(n int) answer {
		list := strings.Repeat(`,{"uid":"a"}`, n)[1:]
		return p.call(t, p.inProcess(t), "PATCH", configMapsPath+"/none", `{"metadata":{"ownerReferences":[`+list+`]}}`, "Content-Type: application/strategic-merge-patch+json")
	}
	if a := patch(1001); a.status != http.StatusRequestEntityTooLarge || !strings.Contains(a.body, "1001 elements") {
		t.Errorf("got HTTP %d, want 413 with the number of elements: %.300s", a.status, a.body)
	}
	if a := patch(1000); a.status != http.StatusNotFound {
		t.Errorf("got HTTP %d, want 404: %.300s", a.status, a.body)
	}
}

// The header of an upgrade does not change how a body is decoded.
func TestBodiesWithUpgrade(t *testing.T) {
	p := sharedPlane(t)
	body := pbBody(t, "certificates.k8s.io/v1", "CertificateSigningRequest", strings.Repeat(pbField(3, pbField(1)), 20_000))
	client := p.httpClient(t, must(p.pki.IssueClient("upgrade", []string{"system:masters"}, 0))(t))
	transport := client.Transport.(*http.Transport)
	transport.ForceAttemptHTTP2, transport.TLSNextProto = false, map[string]func(string, *tls.Conn) http.RoundTripper{}
	a := p.call(t, client, "POST", csrsPath, body, protobufType, "Connection: Upgrade", "Upgrade: x")
	if a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("got HTTP %d, want 413: %.300s", a.status, a.body)
	}
}

// Upstream decodes a protobuf entry that ends before its value twice, at every level: 300
// bytes take forever.
func TestOverlappingEntries(t *testing.T) {
	p := sharedPlane(t)
	schema := ""
	for range 40 {
		value := string(protowire.AppendVarint([]byte{2<<3 | 2}, uint64(len(schema)))) + schema
		schema = string(protowire.AppendTag(nil, 29, protowire.BytesType)) + "\x02" + value
	}
	for name, body := range map[string]string{
		"schema": pbBody(t, "apiextensions.k8s.io/v1", "CustomResourceDefinition", pbCRD(t, "overlaps", "deep.example.com", schema)),
		"labels": pbBody(t, "v1", "ConfigMap", pbField(1, pbField(1, "x"), "\x5a\x02\x12\x08", "\x5a\x02\x12\x04", "\x5a\x02\x12\x00")),
	} {
		t.Run(name, func(t *testing.T) {
			if a := p.call(t, p.inProcess(t), "POST", crdsPath, body, protobufType); a.status != http.StatusBadRequest || !strings.Contains(a.body, "not valid protobuf") {
				t.Errorf("got HTTP %d, want 400: %.300s", a.status, a.body)
			}
		})
	}
}

// The deepest accepted schemas are served.
func TestDeepestSchema(t *testing.T) {
	p := sharedPlane(t)
	client := p.inProcess(t)
	schema := nestedText(`{"type":"object","properties":{"a":`, `{"type":"string"}`, "}}", 490)
	if a := p.call(t, client, "POST", crdsPath, jsonCRD(t, "deepests", "deepest.example.com", schema)); a.status != http.StatusCreated {
		t.Fatalf("got HTTP %d, want 201: %.300s", a.status, a.body)
	}
	defer p.call(t, client, "DELETE", crdsPath+"/deepests.deepest.example.com", "")
	object := `{"apiVersion":"deepest.example.com/v1","kind":"Deepdeepests","metadata":{"name":"x"},` + nestedText(`{"a":`, `"x"`, "}", 490)[1:]
	testwait.Until(t, "the deepest object", func(context.Context) error {
		if a := p.call(t, client, "POST", "/apis/deepest.example.com/v1/namespaces/default/deepests", object); a.status != http.StatusCreated {
			return fmt.Errorf("got HTTP %d, want 201: %.300s", a.status, a.body)
		}
		return nil
	})
	testwait.Until(t, "its OpenAPI document", func(context.Context) error {
		if a := p.call(t, client, "GET", "/openapi/v3/apis/deepest.example.com/v1", ""); a.status != http.StatusOK {
			return fmt.Errorf("got HTTP %d, want 200: %.300s", a.status, a.body)
		}
		return nil
	})
}

// Two bytes of protobuf and three of JSON become a struct.
func TestBodiesThatGrow(t *testing.T) {
	p := sharedPlane(t)
	client := p.inProcess(t)
	pod := func(element string, n int) string {
		return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"containers":[` + strings.TrimSuffix(strings.Repeat(element+",", n), ",") + `]}}`
	}
	pbPod := pbBody(t, "v1", "Pod", pbField(1, pbField(1, "x"))+pbField(2, strings.Repeat("\x12\x00", 200_000)))
	for name, c := range map[string]struct{ path, body, contentType string }{
		"empty containers":      {podsPath, pbPod, protobufType},
		"empty containers sent": {configMapsPath, pbPod, protobufType},
		"empty managedFields":   {configMapsPath, pbBody(t, "v1", "ConfigMap", pbField(1, pbField(1, "x"), strings.Repeat(string(protowire.AppendTag(nil, 17, protowire.BytesType))+"\x00", 200_000))), protobufType},
		"JSON objects":          {podsPath, pod("{}", 100_000), "Content-Type: application/json"},
		"JSON nulls":            {podsPath, pod("null", 100_000), "Content-Type: application/json"},
		"JSON numbers":          {podsPath, pod("1", 100_000), "Content-Type: application/json; charset=utf-8"},
		"YAML objects":          {podsPath, strings.ReplaceAll(pod("{}", 100_000), "{}", "{a: b}"), yamlType},
		"CSR":                   {csrsPath, pbBody(t, "certificates.k8s.io/v1", "CertificateSigningRequest", pbField(3, strings.Repeat("\x0a\x00", 20_000))), protobufType},
		"CSR status":            {csrsPath + "/x/status", strings.Repeat(" ", 140<<10) + "{}", "Content-Type: application/json"},
		"review":                {"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", strings.Repeat(" ", 70<<10) + "{}", "Content-Type: application/json"},
		"token review":          {"/apis/authentication.k8s.io/v1/tokenreviews", strings.Repeat(" ", 70<<10) + "{}", "Content-Type: application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			method := "POST"
			if strings.HasSuffix(c.path, "/status") {
				method = "PUT"
			}
			if a := p.call(t, client, method, c.path, c.body, c.contentType); a.status != http.StatusRequestEntityTooLarge {
				t.Errorf("got HTTP %d, want 413: %.300s", a.status, a.body)
			}
		})
	}
	// A body of the same size that does not grow when it is decoded is accepted.
	if a := p.call(t, client, "POST", configMapsPath, pbBody(t, "v1", "ConfigMap", pbField(1, pbField(1, "large"))+pbField(3, pbField(1, "x"), pbField(2, strings.Repeat("\x12\x00", 450_000)))), protobufType); a.status != http.StatusCreated {
		t.Errorf("a ConfigMap of 0.9 MB: got HTTP %d, want 201: %.300s", a.status, a.body)
	}
	p.call(t, client, "DELETE", configMapsPath+"/large", "")
}

// Upstream takes 18 s to join the errors of these objects.
func TestManyProblems(t *testing.T) {
	p := sharedPlane(t)
	body := pbBody(t, "v1", "Pod", pbField(1, pbField(1, "x"))+pbField(2, strings.Repeat("\x12\x00", 5_000)))
	client := p.inProcess(t)
	refused := func(what string, a answer) {
		if a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, "more problems") || len(a.body) > 200<<10 {
			t.Errorf("%s: got HTTP %d with %d bytes, want 422 with a limited number of errors: %.300s", what, a.status, len(a.body), a.body)
		}
	}
	refused("pod", p.call(t, client, "POST", podsPath, body, protobufType))
	// Subresources have separate stores.
	node := must(p.admin().CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "problems"}}, metav1.CreateOptions{}))(t)
	defer p.call(t, client, "DELETE", "/api/v1/nodes/problems", "")
	addresses := strings.TrimSuffix(strings.Repeat(`{"type":"Hostname","address":"a"},`, 5_000), ",")
	refused("status", p.call(t, client, "PUT", "/api/v1/nodes/problems/status",
		`{"apiVersion":"v1","kind":"Node","metadata":{"name":"problems","resourceVersion":"`+node.ResourceVersion+`"},"status":{"addresses":[`+addresses+`]}}`))
}

// certificateRequest returns a request with an RSA key of bits, and an invalid signature.
func certificateRequest(t testing.TB, bits int) string {
	t.Helper()
	raw := make([]byte, bits/8)
	_, _ = rand.Read(raw)
	raw[0] |= 0x80
	raw[len(raw)-1] |= 1
	key := must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(raw), E: 1<<31 - 1}))(t)
	name := must(asn1.Marshal(pkix.Name{CommonName: "system:node:x", Organization: []string{"system:nodes"}}.ToRDNSequence()))(t)
	info := must(asn1.Marshal(struct {
		Version    int
		Subject    asn1.RawValue
		PublicKey  asn1.RawValue
		Attributes []asn1.RawValue `asn1:"tag:0"`
	}{0, asn1.RawValue{FullBytes: name}, asn1.RawValue{FullBytes: key}, nil}))(t)
	raw[0] &= 0x7f
	signed := must(asn1.Marshal(struct {
		Info      asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: info}, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, Parameters: asn1.NullRawValue},
		asn1.BitString{Bytes: raw, BitLength: bits}}))(t)
	request := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: signed}))
	return `{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{"name":"rsa"},"spec":{"signerName":"kubernetes.io/kube-apiserver-client-kubelet","usages":["client auth"],"request":"` + request + `"}}`
}

// The signature of a large key takes seconds to verify, also when the client has gone.
func TestLargeKeys(t *testing.T) {
	p := sharedPlane(t)
	client := p.inProcess(t)
	for bits, want := range map[int]string{8192: "verification error", 8200: "8192", 32 << 10: "8192", 256 << 10: "limit is 32768"} {
		a := p.call(t, client, "POST", csrsPath, certificateRequest(t, bits))
		if a.status < 400 || !strings.Contains(a.body, want) {
			t.Errorf("%d bits: got HTTP %d, want an error with the reason: %.300s", bits, a.status, a.body)
		}
	}
	// A server-side apply also creates.
	if a := p.call(t, client, "PATCH", csrsPath+"/rsa?fieldManager=a", certificateRequest(t, 32<<10), applyType); a.status != http.StatusBadRequest || !strings.Contains(a.body, "8192") {
		t.Errorf("apply: got HTTP %d, want 400 with the limit: %.300s", a.status, a.body)
	}
}

// Clients with a join token cannot fill etcd: the rest of the quota is reserved for the
// administrator.
func TestStorageIsKeptForAdministrators(t *testing.T) {
	var inUse atomic.Int64
	p := startPlane(t, func(c *apiserver.Config) {
		c.StorageUsed = func() (int64, int64) { return inUse.Load(), 100 }
		c.EtcdOverrides = []apiserver.EtcdOverride{{Resources: []string{"events"}, Client: etcdtest.Start(t).Client(t)}}
	})
	bind := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "writers"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "writers"}, {Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: join.Group}, {Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "system:nodes"}},
	}
	must(p.admin().RbacV1().ClusterRoleBindings().Create(t.Context(), bind, metav1.CreateOptions{}))(t)
	user := func(name string, groups ...string) *http.Client {
		return p.httpClient(t, must(p.pki.IssueClient(name, groups, 0))(t))
	}
	bootstrap, node := user("system:bootstrap:abcdef", "system:bootstrappers", join.Group), user("system:node:a", "system:nodes")
	writer, admin := user("writer", "writers"), user("admin", "system:masters")
	n := 0
	create := func(client *http.Client) answer {
		n++
		return p.call(t, client, "POST", configMapsPath, fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm-%d"}}`, n))
	}
	want := func(used int64, what string, client *http.Client, status int) {
		t.Helper()
		inUse.Store(used)
		if a := create(client); a.status != status {
			t.Errorf("%s with %d %% in use: got HTTP %d: %.300s", what, used, a.status, a.body)
		}
	}
	want(69, "a join token", bootstrap, http.StatusCreated)
	want(70, "a join token", bootstrap, http.StatusInsufficientStorage)
	want(79, "a node", node, http.StatusCreated)
	want(80, "a node", node, http.StatusInsufficientStorage)
	want(89, "a user", writer, http.StatusCreated)
	want(90, "a user", writer, http.StatusInsufficientStorage)
	want(99, "an administrator", admin, http.StatusCreated)
	// Events are in another etcd.
	for who, client := range map[string]*http.Client{"user": writer, "node": node} {
		event := fmt.Sprintf(`{"apiVersion":"v1","kind":"Event","metadata":{"name":%q},"involvedObject":{"namespace":"default"}}`, who)
		if a := p.call(t, client, "POST", "/api/v1/namespaces/default/events", event); a.status != http.StatusCreated {
			t.Errorf("an Event of a %s: got HTTP %d, want 201: %.300s", who, a.status, a.body)
		}
	}
	if a := p.call(t, writer, "DELETE", configMapsPath+fmt.Sprintf("/cm-%d", n), ""); a.status != http.StatusOK {
		t.Errorf("deletion by a user: got HTTP %d, want 200: %.300s", a.status, a.body)
	}
	lease := `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"a"}}`
	if a := p.call(t, node, "POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", lease); a.status != http.StatusCreated {
		t.Errorf("a node's lease: got HTTP %d, want 201: %.300s", a.status, a.body)
	}

	inUse.Store(0)
	status, sent := 0, 0
	padding := strings.Repeat("x", 30<<10)
	for ; status != http.StatusTooManyRequests && sent < 1000; sent++ {
		status = p.call(t, bootstrap, "POST", csrsPath, `{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{"generateName":"flood-","annotations":{"a":"`+padding+`"}}}`).status
	}
	if status != http.StatusTooManyRequests || sent > 400 || sent < 100 {
		t.Errorf("after %d requests of 30 kB by a join token: got HTTP %d, want 429 after 100 to 400", sent, status)
	}
	other := user("system:bootstrap:ghijkl", "system:bootstrappers", join.Group)
	want(0, "another join token", other, http.StatusCreated)
	if a := p.call(t, other, "POST", configMapsPath, strings.Repeat(" ", 33<<10)+"{}"); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("40 kB by a join token: got HTTP %d, want 413: %.300s", a.status, a.body)
	}
	want(0, "an administrator", admin, http.StatusCreated)

	// Each small patch of a large object stores the whole object.
	if a := p.call(t, admin, "POST", configMapsPath, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"large"},"data":{"a":"`+strings.Repeat("x", 900<<10)+`"}}`); a.status != http.StatusCreated {
		t.Fatalf("got HTTP %d, want 201: %.300s", a.status, a.body)
	}
	status, sent = 0, 0
	for ; status != http.StatusTooManyRequests && sent < 100; sent++ {
		status = p.call(t, node, "PATCH", configMapsPath+"/large", fmt.Sprintf(`{"data":{"b":"%d"}}`, sent), mergePatchType).status
	}
	if status != http.StatusTooManyRequests || sent < 40 {
		t.Errorf("after %d patches of an object of 900 kB by a node: got HTTP %d, want 429 after 40 or more", sent, status)
	}
	if a := p.call(t, node, "PATCH", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/a", `{"spec":{"holderIdentity":"a"}}`, mergePatchType); a.status != http.StatusOK {
		t.Errorf("lease renewal of a node without budget: got HTTP %d, want 200: %.300s", a.status, a.body)
	}
}

// The server rejects clients without permissions with the body unread.
func TestBodiesOfStrangersAreNotRead(t *testing.T) {
	p := sharedPlane(t)
	body, end := io.Pipe()
	defer end.Close()
	request := must(http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL()+configMapsPath, body))(t)
	request.Header.Set("Content-Type", "application/json")
	response := must(p.httpClient(t, pki.KeyPair{}).Do(request))(t)
	defer response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("got %s, want 401", response.Status)
	}
}
