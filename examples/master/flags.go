package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

// options are what the command line says.
type options struct {
	dataDir       string
	newCluster    bool
	bindAddress   string
	insecureAddr  string
	hosts         []string
	kubeconfigDir string
	joinLifetime  time.Duration
	scheduler     bool
	controllers   bool
	verbose       bool
}

// parse reads the command line. Problems with a value are left to the library,
// where it checks them (see inFlags).
func parse(args []string, stderr io.Writer) (options, error) {
	var opts options
	var hosts string
	flags := flag.NewFlagSet("master", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are returned, and printed once
	flags.StringVar(&opts.dataDir, "data-dir", "", "keep everything in this `folder`; without it, nothing outlives this process")
	flags.BoolVar(&opts.newCluster, "new-cluster", false, "for one start: make the parts again that --data-dir has lost, empty or new")
	flags.StringVar(&opts.bindAddress, "bind-address", "127.0.0.1:6443", "serve HTTPS on this `IP[:port]`, 127.0.0.1:6443 by default; workers must be able to reach it")
	flags.StringVar(&opts.insecureAddr, "insecure-bind-address", "", "serve plain HTTP too, on this `IP[:port]`, port 8080 by default; whoever can connect is an administrator")
	flags.StringVar(&hosts, "hosts", "", "further `names` and IPs that clients use for this machine, with commas")
	flags.StringVar(&opts.kubeconfigDir, "kubeconfig-dir", ".", "write the kubeconfig files to this `folder`, by default the current one")
	flags.DurationVar(&opts.joinLifetime, "join-lifetime", 24*time.Hour, "how long workers can join with the join file, as a `duration` like 90m; 24h by default")
	flags.BoolVar(&opts.scheduler, "scheduler", false, "run the scheduler: a pod without nodeName gets a node")
	flags.BoolVar(&opts.controllers, "controllers", false, "run the controllers of workloads and nodes: Deployments get pods, and pods leave nodes that do not answer")
	flags.BoolVar(&opts.verbose, "v", false, "log to stderr what happens, not only warnings")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(stderr, "master runs a Kubernetes control plane in one process.")
		flags.VisitAll(func(f *flag.Flag) {
			value, usage := flag.UnquoteUsage(f)
			fmt.Fprintf(stderr, "  %s\n    \t%s\n", strings.TrimSpace("--"+f.Name+" "+value), usage)
		})
		return options{}, err
	case err != nil:
		return options{}, fmt.Errorf("%w (-h lists the flags)", err)
	case flags.NArg() > 0:
		return options{}, fmt.Errorf("what is %q? Everything is said with flags (-h lists them)", flags.Arg(0))
	}
	opts.bindAddress = withPort(opts.bindAddress, "6443")
	opts.insecureAddr = withPort(opts.insecureAddr, "8080")
	opts.hosts = split(hosts)
	if opts.joinLifetime <= 0 {
		return options{}, fmt.Errorf("--join-lifetime: %s: must be more than zero", opts.joinLifetime)
	}
	return opts, nil
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

// split returns the elements of a list with commas.
func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// inFlags makes an error of the library, which names the fields of its Config,
// name the flags.
func inFlags(err error) error {
	return flagError{err, strings.NewReplacer(
		"Config.InsecureAddr", "--insecure-bind-address", "InsecureAddr:", "--insecure-bind-address:",
		"Config.BindAddress", "--bind-address", "BindAddress:", "--bind-address:",
		"Config.AdvertiseAddress", "--bind-address",
		"Config.DataDir", "--data-dir", "Config.NewCluster", "--new-cluster", "etcd: Config.Dir: ", "",
		"Hosts[", "--hosts[",
	).Replace(err.Error())}
}

type flagError struct {
	err  error
	text string
}

func (e flagError) Error() string { return e.text }
func (e flagError) Unwrap() error { return e.err }
