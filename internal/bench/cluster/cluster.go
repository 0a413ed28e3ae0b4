// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package cluster runs upstream's programs beside envtest's API server, as a cluster has
// them: kube-controller-manager, kube-scheduler, and a simulator of nodes.
package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Cluster is a set of running programs.
type Cluster struct {
	work     string
	programs []*exec.Cmd
}

// Config configures a Cluster.
type Config struct {
	Assets string // the directory of the programs
	// ClientFlags are flags for the clients of the controllers and the scheduler.
	ClientFlags []string
	// Nodes simulates nodes. Start adds its kubeconfig. If nil, kubemark simulates one,
	// whose client has the rate limit of a real kubelet, not the lower one of kubemark.
	Nodes *exec.Cmd
}

// EvictionRate is the number of nodes per second whose pods are evicted, on all sides.
// With the default, a node in ten seconds, a trial would wait for the one before.
const EvictionRate = 100

// Start starts the programs. Their settings are the defaults, except for files,
// addresses, EvictionRate and those of c. Elections, and the HTTPS servers of the
// controllers and the scheduler, are off.
func Start(c Config, env *envtest.Environment, config *rest.Config) (_ *Cluster, err error) {
	cluster := &Cluster{}
	if cluster.work, err = os.MkdirTemp("", "cluster-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, cluster.Stop())
		}
	}()
	flags, err := ManagerFlags(cluster.work, env, config)
	if err != nil {
		return nil, err
	}
	kubeconfig := "--kubeconfig=" + filepath.Join(cluster.work, "kubeconfig")
	component := append([]string{"--leader-elect=false", "--secure-port=0"}, c.ClientFlags...)
	program := func(name string, args ...string) *exec.Cmd {
		return exec.Command(filepath.Join(c.Assets, name), args...)
	}
	if c.Nodes == nil {
		c.Nodes = program("kubemark", "--morph=kubelet", "--name=node-0", "--use-host-image-service=false",
			"--kubelet-port=0", "--kubelet-read-only-port=0", "--kube-api-qps=50", "--kube-api-burst=100")
	}
	c.Nodes.Args = append(c.Nodes.Args, kubeconfig)
	for _, cmd := range []*exec.Cmd{
		program("kube-controller-manager", append(append(flags, fmt.Sprint("--node-eviction-rate=", EvictionRate)), component...)...),
		program("kube-scheduler", append(component, kubeconfig)...),
		c.Nodes,
	} {
		// kwok looks for a configuration in the home directory.
		cmd.Env = append(os.Environ(), "HOME="+cluster.work)
		if err := cmd.Start(); err != nil {
			return nil, fmt.Errorf("cluster: %w", err)
		}
		cluster.programs = append(cluster.programs, cmd)
	}
	return cluster, nil
}

// Stop ends the programs and removes their files.
func (c *Cluster) Stop() error {
	for _, program := range c.programs {
		_ = program.Process.Kill()
		_ = program.Wait() // it was killed
	}
	c.programs = nil
	return os.RemoveAll(c.work)
}

// ManagerFlags writes the files of kube-controller-manager to the directory work, and
// returns the flags that name them: kubeconfig, keys and certificates, which every
// installation sets.
func ManagerFlags(work string, env *envtest.Environment, config *rest.Config) (flags []string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "cluster"}, key)
	if err != nil {
		return nil, err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, err
	}
	signerPEM, err := cert.EncodeCertificates(signer)
	if err != nil {
		return nil, err
	}
	for name, data := range map[string][]byte{"kubeconfig": env.KubeConfig, "ca.crt": config.CAData, "signer.crt": signerPEM, "signer.key": keyPEM} {
		if err := os.WriteFile(filepath.Join(work, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	path := func(name string) string { return filepath.Join(work, name) }
	return []string{
		"--kubeconfig=" + path("kubeconfig"), "--authentication-kubeconfig=" + path("kubeconfig"), "--authorization-kubeconfig=" + path("kubeconfig"),
		"--root-ca-file=" + path("ca.crt"), "--cluster-signing-cert-file=" + path("signer.crt"), "--cluster-signing-key-file=" + path("signer.key"),
		"--service-account-private-key-file=" + filepath.Join(env.ControlPlane.GetAPIServer().CertDir, "sa-signer.key"),
	}, nil
}
