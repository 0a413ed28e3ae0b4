// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"

	"google.golang.org/grpc"
	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	fakecri "k8s.io/cri-client/pkg/fake"
	criutil "k8s.io/cri-client/pkg/util"
	"k8s.io/cri-streaming/pkg/streaming"
)

// containers is a container runtime behind a CRI socket: upstream's fake, which records
// calls, with containerd's streaming server, and a log file and a directory for each
// container.
type containers struct {
	*fakecri.RemoteRuntime
	server  *grpc.Server
	streams streaming.Server
	dir     string

	mu  sync.Mutex
	all map[string]*container
}

// startContainers serves a container runtime until stop.
func startContainers(endpoint, dir string) (*containers, error) {
	r := &containers{RemoteRuntime: fakecri.NewFakeRemoteRuntime(), server: grpc.NewServer(), dir: dir, all: map[string]*container{}}
	r.RuntimeService.FakeStatus = &criv1.RuntimeStatus{Conditions: []*criv1.RuntimeCondition{
		{Type: criv1.RuntimeReady, Status: true},
		{Type: criv1.NetworkReady, Status: true},
	}}
	r.ImageService.SetFakeImageSize(1) // the CRI client rejects images without a size
	// The random URL of a stream is its credential.
	streams, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	config := streaming.DefaultConfig
	config.BaseURL = &url.URL{Scheme: "http", Host: streams.Addr().String(), Path: "/"}
	if r.streams, err = streaming.NewServer(config, inside{r}); err != nil {
		return nil, err
	}
	socket, err := criutil.CreateListener(endpoint)
	if err != nil {
		return nil, err
	}
	criv1.RegisterRuntimeServiceServer(r.server, r)
	criv1.RegisterImageServiceServer(r.server, r)
	go func() { _ = r.server.Serve(socket) }()
	go func() { _ = http.Serve(streams, r.streams) }() // ends with the process
	return r, nil
}

func (r *containers) stop() { r.server.Stop() }

// container returns a started container.
func (r *containers) container(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.all[id]; ok {
		return c, nil
	}
	return nil, fmt.Errorf("container %s was not started", id)
}

// StartContainer creates the log and the directory of a container.
func (r *containers) StartContainer(ctx context.Context, req *criv1.StartContainerRequest) (*criv1.StartContainerResponse, error) {
	c, err := newContainer(filepath.Join(r.dir, "containers", req.ContainerId))
	if err != nil {
		return nil, err
	}
	if err := c.print("started"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.all[req.ContainerId] = c
	r.mu.Unlock()
	return r.RemoteRuntime.StartContainer(ctx, req)
}

// StopContainer ends a container, with exit code 0.
func (r *containers) StopContainer(ctx context.Context, req *criv1.StopContainerRequest) (*criv1.StopContainerResponse, error) {
	if c, err := r.container(req.ContainerId); err == nil {
		c.end()
	}
	return r.RemoteRuntime.StopContainer(ctx, req)
}

// ContainerStatus adds the path of the log.
func (r *containers) ContainerStatus(ctx context.Context, req *criv1.ContainerStatusRequest) (*criv1.ContainerStatusResponse, error) {
	resp, err := r.RemoteRuntime.ContainerStatus(ctx, req)
	if err == nil {
		if c, err := r.container(req.ContainerId); err == nil {
			resp.Status.LogPath = c.log
		}
	}
	return resp, err
}

// Exec returns the URL of a stream, like Attach and PortForward.
func (r *containers) Exec(_ context.Context, req *criv1.ExecRequest) (*criv1.ExecResponse, error) {
	return r.streams.GetExec(req)
}

func (r *containers) Attach(_ context.Context, req *criv1.AttachRequest) (*criv1.AttachResponse, error) {
	return r.streams.GetAttach(req)
}

func (r *containers) PortForward(_ context.Context, req *criv1.PortForwardRequest) (*criv1.PortForwardResponse, error) {
	return r.streams.GetPortForward(req)
}
