// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package etcd implements the program etcd of package assets.
package etcd

import (
	"context"
	"errors"
	"flag" //nolint:depguard // etcd defines its flags with this package, in a set of its own
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/embed"
)

// A standalone member has no other members to wait for: with etcd's defaults a start
// would wait half a second for its own election.
const (
	tickMs     = 20
	electionMs = 200
)

// Main runs the program until ctx ends, and returns the exit code.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := embed.NewConfig()
	c.TickMs, c.ElectionMs = tickMs, electionMs
	flags := flag.NewFlagSet("etcd", flag.ContinueOnError)
	flags.SetOutput(stderr)
	c.AddFlags(flags)
	printVersion := flags.Bool("version", false, "Print the version and exit.")
	flags.Usage = func() {}
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage(stdout, flags)
		return 0
	case err != nil: // printed by the flag set
		return 2
	case *printVersion:
		fmt.Fprintln(stdout, "etcd Version:", version.Version)
		return 0
	}
	if err = apply(c, flags); err == nil {
		err = run(ctx, c)
	}
	if err != nil {
		fmt.Fprintln(stderr, "etcd:", err)
		return 1
	}
	return 0
}

// usage prints flags with two dashes, like etcd. envtest looks for them.
func usage(w io.Writer, flags *flag.FlagSet) {
	fmt.Fprintln(w, "etcd of kubembed: the server of etcd", version.Version, "with these of its flags:")
	flags.VisitAll(func(f *flag.Flag) {
		if !isUnsupported(f.Name) {
			fmt.Fprintf(w, "  --%s '%s'\n    \t%s\n", f.Name, f.DefValue, f.Usage)
		}
	})
}

// isUnsupported reports whether only etcd's own program applies the flag to the
// configuration.
func isUnsupported(name string) bool { return slices.Contains(unsupported, name) }

// unsupported are the flags for lists that apply does not handle.
var unsupported = []string{
	"cipher-suites", "client-cert-allowed-hostname", "cors", "discovery-endpoints", "host-whitelist",
	"log-outputs", "max-concurrent-streams", "peer-cert-allowed-cn", "peer-cert-allowed-hostname",
}

// apply sets the fields of c that AddFlags leaves to the program.
func apply(c *embed.Config, flags *flag.FlagSet) error {
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is not a flag", flags.Arg(0))
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name := range given {
		if isUnsupported(name) {
			return fmt.Errorf("--%s is not supported by this program: leave it out, or run etcd itself", name)
		}
	}
	for name, target := range map[string]*[]url.URL{
		"listen-client-urls":          &c.ListenClientUrls,
		"listen-client-http-urls":     &c.ListenClientHttpUrls,
		"listen-peer-urls":            &c.ListenPeerUrls,
		"listen-metrics-urls":         &c.ListenMetricsUrls,
		"advertise-client-urls":       &c.AdvertiseClientUrls,
		"initial-advertise-peer-urls": &c.AdvertisePeerUrls,
	} {
		if !given[name] {
			continue
		}
		urls, err := types.NewURLs(strings.Split(flags.Lookup(name).Value.String(), ","))
		if err != nil {
			return fmt.Errorf("--%s: %w", name, err)
		}
		*target = urls
	}
	// Zero would log a warning for each request.
	if c.WarningUnaryRequestDuration == 0 {
		c.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration
	}
	if !given["initial-cluster"] {
		c.InitialCluster = c.InitialClusterFromName(c.Name)
	}
	if c.Dir == "" {
		c.Dir = c.Name + ".etcd"
	}
	return c.Validate()
}

// run serves until ctx ends, or until the server fails.
func run(ctx context.Context, c *embed.Config) error {
	server, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	defer server.Close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-server.Err():
		return err
	case <-server.Server.StopNotify():
		return errors.New("the server stopped by itself")
	}
}
