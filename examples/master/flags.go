// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// options are the settings of the command line and the configuration file.
type options struct {
	configFile    string
	help, version bool

	dataDir              string
	newCluster           bool
	bindAddress          string
	advertiseAddress     string
	insecureAddr         string
	hosts                []string
	tlsCertFile          string
	tlsKeyFile           string
	rootCAFile           string
	authenticationConfig string
	admissionConfig      string
	admissionPlugins     []string
	auditLog             string
	auditPolicy          string
	kubeconfigDir        string
	joinLifetime         time.Duration

	demo           bool
	scheduler      bool
	controllers    bool
	simulatedNodes int

	snapshotInterval time.Duration
	snapshotKeep     int
	snapshotDir      string
	snapshotKeyFile  string
	restore          string

	encryptionKeyFiles  []string
	encryptionResources []string

	verbosity int
}

const demoNodes = 3

// flagSet defines the flags, in the order of the help.
func (o *options) flagSet() *pflag.FlagSet {
	flags := pflag.NewFlagSet("master", pflag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are returned, and printed once
	flags.SortFlags = false
	define := func(v value, name, usage string) *pflag.Flag { return flags.VarPF(v, name, "", usage) }
	toggle := func(p *bool, name, usage string) { define(boolean(p), name, usage).NoOptDefVal = "true" }

	toggle(&o.demo, "demo", fmt.Sprintf("run --scheduler, --controllers and %d --simulated-nodes, and show a Deployment on them with its logs", demoNodes))
	define(text(&o.configFile), "config", "read more flags from this YAML `file`, by their names without dashes; flags on the command line take precedence")

	define(text(&o.dataDir), "data-dir", "keep all data in this `directory`; without it, the data is lost when this process ends")
	toggle(&o.newCluster, "new-cluster", "for one start: create the missing parts of --data-dir again, empty or new")
	define(text(&o.bindAddress), "bind-address", "serve HTTPS on this `IP[:port]`, 127.0.0.1:6443 by default; workers must be able to reach it")
	define(text(&o.advertiseAddress), "advertise-address", "the `IP` at which workers reach this machine, by default that of --bind-address")
	define(text(&o.insecureAddr), "insecure-bind-address", "also serve plain HTTP on this `IP[:port]`, port 8080 by default; every client that can connect is an administrator")
	define(list(&o.hosts), "hosts", "more `names` and IPs that clients use for this machine, separated by commas")
	define(text(&o.tlsCertFile), "tls-cert-file", "serve with the certificate in this `file`, followed by its intermediate CAs; it is read again when it changes")
	define(text(&o.tlsKeyFile), "tls-private-key-file", "the `file` with the key of --tls-cert-file, which other users must not be able to read")
	define(text(&o.rootCAFile), "root-ca-file", "workers and pods also trust the CAs in this `file`; the certificate of --tls-cert-file needs them")
	define(text(&o.authenticationConfig), "authentication-config", "accept the tokens of the OIDC issuers in this `file`, an AuthenticationConfiguration as for kube-apiserver; it is read again when it changes")
	define(text(&o.admissionConfig), "admission-control-config-file", "configure admission plugins with this `file`, an AdmissionConfiguration as for kube-apiserver")
	define(list(&o.admissionPlugins), "enable-admission-plugins", "run these `plugins` too, like EventRateLimit, separated by commas")
	define(text(&o.auditLog), "audit-log-path", "append an event for each request to this `file`; a file of 100 MB is set aside, and the last ten are kept")
	define(text(&o.auditPolicy), "audit-policy-file", "the audit policy is in this `file`: it selects the requests to record, and how much of them; by default all requests, without their objects")
	define(text(&o.kubeconfigDir), "kubeconfig-dir", "write the kubeconfig files to this `directory`, by default the current one")
	define(period(&o.joinLifetime, time.Nanosecond), "join-lifetime", "the time for which workers can join with the join file, a `duration` like 90m or 7d; 24h by default")

	toggle(&o.scheduler, "scheduler", "run the scheduler: a pod without nodeName gets a node")
	toggle(&o.controllers, "controllers", "run the controllers of workloads and nodes: Deployments get pods, and pods are evicted from nodes that do not answer")
	define(number(&o.simulatedNodes, 0), "simulated-nodes", "run a `number` of nodes that pretend to run containers: pods get Running and have logs")

	define(period(&o.snapshotInterval, 0), "snapshot-interval", "take a snapshot once in this `duration`, like 6h or 1d; without it, take none")
	define(number(&o.snapshotKeep, 0), "snapshot-keep", "keep this `number` of snapshots; 5 by default")
	define(text(&o.snapshotDir), "snapshot-dir", "write snapshots to this `directory`, best on another disk; by default \"snapshots\" in --data-dir")
	define(text(&o.snapshotKeyFile), "snapshot-key-file", "authenticate snapshots with the key in this `file`: at least 32 random bytes, raw or in base64")
	define(text(&o.restore), "restore", "for one start: create a new --data-dir from this snapshot `file`")

	define(list(&o.encryptionKeyFiles), "encryption-key-file", "encrypt stored objects with the key in this `file`: 32 random bytes, raw or in base64; repeat it for keys that only decrypt")
	define(list(&o.encryptionResources), "encryption-resources", "the encrypted `resources`, like secrets,configmaps or *.*; secrets by default")

	verbosity := flags.VarPF(number(&o.verbosity, 0), "v", "v", "log to stderr at this `level`: 0 warnings, 1 information, 2 and more details; --v without a level is 1")
	verbosity.NoOptDefVal = "1"
	flags.VarPF(boolean(&o.help), "help", "h", "print this help and exit").NoOptDefVal = "true"
	toggle(&o.version, "version", "print the versions and exit")
	return flags
}

// parse reads the command line and the configuration file that it names. The library
// validates the values for its Config (see inFlags).
func parse(args []string) (options, error) {
	opts := options{bindAddress: "127.0.0.1:6443", kubeconfigDir: ".", joinLifetime: 24 * time.Hour}
	flags := opts.flagSet()
	if err := flags.Parse(normalize(flags, args)); err != nil {
		return options{}, usageError{explain(flags, err)}
	}
	if flags.NArg() > 0 {
		return options{}, usagef("unexpected argument %q: the program takes only flags (-h lists them)", flags.Arg(0))
	}
	if opts.help || opts.version {
		return opts, nil
	}
	if opts.configFile != "" {
		if err := readConfigFile(opts.configFile, flags); err != nil {
			return options{}, err
		}
	}
	return opts, opts.complete()
}

// complete sets flags that follow from others, and makes the checks that the library does
// not make.
func (o *options) complete() error {
	o.bindAddress = withPort(o.bindAddress, "6443")
	o.insecureAddr = withPort(o.insecureAddr, "8080")
	if o.demo {
		o.scheduler, o.controllers = true, true
		if o.simulatedNodes == 0 {
			o.simulatedNodes = demoNodes
		}
	}
	switch {
	case o.restore != "" && o.dataDir == "":
		return usagef("--restore: name a new directory for the data with --data-dir")
	case o.newCluster && o.dataDir == "":
		return usagef("--new-cluster: needs --data-dir")
	case o.snapshotInterval == 0 && (o.snapshotDir != "" || o.snapshotKeep > 0):
		return usagef("--snapshot-interval: set an interval, like 6h: without it --snapshot-dir and --snapshot-keep have no effect")
	case len(o.encryptionResources) > 0 && len(o.encryptionKeyFiles) == 0:
		return usagef("--encryption-resources: nothing is encrypted without --encryption-key-file")
	}
	return nil
}

// printHelp lists the flags.
func (o *options) printHelp(out io.Writer) error {
	var help strings.Builder
	fmt.Fprint(&help, "master runs a Kubernetes control plane in one process.\n\nFlags:\n")
	o.flagSet().VisitAll(func(f *pflag.Flag) {
		value, usage := pflag.UnquoteUsage(f)
		if f.Value.Type() == "bool" {
			value = ""
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		fmt.Fprintf(&help, "  %s\n    \t%s\n", strings.TrimSpace(name+" "+value), usage)
	})
	_, err := io.WriteString(out, help.String())
	return err
}

// printVersion prints the versions of this program and its parts.
func printVersion(out io.Writer) error {
	version, etcd := "(devel)", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			version = info.Main.Version
		}
		for _, module := range info.Deps {
			if module.Path == "go.etcd.io/etcd/server/v3" {
				etcd = module.Version
			}
		}
	}
	_, err := fmt.Fprintf(out, "master %s (Kubernetes %s, etcd %s, %s, %s/%s)\n",
		version, apiserver.KubernetesVersion, etcd, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// withPort adds the default port to an address without one.
func withPort(address, port string) string {
	if address == "" {
		return ""
	}
	if _, err := netip.ParseAddr(address); err == nil || !strings.Contains(address, ":") {
		return net.JoinHostPort(address, port)
	}
	return address
}
