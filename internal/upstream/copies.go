// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

// copyEntries are for fields that upstream does not export, and for rules of upstream
// that our code repeats.
var copyEntries = []Entry{
	// Fields of etcd's server, by reflection.
	{
		Ours:    "internal/etcd/peers/noproxy.go:Transports",
		Package: "go.etcd.io/etcd/server/v3/etcdserver", Decl: "EtcdServer.r", Has: []string{"raftNode"},
		Look: "peers.Transports reads it: without it a member behind HTTPS_PROXY does not start.",
	},
	{
		Ours:    "internal/etcd/peers/noproxy.go:Transports",
		Package: "go.etcd.io/etcd/server/v3/etcdserver", Decl: "raftNodeConfig.transport", Has: []string{"rafthttp.Transporter"},
		Look: "peers.Transports reads it, through the raftNodeConfig that is embedded in raftNode: without it a member behind HTTPS_PROXY does not start.",
	},
	{
		Ours:    "internal/etcd/peers/noproxy.go:Transports",
		Package: "go.etcd.io/etcd/server/v3/etcdserver", Decl: "EtcdServer.peerRt", Has: []string{"http.RoundTripper"},
		Look: "peers.Transports reads it: without it a member behind HTTPS_PROXY does not start.",
	},
	{
		Ours:    "internal/etcd/peers/noproxy.go:Transports",
		Package: "go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp", Decl: "Transport.streamRt", Has: []string{"http.RoundTripper"},
		Look: "peers.Transports reads it: without it a member behind HTTPS_PROXY does not start.",
	},
	{
		Ours:    "internal/etcd/peers/noproxy.go:Transports",
		Package: "go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp", Decl: "Transport.pipelineRt", Has: []string{"http.RoundTripper"},
		Look: "peers.Transports reads it: without it a member behind HTTPS_PROXY does not start.",
	},
	{
		Ours:    "internal/etcd/peers/await.go:Removed",
		Package: "go.etcd.io/etcd/server/v3/etcdserver/api/membership", Decl: "(*RaftCluster).IsIDRemoved", Exists: true,
		Look: "removed asserts this method of the server's cluster: without it a removed member waits for a leader forever.",
	},

	// Rules that our code repeats.
	{
		Ours:    "internal/certificates/lifetime.go:managerName",
		Package: "k8s.io/client-go/util/certificate/csr", Decl: "RequestCertificateWithContext",
		Has:  []string{`csr.GenerateName = "csr-"`},
		Look: "rotates knows by this name that a kubelet renews its certificate: else kubelets get the long lifetime, or ones that do not renew the short one, and are lost.",
	},
	{
		Ours:    "internal/certificates/lifetime.go:rotates",
		Package: "k8s.io/client-go/util/certificate", Decl: "(*manager).rotateCerts",
		Has:  []string{`csr.RequestCertificateWithContext(ctx, clientSet, csrPEM, "", m.signerName,`},
		Look: "The certificate manager leaves the name of its request to be generated, by which rotates knows it.",
	},
	{
		Ours:    "internal/certificates/lifetime.go:rotates",
		Package: "k8s.io/kubernetes/pkg/kubelet/certificate/bootstrap", Decl: "digestedName",
		Has:  []string{`fmt.Sprintf("node-csr-%s", encode(hash.Sum(nil)))`},
		Look: "A kubelet that does not renew its certificate names its request so, by which rotates knows it.",
	},
	{
		Ours:    "internal/apiserver/authn/bootstraptoken.go:refusal",
		Package: "k8s.io/kubernetes/plugin/pkg/auth/authenticator/token/bootstrap", Decl: "(*TokenAuthenticator).AuthenticateToken",
		Digest: "3cd064bbb2515006",
		Look:   "refusal repeats the reasons for which it refuses, and bootstrapTokens gives it a lister with one Secret: else the log gives no reason, or a wrong one.",
	},
	{
		Ours:    "pkg/controlplane/restore_revoke.go:encrypted",
		Package: "k8s.io/apiserver/pkg/server/options/encryptionconfig", Decl: "secretboxTransformerPrefixV1",
		Has:  []string{`"k8s:enc:secretbox:v1:"`},
		Look: "A restore knows by the beginning which values are encrypted: else it reads them as objects, and keeps revoked tokens.",
	},
	{
		Ours:    "internal/apiserver/informers/blocking.go:blockingFactory.InformerFor",
		Package: "k8s.io/kubernetes/pkg/registry/core/service/ipallocator", Decl: "(*MetaAllocator).run",
		Has:  []string{"cache.WaitForCacheSync(c.internalStopCh, c.serviceCIDRSynced, c.ipAddressSynced)"},
		Look: "The allocator asks its informers in a goroutine of its own, where HasSynced may block: else the first Services of a start get no address for 100 ms.",
	},
	{
		Ours:    "internal/logqueue/freeze.go:freezeError",
		Package: "go.uber.org/zap/zapcore", Decl: "encodeError",
		Has:  []string{"err.Error()", "case errorGroup:", "e.Errors()", "case fmt.Formatter:", `fmt.Sprintf("%+v", e)`},
		Look: "freezeError keeps the parts of an error that zap uses later: else a queued line has less than one that is written at once.",
	},
}
