// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hosts

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/bench/load"
)

// Plane is the control plane of a host.
type Plane interface {
	// Start returns when the control plane is ready.
	Start() (config *rest.Config, kubeconfig []byte, err error)
	// Do handles the commands that Serve does not handle.
	Do(Command) (Answer, error)
	Stop() error
}

// Serve is the main function of a host. It returns the exit code.
func Serve(plane Plane) int {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM)
	out := json.NewEncoder(os.Stdout)
	began := time.Now()
	config, kubeconfig, err := plane.Start()
	if err == nil {
		err = firstPod(config)
	}
	ready := Ready{Kubeconfig: string(kubeconfig), Started: time.Since(began), Error: text(err)}
	if out.Encode(ready) != nil || err != nil {
		_ = plane.Stop()
		return 1
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var c Command
		answer, err := Answer{}, json.Unmarshal(in.Bytes(), &c)
		began := time.Now()
		switch {
		case err != nil:
		case c.Do == Stop:
			err = plane.Stop()
		default:
			answer, err = plane.Do(c)
		}
		answer.Took, answer.Error = time.Since(began), text(err)
		if out.Encode(answer) != nil || c.Do == Stop {
			return 0
		}
	}
	if err := plane.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// firstPod creates a pod with another name at each start of a directory.
func firstPod(config *rest.Config) error {
	config = rest.CopyConfig(config)
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	return load.CreatePod(context.Background(), client, fmt.Sprint("first-", time.Now().UnixNano()))
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
