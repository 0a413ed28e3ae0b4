// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

// outgoingEntries are for the connections of the server, its traces and its Services.
var outgoingEntries = []Entry{
	{
		Ours: "internal/storage/tracing.go:(*Backend).Trace", Package: "k8s.io/apiserver/pkg/storage/storagebackend/factory", Decl: "newETCD3Client",
		Has:  []string{"otelgrpc.WithPropagators(tracing.Propagators())", "otelgrpc.WithTracerProvider(c.TracerProvider)", "otelgrpc.NewClientHandler(tracingOpts...)"},
		Look: "Trace makes the spans of upstream's etcd client: make them as it does.",
	},
	{
		Ours: "internal/apiserver/kubeconfig/certificates.go:WithoutFiles", Package: "k8s.io/client-go/transport", Decl: "(*tlsTransportCache).get",
		Has:  []string{"config.TLS.ReloadTLSFiles && tlsConfig != nil", "go dynamicCertDialer.run(ctx.Done())", "runtime.AddCleanup(transportWithGC,"},
		Look: "only the garbage collector ends the goroutines that reload client certificates: with another end, WithoutFiles, Resolver and transport may go.",
	},
	{
		Ours: "internal/apiserver/kubeconfig/certificates.go:WithoutFiles", Package: "k8s.io/client-go/rest", Decl: "(*Config).TransportConfig",
		Has:  []string{"GetAuthProvider(c.Host, c.AuthProvider, c.AuthConfigPersister)", "conf.Wrap(provider.WrapTransport)"},
		Look: "the auth provider of WithoutFiles replaces the transport that it gets.",
	},
	{
		Ours: "internal/apiserver/egress/pending.go:waits", Package: "net/http", Decl: "(*Transport).getConn",
		Has:  []string{"context.WithCancel(context.WithoutCancel(ctx))"},
		Look: "a dial must have the values of the context of its request: otherwise the error of a webhook that times out does not name the dialer.",
	},
	{
		Ours: "pkg/apiserver/configure_admission.go:configureAdmission", Package: "k8s.io/apiserver/pkg/util/webhook", Decl: "(*ClientManager).SetAuthenticationInfoResolverWrapper",
		Has:  []string{"cm.authInfoResolver = wrapper(cm.authInfoResolver)"},
		Look: "a second wrapper must go around the first one, which has the dialer: otherwise webhooks are called without it.",
	},
	{
		Ours: "internal/apiserver/endpoints/ports.go:(*portsReconciler).ReconcileEndpoints", Package: "k8s.io/kubernetes/pkg/controlplane/controller/kubernetesservice", Decl: "(*Controller).UpdateKubernetesService",
		Has:  []string{"c.CreateOrUpdateMasterServiceIfNeeded(", "c.EndpointReconciler.ReconcileEndpoints("},
		Look: "the reconciler adds ports to the Service, which must exist when it is called.",
	},
	{
		Ours: "internal/apiserver/servicecidr/stored.go:CheckStored", Package: "k8s.io/kubernetes/pkg/controlplane/controller/defaultservicecidr", Decl: "(*Controller).sync",
		Has:  []string{"len(c.cidrs) == 2 && len(serviceCIDR.Spec.CIDRs) == 1 && c.cidrs[0] == serviceCIDR.Spec.CIDRs[0]"},
		Look: "CheckStored accepts the changes that upstream's controller makes to the stored ranges.",
	},
}
