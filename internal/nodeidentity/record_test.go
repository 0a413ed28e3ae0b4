// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package nodeidentity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubembed/kubembed/internal/nodeidentity"
)

var begin = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func key(hash, by string, since time.Duration) nodeidentity.Key {
	return nodeidentity.Key{SHA256: hash, By: by, Since: metav1.NewTime(begin.Add(since)), NotAfter: metav1.NewTime(begin.Add(since + 30*24*time.Hour))}
}

func hashes(r *nodeidentity.Record) (all []string) {
	for _, k := range r.Keys {
		all = append(all, k.SHA256)
	}
	return all
}

func TestRecord(t *testing.T) {
	const day = 24 * time.Hour
	r := &nodeidentity.Record{Node: "n1"}
	r.Reserve(key("a", "system:bootstrap:abcdef", 0))
	if !slices.Equal(r.Unregistered(), []string{"abcdef"}) || r.Expired(begin.Add(29*day)) || !r.Expired(begin.Add(30*day)) {
		t.Errorf("%+v", r)
	}
	r.NodeUID = "1"
	// Renewals, until the certificate of the first key has expired.
	r.Add(key("b", "system:node:n1", 24*day))
	if got := hashes(r); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q", got)
	}
	r.Add(key("c", "system:node:n1", 48*day))
	if got := hashes(r); !slices.Equal(got, []string{"b", "c"}) || len(r.Unregistered()) > 0 {
		t.Errorf("%q, %+v", got, r)
	}
	secret, err := nodeidentity.New(r)
	if err != nil {
		t.Fatal(err)
	}
	if secret.Labels["join-token.kubembed.dev/abcdef"] != "" || len(secret.Labels) != 1 {
		t.Errorf("the label of the join token is missing: got %v", secret.Labels)
	}
	if again, err := nodeidentity.Load(secret); err != nil || fmt.Sprint(again) != fmt.Sprint(r) {
		t.Errorf("%+v, %v; want %+v", again, err, r)
	}

	r.Revoke(begin)
	if !r.Enforced() || r.Has("c") || !r.IsRevoked("b") || !r.IsRevoked("c") || r.Reserved || r.NodeUID != "" {
		t.Errorf("%+v", r)
	}
	if err := nodeidentity.Store(r, secret); err != nil || len(secret.Labels) > 0 {
		t.Errorf("%v, %v", secret.Labels, err)
	}
	r.Reserve(key("d", "system:bootstrap:ghijkl", 49*day))
	r.Release()
	if !r.Enforced() || !r.Has("d") || r.Reserved {
		t.Errorf("%+v", r)
	}
}

// TestRecordIsSmall: a node with many requests for certificates and many revocations does
// not fill etcd.
func TestRecordIsSmall(t *testing.T) {
	r := &nodeidentity.Record{Node: strings.Repeat("n", 253)}
	for i := range 10_000 {
		by := fmt.Sprintf("system:bootstrap:%06d", i)
		r.Confirm(key(fmt.Sprintf("%064d", i), by, 0))
		if i%100 == 0 {
			r.Revoke(begin)
		}
	}
	if last := fmt.Sprintf("%064d", 9999); !r.Has(last) {
		t.Error("the newest key is missing")
	}
	data, err := json.Marshal(r)
	if err != nil || len(data) > 32<<10 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

func TestSecretName(t *testing.T) {
	names := map[string]bool{}
	for _, node := range []string{"n1", strings.Repeat("n", 239), strings.Repeat("n", 240), strings.Repeat("n", 253)} {
		name := nodeidentity.SecretName(node)
		if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
		names[name] = true
		// No two nodes have the same Secret.
		if suffix, ok := strings.CutPrefix(name, "node-identity."); ok && suffix != node {
			t.Error(name)
		}
	}
	if len(names) != 4 || !names["node-identity.n1"] {
		t.Errorf("%v", names)
	}
}

func TestLoad(t *testing.T) {
	good, err := nodeidentity.New(&nodeidentity.Record{Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	other := good.DeepCopy()
	other.Name = nodeidentity.SecretName("n2")
	opaque := good.DeepCopy()
	opaque.Type = "Opaque"
	broken := good.DeepCopy()
	broken.Data["record.json"] = []byte("{")
	if _, err := nodeidentity.Load(good); err != nil {
		t.Error(err)
	}
	if _, err := nodeidentity.Load(other); err == nil || !strings.Contains(err.Error(), `is the record of node "n1"`) {
		t.Error(err)
	}
	if _, err := nodeidentity.Load(opaque); err == nil || !strings.Contains(err.Error(), `is of type "Opaque"`) {
		t.Error(err)
	}
	if _, err := nodeidentity.Load(broken); err == nil {
		t.Error("Load accepts a broken record")
	}
}

func TestHashKey(t *testing.T) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a, err := nodeidentity.HashKey(&k.PublicKey)
	if err != nil || len(a) != 64 {
		t.Errorf("%q, %v", a, err)
	}
	if _, err := nodeidentity.HashKey("no key"); err == nil {
		t.Error("HashKey accepts nil")
	}
}
