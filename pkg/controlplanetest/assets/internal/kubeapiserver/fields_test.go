// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/client-go/util/cert"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

// files are files that flags name.
type files struct{ ca, cert, key, kubeconfig, policy, abac, tokens, admission, authn, authz string }

func newFiles(t *testing.T) files {
	t.Helper()
	certificate, key, err := cert.GenerateSelfSignedCertKey("example.com", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	identities, err := pki.Open(pki.Config{})
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := "apiVersion: v1\nkind: Config\ncurrent-context: one\nclusters:\n- name: one\n  cluster: {server: 'https://127.0.0.1:1'}\n" +
		"users:\n- name: one\ncontexts:\n- name: one\n  context: {cluster: one, user: one}\n"
	return files{
		ca:         file(t, "ca.crt", string(identities.FrontProxyCABundle())),
		cert:       file(t, "tls.crt", string(certificate)),
		key:        file(t, "tls.key", string(key)),
		kubeconfig: file(t, "kubeconfig", kubeconfig),
		policy:     file(t, "policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n"),
		abac:       file(t, "abac.jsonl", `{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"jane","resource":"pods","namespace":"*"}}`),
		tokens:     file(t, "tokens.csv", "secret,jane,1\n"),
		admission:  file(t, "admission.yaml", "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins: []\n"),
		authn:      file(t, "authn.yaml", "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"),
		authz:      file(t, "authz.yaml", "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n- {type: RBAC, name: rbac}\n"),
	}
}

// Each flag sets its field.
func TestFlagsSetFields(t *testing.T) {
	f := newFiles(t)
	anonymous := file(t, "anonymous.yaml", "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {enabled: false}\n")
	certificates := t.TempDir() // so that there is one
	audited := " --audit-policy-file=" + f.policy + " --audit-log-path=/nowhere/audit.log "
	webhook := audited + "--audit-webhook-config-file=" + f.kubeconfig + " "
	proxy := "--requestheader-client-ca-file=" + f.ca + " "
	oidc := "--oidc-issuer-url=https://issuer.example.com --oidc-client-id=kube "
	review := "--authentication-token-webhook-config-file=" + f.kubeconfig + " "
	access := "--authorization-mode=Node,Webhook --authorization-webhook-config-file=" + f.kubeconfig + " "
	for _, test := range []struct {
		flags, field string
		want         any
	}{
		{"--advertise-address=192.0.2.9", "AdvertiseAddress", "192.0.2.9"},
		{"--etcd-prefix=elsewhere", "Prefix", "/elsewhere"},
		{"--etcd-compaction-interval=7m", "Limits.CompactionInterval", "7m0s"},
		{"--etcd-compaction-interval=0", "Limits.DisableCompaction", true},
		{"--delete-collection-workers=3", "Limits.DeleteCollectionWorkers", 3},
		{"--watch-cache=false", "Limits.DisableWatchCache", true},
		{"--enable-priority-and-fairness=false", "Limits.DisablePriorityAndFairness", true},
		{"--watch-cache-sizes=pods#0,deployments.apps#9", "Limits.WatchCacheSizes", "map[deployments.apps:9 pods:0]"},
		{"--min-request-timeout=60", "Limits.MinRequestTimeout", "1m0s"},
		{"--event-ttl=3m", "EventTTL", "3m0s"},
		{"--admission-control-config-file=" + f.admission, "Admission.ConfigurationFile", f.admission},

		{"--service-cluster-ip-range=10.1.0.0/16,fd00::/112", "Network.SecondaryServiceCIDR", "fd00::/112"},
		{"--service-node-port-range=31000-31010", "Network.ServiceNodePortRange", "31000-31010"},
		{"--external-hostname=api.example.com", "Network.ExternalHost", "api.example.com"},
		{"--endpoint-reconciler-type=none", "Network.DisableEndpoints", true},

		{"--tls-cert-file=" + f.cert + " --tls-private-key-file=" + f.key, "Serving.CertFile", f.cert},
		{"--tls-sni-cert-key=" + f.cert + "," + f.key + ":a.example.com", "Serving.SNICertificates", fmt.Sprint([]apiserver.SNICertificate{{CertFile: f.cert, KeyFile: f.key, Names: []string{"a.example.com"}}})},
		{"--tls-min-version=VersionTLS13", "Serving.MinTLSVersion", "VersionTLS13"},
		{"--tls-cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "Serving.CipherSuites", "[TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]"},
		{"--tls-curve-preferences=29", "Serving.CurvePreferences", "[X25519]"},
		{"--disable-http2-serving", "Serving.DisableHTTP2", true},
		{"--http2-max-streams-per-connection=7", "Serving.HTTP2MaxStreamsPerConnection", 7},
		{"--goaway-chance=0.01", "Serving.GoawayChance", 0.01},
		{"--strict-transport-security-directives=max-age=7,preload", "Serving.HSTSDirectives", "[max-age=7 preload]"},
		{"--cors-allowed-origins=https://a.example.com", "Serving.CORSAllowedOrigins", "[https://a.example.com]"},

		{"--authorization-mode=RBAC", "Authentication.Anonymous.Enabled", true},
		{"--authorization-mode=RBAC --anonymous-auth=false", "Authentication.Anonymous.Enabled", false},
		{"--authorization-mode=AlwaysAllow", "Authentication.Anonymous.Enabled", false},
		{"--api-audiences=one,two", "Authentication.Audiences", "[one two]"},
		{"--authentication-config=" + f.authn, "Authentication.ConfigurationFile", f.authn},
		{"--authorization-mode=RBAC --authentication-config=" + f.authn, "Authentication.Anonymous.Enabled", true},
		{"--authentication-config=" + anonymous, "Authentication.Anonymous", "<nil>"}, // the file has it
		{review + "--authentication-token-webhook-cache-ttl=3s", "Authentication.Webhook.CacheTTL", "3s"},
		{review, "Authentication.Webhook.KubeconfigFile", f.kubeconfig},
		{review, "Authentication.Webhook.Version", "v1beta1"},
		{proxy + "--requestheader-allowed-names=one,two", "Authentication.RequestHeader.AllowedNames", "[one two]"},
		{proxy + "--requestheader-username-headers=U", "Authentication.RequestHeader.UsernameHeaders", "[U]"},
		{proxy + "--requestheader-group-headers=G", "Authentication.RequestHeader.GroupHeaders", "[G]"},
		{proxy + "--requestheader-uid-headers=X-Remote-Uid,I", "Authentication.RequestHeader.UIDHeaders", "[X-Remote-Uid I]"},
		{proxy + "--requestheader-extra-headers-prefix=E-", "Authentication.RequestHeader.ExtraHeaderPrefixes", "[E-]"},
		{oidc, "Authentication.SigningAlgorithms", "[RS256]"},
		{oidc + "--oidc-signing-algs=ES256", "Authentication.SigningAlgorithms", "[ES256]"},

		{"--service-account-issuer=https://one --service-account-issuer=https://two", "ServiceAccounts.Issuers", "[https://one https://two]"},
		{"--service-account-jwks-uri=https://a.example.com/keys", "ServiceAccounts.JWKSURI", "https://a.example.com/keys"},
		{"--service-account-max-token-expiration=5h", "ServiceAccounts.MaxTokenExpiration", "5h0m0s"},
		{"--service-account-extend-token-expiration=false", "ServiceAccounts.NoExtendedExpiration", true},

		{"--authorization-mode=Node,RBAC", "Authorization.Modes", "[Node RBAC]"},
		{"--authorization-mode=ABAC --authorization-policy-file=" + f.abac, "Authorization.PolicyFile", f.abac},
		{"--authorization-config=" + f.authz, "Authorization.ConfigurationFile", f.authz},
		{access, "Authorization.Configuration.Authorizers.0.Type", "Node"},
		{access, "Authorization.Configuration.Authorizers.1.Webhook.AuthorizedTTL.Duration", "5m0s"},
		{access, "Authorization.Configuration.Authorizers.1.Webhook.SubjectAccessReviewVersion", "v1beta1"},
		{access + "--authorization-webhook-version=v1", "Authorization.Configuration.Authorizers.1.Webhook.SubjectAccessReviewVersion", "v1"},
		{access + "--authorization-webhook-cache-unauthorized-ttl=0", "Authorization.Configuration.Authorizers.1.Webhook.CacheUnauthorizedRequests", false},

		{audited, "Audit.Log.Path", "/nowhere/audit.log"},
		{audited, "Audit.Log.Delivery.Mode", "blocking"},
		{audited + "--audit-log-format=legacy", "Audit.Log.Format", "legacy"},
		{audited + "--audit-log-maxsize=3 --audit-log-compress", "Audit.Log.Compress", true},
		{audited + "--audit-log-maxage=4", "Audit.Log.MaxAgeDays", 4},
		{audited + "--audit-log-mode=batch --audit-log-batch-buffer-size=5", "Audit.Log.Delivery.BufferSize", 5},
		{audited + "--audit-log-mode=batch --audit-log-batch-throttle-enable --audit-log-batch-throttle-qps=6 --audit-log-batch-throttle-burst=1", "Audit.Log.Delivery.ThrottleQPS", float32(6)},
		{audited + "--audit-log-truncate-enabled --audit-log-truncate-max-event-size=2000", "Audit.Log.Delivery.MaxEventBytes", int64(2000)},
		{webhook, "Audit.Webhook.KubeconfigFile", f.kubeconfig},
		{webhook + "--audit-webhook-initial-backoff=9s", "Audit.Webhook.InitialBackoff", "9s"},
		{webhook + "--audit-webhook-batch-max-size=8", "Audit.Webhook.Delivery.MaxBatchSize", 8},
		{webhook + "--audit-webhook-batch-throttle-enable=false", "Audit.Webhook.Unthrottled", true},
	} {
		_, c, err := configure(t, append(strings.Fields(test.flags), "--cert-dir="+certificates)...)
		if err != nil {
			t.Errorf("%s: %v", test.flags, err)
			continue
		}
		got := fieldOf(reflect.ValueOf(c), test.field)
		if _, isText := test.want.(string); isText {
			got = fmt.Sprint(got)
		}
		if got != test.want {
			t.Errorf("%s: %s is %v, want %v", test.flags, test.field, got, test.want)
		}
	}
}

// fieldOf returns the value of a path of fields and indices.
func fieldOf(v reflect.Value, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		v = reflect.Indirect(v)
		if v.Kind() == reflect.Slice {
			v = v.Index(int(name[0] - '0'))
		} else {
			v = v.FieldByName(name)
		}
	}
	if v = reflect.Indirect(v); !v.IsValid() {
		return nil
	}
	return v.Interface()
}

// A file of egress selectors makes dialers. The program itself connects to etcd.
func TestFlagEgressSelectorConfigFile(t *testing.T) {
	selection := func(name string) string {
		return file(t, "egress.yaml", "apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\negressSelections:\n"+
			"- name: "+name+"\n  connection: {proxyProtocol: HTTPConnect, transport: {uds: {udsName: /nowhere/proxy.sock}}}\n")
	}
	c := config(t, "--egress-selector-config-file="+selection("cluster"))
	if c.Dialers.Nodes == nil || c.Dialers.AggregatedServers == nil || c.Dialers.ControlPlane != nil {
		t.Errorf("%+v", c.Dialers)
	}
	if _, err := c.Dialers.Nodes(t.Context(), "tcp", "192.0.2.1:1"); err == nil || !strings.Contains(err.Error(), "/nowhere/proxy.sock") {
		t.Errorf("the dialer does not use the proxy: %v", err)
	}
	if _, _, err := configure(t, "--egress-selector-config-file="+selection("etcd")); err == nil || !strings.Contains(err.Error(), "a proxy to etcd is not supported") {
		t.Errorf("got %v", err)
	}
}

// A file of encryption providers makes transformers, with and without reload.
func TestFlagEncryptionProviderConfig(t *testing.T) {
	providers := file(t, "encryption.yaml", "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n"+
		"  - aescbc: {keys: [{name: one, secret: "+base64.StdEncoding.EncodeToString(make([]byte, 32))+"}]}\n  - identity: {}\n")
	for _, reload := range []string{"false", "true"} {
		completed, c, err := configure(t, "--encryption-provider-config="+providers, "--encryption-provider-config-automatic-reload="+reload)
		if err != nil {
			t.Fatal(err)
		}
		if err := completed.encryption(t.Context(), &c); err != nil {
			t.Fatal(err)
		}
		secrets := c.Transformers.TransformerForResource(schema.GroupResource{Resource: "secrets"})
		stored, err := secrets.TransformToStorage(t.Context(), []byte("text"), value.DefaultContext("a"))
		if err != nil || !strings.HasPrefix(string(stored), "k8s:enc:aescbc:v1:one:") {
			t.Errorf("reload %s: stored as %q, %v", reload, stored, err)
		}
	}
	completed, c, err := configure(t, "--encryption-provider-config=/nowhere/encryption.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := completed.encryption(t.Context(), &c); err == nil || !strings.Contains(err.Error(), "--encryption-provider-config=/nowhere/encryption.yaml: ") {
		t.Errorf("got %v", err)
	}
}

// The flags of OIDC make the same issuer as in kube-apiserver.
func TestFlagsOfOIDC(t *testing.T) {
	ca := newFiles(t).cert
	c := config(t, "--oidc-issuer-url=https://issuer.example.com", "--oidc-client-id=kube", "--oidc-ca-file="+ca,
		"--oidc-username-claim=name", "--oidc-username-prefix=u:", "--oidc-groups-claim=groups", "--oidc-groups-prefix=g:",
		"--oidc-required-claim=team=blue")
	jwt := c.Authentication.Configuration.JWT[0]
	if jwt.Issuer.URL != "https://issuer.example.com" || jwt.Issuer.Audiences[0] != "kube" || jwt.Issuer.CertificateAuthority == "" {
		t.Errorf("issuer %+v", jwt.Issuer)
	}
	if m := jwt.ClaimMappings; m.Username.Claim != "name" || *m.Username.Prefix != "u:" || m.Groups.Claim != "groups" || *m.Groups.Prefix != "g:" {
		t.Errorf("claims %+v", m)
	}
	if rules := jwt.ClaimValidationRules; len(rules) != 1 || rules[0].Claim != "team" || rules[0].RequiredValue != "blue" {
		t.Errorf("rules %+v", rules)
	}
}

// Files that suites have in their repositories are readable for all.
func TestFlagTokenAuthFile(t *testing.T) {
	tokens := newFiles(t).tokens
	if err := os.Chmod(tokens, 0o644); err != nil {
		t.Fatal(err)
	}
	copied := config(t, "--token-auth-file="+tokens).Authentication.TokenFile
	info, err := os.Stat(copied)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// Some flags are in the identities: client CAs without limits, and keys.
func TestFlagsOfIdentities(t *testing.T) {
	clients, err := pki.Open(pki.Config{})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := clients.IssueClient("signer", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	completed, _, err := configure(t, "--client-ca-file="+file(t, "ca.crt", string(clients.CABundle())),
		"--service-account-signing-key-file="+file(t, "sa.key", string(pair.Key)), "--service-account-key-file="+file(t, "sa.crt", string(pair.Cert)))
	if err != nil {
		t.Fatal(err)
	}
	identities, err := completed.identities(filepath.Join(t.TempDir(), "pki"))
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(clients.CABundle()); !strings.Contains(string(identities.ClientCAs()), string(pem.EncodeToMemory(block))) {
		t.Error("the CA of --client-ca-file is not trusted")
	}
	if len(identities.ServiceAccountPublicKeys()) != 1 {
		t.Errorf("%d keys verify tokens", len(identities.ServiceAccountPublicKeys()))
	}
}
