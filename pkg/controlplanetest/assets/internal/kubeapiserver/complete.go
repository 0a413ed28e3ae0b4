// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/server/egressselector"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/kubernetes/pkg/controlplane/apiserver/options"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"
	netutils "k8s.io/utils/net"
)

// defaultIssuer is the issuer of service-account tokens without --service-account-issuer,
// which kube-apiserver requires.
const defaultIssuer = "https://kubernetes.default.svc.cluster.local"

// completed are flags with kube-apiserver's defaults.
type completed struct {
	*flags
	dir string // for files with keys
	// advertised is the address of the server, and nil where kube-apiserver would find
	// none.
	advertised net.IP
	// runtimeConfig is --runtime-config in the form of the command line.
	runtimeConfig map[string]string
	serviceRanges []*net.IPNet
	egress        *egressselector.EgressSelector // nil without a file
}

// complete makes what kube-apiserver makes of its flags before it starts, by its own
// code: it writes a self-signed certificate to --cert-dir, sets the defaults that depend
// on other flags, and validates all of them. dir is for keys that are not in files of
// flags.
func (f *flags) complete(ctx context.Context, dir string) (*completed, error) {
	c := &completed{flags: f, dir: dir, runtimeConfig: maps.Clone(f.APIEnablement.RuntimeConfig)}
	generic := f.GenericServerRunOptions
	offline := false
	if ip := generic.AdvertiseAddress; len(ip) == 0 || ip.IsUnspecified() {
		if _, err := utilnet.ResolveBindAddress(f.SecureServing.BindAddress); err != nil {
			// kube-apiserver fails on a machine without a default route. Suites run
			// offline.
			offline, generic.AdvertiseAddress = true, net.IPv4(127, 0, 0, 1)
		}
	}
	var err error
	if c.serviceRanges, err = f.kube.serviceRanges(); err != nil {
		return nil, err
	}
	if err := c.generateServiceAccountKey(); err != nil {
		return nil, err
	}
	_, serviceIP, err := options.ServiceIPRange(*c.serviceRanges[0])
	if err != nil {
		return nil, fmt.Errorf("--service-cluster-ip-range: %w", err)
	}
	done, err := f.Options.Complete(ctx, []string{"kubernetes.default.svc", "kubernetes.default", "kubernetes"}, []net.IP{serviceIP})
	if err != nil {
		return nil, err
	}
	if !offline {
		c.advertised = generic.AdvertiseAddress
	}
	return c, utilerrors.NewAggregate(done.Validate())
}

// serviceRanges returns the one or two ranges of --service-cluster-ip-range.
func (k *kubeFlags) serviceRanges() ([]*net.IPNet, error) {
	values := list([]string{k.serviceClusterIPRange})
	if len(values) == 0 {
		return []*net.IPNet{&kubeoptions.DefaultServiceIPCIDR}, nil
	}
	ranges, err := netutils.ParseCIDRs(values)
	if err != nil {
		return nil, fmt.Errorf("--service-cluster-ip-range: %w", err)
	}
	if dual, err := netutils.IsDualStackCIDRs(ranges); len(ranges) > 2 || len(ranges) == 2 && (err != nil || !dual) {
		return nil, fmt.Errorf("--service-cluster-ip-range=%s: must be one range, or two of different IP families", k.serviceClusterIPRange)
	}
	return ranges, nil
}

// generateServiceAccountKey sets the flags about the issuer and the keys of
// service-account tokens, which kube-apiserver requires.
func (f *completed) generateServiceAccountKey() error {
	accounts := f.Authentication.ServiceAccounts
	if len(accounts.Issuers) == 0 {
		accounts.Issuers = []string{defaultIssuer}
	}
	switch {
	case f.ServiceAccountSigningEndpoint != "":
	case f.ServiceAccountSigningKeyFile == "" && len(accounts.KeyFiles) == 0:
		key, err := keyutil.MakeEllipticPrivateKeyPEM()
		if err != nil {
			return err
		}
		file := filepath.Join(f.dir, "service-account.key")
		if err := os.WriteFile(file, key, 0o600); err != nil {
			return err
		}
		f.ServiceAccountSigningKeyFile, accounts.KeyFiles = file, []string{file}
	case len(accounts.KeyFiles) == 0:
		accounts.KeyFiles = []string{f.ServiceAccountSigningKeyFile}
	}
	return nil
}
