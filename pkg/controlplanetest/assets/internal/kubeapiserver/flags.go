// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/spf13/pflag"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/server/flagz"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kubernetes/pkg/cluster/ports"
	"k8s.io/kubernetes/pkg/controlplane/apiserver/options"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"
)

// flags are kube-apiserver's flags, parsed into its own structs.
type flags struct {
	*options.Options
	kube kubeFlags
	sets cliflag.NamedFlagSets
	all  *pflag.FlagSet

	coreControllers bool
	help, version   bool
}

func newFlags() *flags {
	f := &flags{Options: options.NewOptions(), all: pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)}
	f.AddFlags(&f.sets)
	f.kube.add(f.sets.FlagSet("misc"))
	global := f.sets.FlagSet("global")
	global.BoolVarP(&f.help, "help", "h", false, "Print all flags and exit.")
	global.BoolVar(&f.version, "version", false, "Print the version and exit.")
	f.Flagz = flagz.NamedFlagSetsReader{FlagSets: cliflag.NamedFlagSets{FlagSets: maps.Clone(f.sets.FlagSets)}} // not with our own set
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

// kubeFlags are the flags that k8s.io/kubernetes/cmd/kube-apiserver/app/options adds to
// the generic ones.
type kubeFlags struct {
	allowPrivileged           bool
	endpointReconcilerType    string
	kubernetesServiceNodePort int
	serviceClusterIPRange     string
	serviceNodePortRange      utilnet.PortRange
}

// add defines the flags with kube-apiserver's defaults.
func (k *kubeFlags) add(fs *pflag.FlagSet) {
	fs.BoolVar(&k.allowPrivileged, "allow-privileged", false, "If true, allow privileged containers.")
	fs.StringVar(&k.endpointReconcilerType, "endpoint-reconciler-type", string(reconcilers.LeaseEndpointReconcilerType),
		"lease, or none for no endpoints of the Service kubernetes.")
	fs.IntVar(&k.kubernetesServiceNodePort, "kubernetes-service-node-port", 0, "Accepted with its default only.")
	fs.StringVar(&k.serviceClusterIPRange, "service-cluster-ip-range", "", "One range of IP addresses for Services, in CIDR notation, or two, of both families. If empty, 10.0.0.0/24.")
	k.serviceNodePortRange = kubeoptions.DefaultServiceNodePortRange
	fs.Var(&k.serviceNodePortRange, "service-node-port-range", "A range of ports for Services of type NodePort.")
	const ignored = "Accepted, and ignored."
	for _, name := range []string{"kubelet-certificate-authority", "kubelet-client-certificate", "kubelet-client-key"} {
		fs.String(name, "", ignored)
	}
	fs.StringSlice("kubelet-preferred-address-types", []string{"Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"}, ignored)
	fs.Duration("kubelet-timeout", 5*time.Second, ignored)
	fs.Uint("kubelet-port", ports.KubeletPort, ignored)
	fs.Uint("kubelet-read-only-port", ports.KubeletReadOnlyPort, ignored)
	fs.Int("apiserver-count", 1, ignored)
	for _, name := range []string{"kubelet-port", "kubelet-read-only-port", "apiserver-count"} {
		// It fails for an unknown flag only.
		_ = fs.MarkDeprecated(name, name+" is deprecated and will be removed in a future version.")
	}
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
