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

// options are what the command line and the configuration file say.
type options struct {
	configFile    string
	help, version bool

	dataDir          string
	newCluster       bool
	bindAddress      string
	advertiseAddress string
	insecureAddr     string
	hosts            []string
	kubeconfigDir    string
	joinLifetime     time.Duration

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

// flagSet defines the flags. Their order is that of the help.
func (o *options) flagSet() *pflag.FlagSet {
	flags := pflag.NewFlagSet("master", pflag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are returned, and printed once
	flags.SortFlags = false
	define := func(v value, name, usage string) *pflag.Flag { return flags.VarPF(v, name, "", usage) }
	toggle := func(p *bool, name, usage string) { define(boolean(p), name, usage).NoOptDefVal = "true" }

	toggle(&o.demo, "demo", fmt.Sprintf("run --scheduler, --controllers and %d --simulated-nodes, and show a Deployment on them with its logs", demoNodes))
	define(text(&o.configFile), "config", "read further flags from this YAML `file`, by their names without dashes; flags on the command line win")

	define(text(&o.dataDir), "data-dir", "keep everything in this `directory`; without it, nothing outlives this process")
	toggle(&o.newCluster, "new-cluster", "for one start: make the parts again that --data-dir has lost, empty or new")
	define(text(&o.bindAddress), "bind-address", "serve HTTPS on this `IP[:port]`, 127.0.0.1:6443 by default; workers must be able to reach it")
	define(text(&o.advertiseAddress), "advertise-address", "the `IP` under which workers reach this machine, by default that of --bind-address")
	define(text(&o.insecureAddr), "insecure-bind-address", "serve plain HTTP too, on this `IP[:port]`, port 8080 by default; everybody who can connect is an administrator")
	define(list(&o.hosts), "hosts", "further `names` and IPs that clients use for this machine, with commas")
	define(text(&o.kubeconfigDir), "kubeconfig-dir", "write the kubeconfig files to this `directory`, by default the current one")
	define(period(&o.joinLifetime, time.Nanosecond), "join-lifetime", "how long workers can join with the join file, as a `duration` like 90m or 7d; 24h by default")

	toggle(&o.scheduler, "scheduler", "run the scheduler: a pod without nodeName gets a node")
	toggle(&o.controllers, "controllers", "run the controllers of workloads and nodes: Deployments get pods, and pods leave nodes that do not answer")
	define(number(&o.simulatedNodes, 0), "simulated-nodes", "run this `number` of nodes that pretend to run containers: pods get Running and have logs")

	define(period(&o.snapshotInterval, 0), "snapshot-interval", "take a snapshot at this `duration`, like 6h or 1d; without it, none")
	define(number(&o.snapshotKeep, 0), "snapshot-keep", "how many snapshots are kept, a `number`; 5 by default")
	define(text(&o.snapshotDir), "snapshot-dir", "put snapshots in this `directory`, best on another disk; by default \"snapshots\" in --data-dir")
	define(text(&o.snapshotKeyFile), "snapshot-key-file", "authenticate snapshots with the key in this `file`: at least 32 random bytes, as they are or in base64")
	define(text(&o.restore), "restore", "for one start: make a new --data-dir of this snapshot `file`")

	define(list(&o.encryptionKeyFiles), "encryption-key-file", "encrypt stored objects with the key in this `file`: 32 random bytes, as they are or in base64. Give it again for keys that only decrypt")
	define(list(&o.encryptionResources), "encryption-resources", "the encrypted `resources`, like secrets,configmaps or *.*; secrets by default")

	verbosity := flags.VarPF(number(&o.verbosity, 0), "v", "v", "log to stderr: 0 warnings, 1 what happens, 2 and more details, a `level` as of other Kubernetes programs; --v alone is 1")
	verbosity.NoOptDefVal = "1"
	flags.VarPF(boolean(&o.help), "help", "h", "print this and end").NoOptDefVal = "true"
	toggle(&o.version, "version", "print the versions and end")
	return flags
}

// parse reads the command line, and the configuration file that it names. The
// library checks values that are its own (see inFlags).
func parse(args []string) (options, error) {
	opts := options{bindAddress: "127.0.0.1:6443", kubeconfigDir: ".", joinLifetime: 24 * time.Hour}
	flags := opts.flagSet()
	if err := flags.Parse(normalize(flags, args)); err != nil {
		return options{}, usageError{explain(flags, err)}
	}
	if flags.NArg() > 0 {
		return options{}, usagef("what is %q? Everything is said with flags (-h lists them)", flags.Arg(0))
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

// complete fills in what follows from other flags, and checks what the library
// does not.
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
		return usagef("--new-cluster: it is about --data-dir, which is not given")
	case o.snapshotInterval == 0 && (o.snapshotDir != "" || o.snapshotKeep > 0):
		return usagef("--snapshot-interval: say how often snapshots are taken, like 6h; without it --snapshot-dir and --snapshot-keep do nothing")
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

// printVersion prints the version of this program and those of its parts.
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

// withPort adds the default port to an address that has none.
func withPort(address, port string) string {
	if address == "" {
		return ""
	}
	if _, err := netip.ParseAddr(address); err == nil || !strings.Contains(address, ":") {
		return net.JoinHostPort(address, port)
	}
	return address
}
