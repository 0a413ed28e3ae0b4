// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

import "slices"

// Packages that pkg/apiserver follows.
const (
	controlplane          = "k8s.io/kubernetes/pkg/controlplane"
	controlplaneAPIServer = "k8s.io/kubernetes/pkg/controlplane/apiserver"
	genericServer         = "k8s.io/apiserver/pkg/server"
	genericOptions        = "k8s.io/apiserver/pkg/server/options"
)

// apiserverEntries are for pkg/apiserver: k8s.io/apiserver, kube-aggregator,
// k8s.io/kubernetes/pkg/controlplane.
var apiserverEntries = slices.Concat(followedEntries, fieldEntries, hookEntries, comparedEntries)

// followedEntries are functions of upstream whose bodies our functions follow.
var followedEntries = []Entry{
	{
		Ours: "pkg/apiserver/builtin.go:newBuiltin", Package: controlplane, Decl: "CompletedConfig.New", Digest: "3d0bea1a200a8636",
		Look: "newBuiltin follows New with other storage: adopt additions, like 1.37's ValidateIP.",
	},
	{
		Ours: "pkg/apiserver/assembly.go:(*Server).assemble", Package: controlplaneAPIServer, Decl: "BuildGenericConfig", Digest: "96264f7a3dab9a14",
		Look: "assemble and the functions that it calls follow BuildGenericConfig without flags: a missing step is a missing default.",
	},
	{
		Ours: "pkg/apiserver/builtin.go:builtinConfig", Package: controlplaneAPIServer, Decl: "CreateConfig", Digest: "e60469cd7746c882",
		Look: "builtinConfig fills Extra as CreateConfig does: a field that is missing is a part of the server that is off.",
	},
	{
		Ours: "pkg/apiserver/builtin.go:builtinConfig", Package: "k8s.io/kubernetes/cmd/kube-apiserver/app", Decl: "CreateKubeAPIServerConfig", Digest: "7e5f5ee64b325e03",
		Look: "builtinConfig and chain make the same as CreateKubeAPIServerConfig, including the resolver of Services.",
	},
	{
		Ours: "pkg/apiserver/chain.go:(*Server).chain", Package: "k8s.io/kubernetes/cmd/kube-apiserver/app", Decl: "CreateServerChain", Digest: "edf2c0d8dd097b55",
		Look: "chain puts the servers together as CreateServerChain does: compare their order and arguments.",
	},
	{
		Ours: "pkg/apiserver/extensions.go:extensionsConfig", Package: controlplaneAPIServer, Decl: "CreateAPIExtensionsConfig", Digest: "76d72e4c05cbf1eb",
		Look: "extensionsConfig and derive do the same over the shared client.",
	},
	{
		Ours: "pkg/apiserver/aggregator.go:aggregatorConfig", Package: controlplaneAPIServer, Decl: "CreateAggregatorConfig", Digest: "7b6e511f5b327328",
		Look: "aggregatorConfig and derive do the same over the shared client.",
	},
	{
		Ours: "internal/apiserver/authn/authn.go:New", Package: "k8s.io/kubernetes/pkg/kubeapiserver/options", Decl: "(*BuiltInAuthenticationOptions).ApplyTo", Digest: "c41b456c959e359b",
		Look: "authn.New does the same with keys from memory: listers that the getter of service accounts lacks refuse tokens that are bound to their objects.",
	},
	{
		Ours: "internal/apiserver/authn/jwt.go:(*JWTs).issuer", Package: "k8s.io/kubernetes/pkg/kubeapiserver/authenticator", Decl: "newJWTAuthenticator", Digest: "cacafe8f2ea85d16",
		Look: "issuer makes the same authenticator of each issuer: adopt new options.",
	},
	{
		Ours: "internal/apiserver/authn/jwt.go:(*JWTs).Set", Package: "k8s.io/kubernetes/pkg/kubeapiserver/authenticator", Decl: "(*authenticationConfigUpdater).updateAuthenticationConfig", Digest: "ec7167690108688e",
		Look: "Set takes the same steps, without its waits: if upstream asks issuers at once, use its update.",
	},
	{
		Ours: "internal/apiserver/authn/signer.go:NewSigner", Package: "k8s.io/kubernetes/pkg/controlplane/apiserver/options", Decl: "(*Options).completeServiceAccountOptions", Digest: "3e2b2659c04e29a8",
		Look: "NewSigner and serviceAccounts of pkg/apiserver set up the external signer and the limits of tokens as this does.",
	},
	{
		Ours: "internal/apiserver/authz/reload.go:(*Chain).reloadFile", Package: "k8s.io/kubernetes/pkg/kubeapiserver/authorizer", Decl: "(*reloadableAuthorizerResolver).checkFile", Digest: "7b1cf82f2903152c",
		Look: "a reload follows it, with the host's authorizers and the questions about identities: the same conditions and metrics.",
	},
	{
		Ours: "internal/apiserver/authz/chain.go:(*links).join", Package: "k8s.io/kubernetes/pkg/kubeapiserver/authorizer", Decl: "(*reloadableAuthorizerResolver).newForConfig", Digest: "f5c6718169f8ab8a",
		Look: "link makes one chain of upstream's for each authorizer, and join unites them behind the authorizer of system:masters: look for code that depends on several authorizers.",
	},
	{
		Ours: "internal/apiserver/authz/chain.go:(*Chain).link", Package: "k8s.io/kubernetes/pkg/kubeapiserver/authorizer", Decl: "Config.New", Digest: "0df62e52fd6a820a",
		Look: "Node, RBAC and ABAC exist once: look for another type that upstream keeps across reloads, and for goroutines without ReloadFile.",
	},
	{
		Ours: "internal/apiserver/authz/chain.go:lone.Authorize", Package: "k8s.io/apiserver/pkg/authorization/union", Decl: "unionAuthzHandler.Authorize",
		Has:  []string{`fmt.Sprintf("%s: %s", currAuthzHandler.AuthorizerName, reason)`, "case authorizer.DecisionAllow, authorizer.DecisionDeny:", "return decision, reason, err"},
		Look: "two unions put a name before a reason twice, and lone removes one of them.",
	},
	{
		Ours: "internal/apiserver/convergence/authorization.go:(*Writes).Authorizer", Package: "k8s.io/apiserver/pkg/authorization/authorizer", Decl: "Authorizer", Digest: "5f3e27fd1887a855",
		Look: "currentAuthorizer, JoinAuthorizer and guarded (internal/apiserver/authz) wrap each method: a new one needs the same waits, and must not run the host's code unguarded.",
	},
	{
		Ours: "internal/apiserver/endpoints/leases.go:NewLeaseReconciler", Package: controlplane, Decl: "(*Config).createLeaseReconciler", Digest: "408ea4d17841ddd9",
		Look: "NewLeaseReconciler does the same over the shared client.",
	},
	{
		Ours: "internal/apiserver/endpoints/leases.go:(*masterLeases).UpdateLease", Package: "k8s.io/kubernetes/pkg/controlplane/reconcilers", Decl: "(*storageLeases).UpdateLease", Digest: "e6d55161fd43b60c",
		Look: "all servers of an etcd, kube-apiserver among them, read these keys: write them as upstream does.",
	},
	{
		Ours: "internal/apiserver/endpoints/leases.go:(*masterLeases).ListLeases", Package: "k8s.io/kubernetes/pkg/controlplane/reconcilers", Decl: "(*storageLeases).ListLeases", Digest: "1179466a9af2e1a6",
		Look: "read the keys of all servers as upstream does.",
	},
	{
		Ours: "internal/apiserver/endpoints/leases.go:masterLeasePrefix", Package: controlplane, Decl: "(*Config).createLeaseReconciler", Has: []string{`"/masterleases/"`},
		Look: "servers of one etcd find each other only under the same prefix.",
	},
	{
		Ours: "internal/apiserver/encryption/transformers.go:Load", Package: genericOptions, Decl: "(*EtcdOptions).maybeApplyResourceTransformers", Digest: "a43802d0c15020e1",
		Look: "Load loads and checks the keys as upstream does.",
	},
	{
		Ours: "internal/apiserver/encryption/transformers.go:encryptedPrefix", Package: genericOptions + "/encryptionconfig", Has: []string{`"k8s:enc:`},
		Look: "values with another prefix are taken for plain text, and read as garbage.",
	},
	{
		Ours: "internal/storage/decorator.go:(*Backend).decorator", Package: "k8s.io/apiserver/pkg/registry/generic/registry", Decl: "StorageWithCacher", Digest: "fe6426afaa2da1df",
		Look: "decorator does the same over the shared client.",
	},
	{
		Ours: "internal/storage/decorator.go:(*Backend).newStore", Package: "k8s.io/apiserver/pkg/storage/storagebackend/factory", Decl: "newETCD3Storage", Digest: "ee6cc682d60d44bc",
		Look: "newStore does the same without dialling: a missing wrapper changes the stored data.",
	},
	{
		Ours: "internal/apiserver/rbacpolicy/reconcile.go:Reconcile", Package: "k8s.io/kubernetes/pkg/registry/rbac/rest", Decl: "(*PolicyData).EnsureRBACPolicy", Digest: "93f0b37015036f9d",
		Look: "Reconcile takes the same steps over data that is there.",
	},
	{
		Ours: "internal/apiserver/serving/certificates.go:NewCertificates", Package: genericServer, Decl: "(*SecureServingInfo).tlsConfig", Digest: "19b1cdfadcec4964",
		Look: "NewCertificates and Configure make the same configuration, without the client CAs.",
	},
	{
		Ours: "pkg/apiserver/serving.go:Config.certificates", Package: genericOptions, Decl: "(*SecureServingOptions).ApplyTo", Digest: "69be1e62f8a3e4ab",
		Look: "certificates and configureServing take the same settings: a new one needs a field of Serving.",
	},
	{
		Ours: "internal/apiserver/serving/certificates.go:(*Certificates).Close", Package: genericServer + "/dynamiccertificates", Decl: "(*DynamicServingCertificateController).Run", Digest: "5eb5a116cadb17ae",
		Look: "Close calls Run with an ended context to end the goroutines of the queue.",
	},
	{
		Ours: "internal/apiserver/serving/certificates.go:(*Certificates).Close", Package: genericServer + "/dynamiccertificates", Decl: "(*DynamicCertKeyPairContent).Run", Digest: "3bf020c26328d62d",
		Look: "Close calls Run with an ended context to end the goroutines of the queue.",
	},
	{
		Ours: "internal/apiserver/serving/hosthandlers.go:(*observedAnswer).WriteHeader", Package: genericServer + "/filters", Decl: "(*baseTimeoutWriter).timeout", Digest: "7767184c7a581bfc",
		Look: "observedAnswer replaces the response that begins with status 504, while the handler runs.",
	},
	{
		Ours: "internal/apiserver/serving/certificates.go:(*Certificates).Configure", Package: "net/http", Decl: "http2ConfigureServer", Has: []string{"s.TLSConfig.NextProtos = append(s.TLSConfig.NextProtos, http2NextProtoTLS)"},
		Look: "net/http tells in the server's TLSConfig whether it serves HTTP/2.",
	},
	{
		Ours: "internal/apiserver/serving/server.go:NewHTTPS", Package: genericServer, Decl: "(*SecureServingInfo).Serve", Digest: "6c4dd52cd603a095",
		Look: "the limits of connections and headers are kube-apiserver's: adopt additions, like MaxHeaderValueCount with Go 1.27.",
	},
	{
		Ours: "pkg/apiserver/aggregator.go:aggregatorConfig", Package: genericServer, Decl: "DefaultBuildHandlerChain", Digest: "3ae159bdad54c77a",
		Look: "the chain is upstream's, with our filters around it: check the place of a new filter, and its cost for each request.",
	},
	{
		Ours: "internal/apiserver/openapi/lazy.go:InstallLazy", Package: genericServer, Decl: "(*GenericAPIServer).PrepareRun", Digest: "73be09bbc8e69e20",
		Look: "PrepareRun installs OpenAPI, health checks and what else is served at a start: openapi.InstallLazy and Server.prepare do parts of it.",
	},
	{
		Ours: "internal/apiserver/egress/storage.go:nodeProxy.Connect", Package: "k8s.io/kubernetes/pkg/registry/core/node/rest", Decl: "(*ProxyREST).Connect", Digest: "58ec04b0f6b716d7",
		Look: "nodeProxy.Connect is this for kubelets.",
	},
}

// fieldEntries are structs of upstream. A new field is one that our code does not set.
var fieldEntries = []Entry{
	{
		Ours: "pkg/apiserver/builtin.go:builtinConfig", Package: controlplaneAPIServer, Decl: "Extra",
		Fields: []string{
			"ClusterAuthenticationInfo", "APIResourceConfigSource", "StorageFactory", "EventTTL", "EnableLogsSupport",
			"ProxyTransport", "EndpointSliceGetter", "PeerProxy", "PeerEndpointReconcileInterval", "PeerEndpointLeaseReconciler",
			"PeerAdvertiseAddress", "ServiceAccountIssuer", "ServiceAccountMaxExpiration", "ServiceAccountExtendedMaxExpiration",
			"ExtendExpiration", "ServiceAccountIssuerURL", "ServiceAccountJWKSURI", "ServiceAccountPublicKeysGetter",
			"SystemNamespaces", "VersionedInformers", "CoordinatedLeadershipLeaseDuration", "CoordinatedLeadershipRenewDeadline",
			"CoordinatedLeadershipRetryPeriod",
		},
		Look: "set it as CreateConfig does, or say why not: without EndpointSliceGetter, new in 1.37, services/proxy answered 503.",
	},
	{
		Ours: "pkg/apiserver/builtin.go:builtinConfig", Package: controlplane, Decl: "Extra",
		Fields: []string{
			"EndpointReconcilerConfig", "KubeletClientConfig", "ServiceIPRange", "APIServerServiceIP", "SecondaryServiceIPRange",
			"SecondaryAPIServerServiceIP", "APIServerServicePort", "ServiceNodePortRange", "KubernetesServiceNodePort", "MasterCount",
			"MasterEndpointReconcileTTL", "EndpointReconcilerType", "RepairServicesInterval",
		},
		Look: "set it as CreateKubeAPIServerConfig does, or say why not.",
	},
	{
		Ours: "pkg/apiserver/assembly.go:(*Server).assemble", Package: genericServer, Decl: "Config",
		Fields: []string{
			"SecureServing", "Authentication", "Authorization", "LoopbackClientConfig", "EgressSelector", "RuleResolver",
			"AdmissionControl", "CorsAllowedOriginList", "HSTSDirectives", "FlowControl", "EnableIndex", "EnableProfiling",
			"DebugSocketPath", "EnableDiscovery", "EnableContentionProfiling", "EnableMetrics", "DisabledPostStartHooks",
			"PostStartHooks", "EffectiveVersion", "EmulationForwardCompatible", "RuntimeConfigEmulationForwardCompatible",
			"FeatureGate", "AuditBackend", "AuditPolicyRuleEvaluator", "ExternalAddress", "TracerProvider", "BuildHandlerChainFunc",
			"NonLongRunningRequestWaitGroup", "WatchRequestWaitGroup", "DiscoveryAddresses", "HealthzChecks", "LivezChecks",
			"ReadyzChecks", "Flagz", "LegacyAPIGroupPrefixes", "RequestInfoResolver", "Serializer", "OpenAPIConfig", "OpenAPIV3Config",
			"SkipOpenAPIInstallation", "ResourceTransformers", "RESTOptionsGetter", "RequestTimeout", "MinRequestTimeout",
			"StorageInitializationTimeout", "LivezGracePeriod", "ShutdownDelayDuration", "JSONPatchMaxCopyBytes",
			"MaxRequestBodyBytes", "MaxRequestsInFlight", "MaxMutatingRequestsInFlight", "LongRunningFunc", "GoawayChance",
			"MergedResourceConfig", "lifecycleSignals", "StorageObjectCountTracker", "ShutdownSendRetryAfter", "PublicAddress",
			"EquivalentResourceRegistry", "APIServerID", "StorageVersionManager", "AggregatedDiscoveryGroupManager",
			"ShutdownWatchTerminationGracePeriod",
		},
		Look: "check the value that BuildGenericConfig and the options set; the zero value may disable a feature.",
	},
	{
		Ours: "pkg/apiserver/extensions.go:extensionsConfig", Package: "k8s.io/apiextensions-apiserver/pkg/apiserver", Decl: "ExtraConfig",
		Fields: []string{
			"CRDRESTOptionsGetter", "MasterCount", "ServiceResolver", "AuthResolverWrapper",
		},
		Look: "set it as CreateAPIExtensionsConfig does.",
	},
	{
		Ours: "pkg/apiserver/aggregator.go:aggregatorConfig", Package: "k8s.io/kube-aggregator/pkg/apiserver", Decl: "ExtraConfig",
		Fields: []string{
			"PeerAdvertiseAddress", "ProxyClientCertFile", "ProxyClientKeyFile", "ProxyTransport", "ServiceResolver",
			"RejectForwardingRedirects", "DisableRemoteAvailableConditionController", "PeerProxy",
		},
		Look: "set it as CreateAggregatorConfig does.",
	},
	{
		Ours: "internal/apiserver/authn/authn.go:New", Package: "k8s.io/kubernetes/pkg/kubeapiserver/authenticator", Decl: "Config",
		Fields: []string{
			"Anonymous", "BootstrapToken", "TokenAuthFile", "AuthenticationConfig", "AuthenticationConfigData", "OIDCSigningAlgs",
			"ServiceAccountLookup", "ServiceAccountIssuers", "APIAudiences", "WebhookTokenAuthnConfigFile", "WebhookTokenAuthnVersion",
			"WebhookTokenAuthnCacheTTL", "WebhookRetryBackoff", "TokenSuccessCacheTTL", "TokenFailureCacheTTL", "RequestHeaderConfig",
			"ServiceAccountPublicKeysGetter", "ServiceAccountTokenGetter", "SecretsWriter", "BootstrapTokenAuthenticator",
			"ClientCAContentProvider", "CustomDial", "EgressLookup", "APIServerID",
		},
		Look: "set it as BuiltInAuthenticationOptions.ApplyTo does.",
	},
	{
		Ours: "internal/storage/decorator.go:(*Backend).decorator", Package: "k8s.io/apiserver/pkg/storage/cacher", Decl: "Config",
		Fields: []string{
			"Storage", "Versioner", "GroupResource", "EventsHistoryWindow", "ResourcePrefix", "KeyFunc", "GetAttrsFunc",
			"IndexerFuncs", "Indexers", "NewFunc", "NewListFunc", "Codec", "Clock",
		},
		Look: "set it as StorageWithCacher does.",
	},
	{
		Ours: "pkg/apiserver/configure_admission.go:configureAdmission", Package: controlplaneAPIServer + "/admission", Decl: "Config",
		Fields: []string{
			"LoopbackClientConfig", "ExternalInformers", "APIResourceConfig",
		},
		Look: "set it as CreateConfig does: plugins use it.",
	},
}

// hookEntries are names of start hooks that our code repeats: to replace a hook, to
// disable it together with its resources, and for the health checks of the same name.
var hookEntries = []Entry{
	{
		Ours: "internal/apiserver/health/health.go:PeersHook", Package: controlplaneAPIServer, Decl: "completedConfig.New", Has: []string{`"peer-endpoint-reconciler-controller"`},
		Look: "replacedHooks does not switch it off any more, and servers are sent requests that none of them serves.",
	},
	{
		Ours: "pkg/apiserver/builtin.go:newBuiltin", Package: controlplane, Decl: "CompletedConfig.New",
		Has:  []string{`"bootstrap-controller"`, `"stop-kubernetes-service-controller"`, `"start-kubernetes-service-cidr-controller"`},
		Look: "newBuiltin and the checks have these names, monitors ask for them, and hooksWithoutResources switches the first off.",
	},
	{
		Ours: "pkg/apiserver/resources.go:hooksWithoutResources", Package: controlplaneAPIServer, Decl: "completedConfig.New",
		Has: []string{`"start-system-namespaces-controller"`, `"start-cluster-authentication-info-controller"`, `"start-kube-apiserver-identity-lease-controller"`,
			`"start-kube-apiserver-identity-lease-garbage-collector"`, `"start-legacy-token-tracking-controller"`},
		Look: "hooksWithoutResources has the old name: a server without these resources does not get ready.",
	},
}

// comparedEntries have tests that compare more than source.
var comparedEntries = []Entry{
	{
		Ours: "internal/apiserver/bootstrap/priorities.go:kubePriorities", Test: "internal/apiserver/bootstrap:TestPriorities",
		Look: "the aggregator does not serve a version that is not in the table.",
	},
	{
		Ours: "pkg/apiserver/golden_test.go:servedDifferently", Test: "pkg/apiserver:TestServedAsByKubeAPIServer",
		Look: "make the golden files of the new version with internal/bench/golden, and find the reason of each difference.",
	},
}
