// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kubernetes/pkg/controlplane/apiserver/options"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"
)

// flags are kube-apiserver's flags, parsed into its own structs.
type flags struct {
	*options.Options
	sets cliflag.NamedFlagSets
	all  *pflag.FlagSet

	serviceClusterIPRange string
	coreControllers       bool
	help, version         bool
}

func newFlags() *flags {
	f := &flags{Options: options.NewOptions(), all: pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)}
	f.AddFlags(&f.sets)
	f.addKubeFlags(f.sets.FlagSet("misc"))
	global := f.sets.FlagSet("global")
	global.BoolVarP(&f.help, "help", "h", false, "Print all flags and exit.")
	global.BoolVar(&f.version, "version", false, "Print the version and exit.")
	f.sets.FlagSet("kubembed").BoolVar(&f.coreControllers, "core-controllers", false,
		"Run the controllers of namespaces, garbage and service accounts in this process. kube-apiserver has no such flag.")
	f.all.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	f.all.SortFlags = false
	f.all.Usage = func() {} // the error is enough
	for _, set := range f.sets.FlagSets {
		f.all.AddFlagSet(set)
	}
	return f
}

// addKubeFlags adds the flags that k8s.io/kubernetes/cmd/kube-apiserver/app/options
// adds to the generic ones.
func (f *flags) addKubeFlags(fs *pflag.FlagSet) {
	fs.StringVar(&f.serviceClusterIPRange, "service-cluster-ip-range", "", "A range of IP addresses, in CIDR notation, for Services. (default 10.0.0.0/24)")
	fs.String("service-node-port-range", kubeoptions.DefaultServiceNodePortRange.String(), "Accepted with its default only.")
	const ignored = "Accepted, and ignored."
	for _, name := range []string{"endpoint-reconciler-type", "kubelet-certificate-authority", "kubelet-client-certificate", "kubelet-client-key"} {
		fs.String(name, "", ignored)
	}
	for _, name := range []string{"apiserver-count", "kubelet-port", "kubelet-read-only-port", "kubernetes-service-node-port"} {
		fs.Int(name, 0, ignored)
	}
	fs.StringSlice("kubelet-preferred-address-types", nil, ignored)
	fs.Duration("kubelet-timeout", 0, ignored)
	fs.Bool("allow-privileged", true, "Accepted, and ignored: privileged containers are allowed.")
}

// parse parses the command line. Its only side effect is on the feature gates of the
// process.
func parse(args []string) (*flags, error) {
	f := newFlags()
	if err := f.all.Parse(args); err != nil {
		return nil, err
	}
	if f.help || f.version {
		return f, nil
	}
	if f.all.NArg() > 0 {
		return nil, fmt.Errorf("unexpected arguments %q: the program takes only flags", f.all.Args())
	}
	if err := f.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, err
	}
	return f, f.refuse()
}

func init() {
	// Like kube-apiserver.
	_ = logsapi.AddFeatureGates(utilfeature.DefaultMutableFeatureGate)
}

// refused are unsupported flags that would change results for clients. The value is the
// only one that is accepted, because it describes what the program does anyway.
var refused = map[string]string{
	"admission-control":                           "[]",
	"admission-control-config-file":               "",
	"audit-webhook-config-file":                   "",
	"authentication-config":                       "",
	"authentication-token-webhook-config-file":    "",
	"authorization-config":                        "",
	"authorization-policy-file":                   "",
	"authorization-webhook-config-file":           "",
	"cors-allowed-origins":                        "[]",
	"egress-selector-config-file":                 "",
	"encryption-provider-config":                  "",
	"etcd-cafile":                                 "",
	"etcd-certfile":                               "",
	"etcd-keyfile":                                "",
	"etcd-prefix":                                 kubeoptions.DefaultEtcdPathPrefix,
	"etcd-servers-overrides":                      "[]",
	"oidc-issuer-url":                             "",
	"proxy-client-cert-file":                      "",
	"requestheader-client-ca-file":                "",
	"service-account-jwks-uri":                    "",
	"service-account-max-token-expiration":        "0s",
	"service-account-signing-endpoint":            "",
	"service-node-port-range":                     kubeoptions.DefaultServiceNodePortRange.String(),
	"tls-sni-cert-key":                            "[]",
	"token-auth-file":                             "",
	"runtime-config-emulation-forward-compatible": "false",
	"emulation-forward-compatible":                "false",
}

func (f *flags) refuse() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		flag := f.all.Lookup(name)
		if flag.Changed && flag.Value.String() != refused[name] {
			errs = append(errs, fmt.Errorf("--%s=%s has no effect in this program: leave it out, or run kube-apiserver itself", name, flag.Value))
		}
	}
	return errors.Join(errs...)
}

// usage lists the flags like kube-apiserver. envtest looks for some of them.
func (f *flags) usage(w io.Writer) {
	fmt.Fprint(w, "kube-apiserver of kubembed, an API server over etcd that takes the flags of kube-apiserver.\n"+
		"Which of them have effect: https://pkg.go.dev/github.com/kubembed/kubembed/pkg/controlplanetest/assets\n")
	cliflag.PrintSections(w, f.sets, 0)
}

// given reports whether a flag is on the command line.
func (f *flags) given(name string) bool { return f.all.Changed(name) }

// list returns the values of a flag that may be repeated, or have several with commas.
func list(values []string) (all []string) {
	for _, value := range values {
		for element := range strings.SplitSeq(value, ",") {
			if element != "" {
				all = append(all, element)
			}
		}
	}
	return all
}
