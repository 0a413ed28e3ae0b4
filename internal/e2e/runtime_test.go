package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	cri "k8s.io/cri-api/pkg/apis"
	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/utils/exec"
)

// streamingRuntime adds to a fake container runtime what kubectl logs, exec and
// port-forward need: a log file for each container, and the streaming server
// that containerd has, with three programs in place of a container.
type streamingRuntime struct {
	cri.RuntimeService
	streams streaming.Server
	logs    string // folder
}

// newStreamingRuntime serves streams on a free loopback port until the process
// ends, to whom knows the random URL of a stream.
func newStreamingRuntime(runtime cri.RuntimeService, dir string) (*streamingRuntime, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	config := streaming.DefaultConfig
	config.BaseURL = &url.URL{Scheme: "http", Host: listener.Addr().String(), Path: "/"}
	streams, err := streaming.NewServer(config, container{})
	if err != nil {
		return nil, err
	}
	go func() { _ = http.Serve(listener, streams) }() // It ends with the process.
	return &streamingRuntime{runtime, streams, dir}, nil
}

func (r *streamingRuntime) Exec(_ context.Context, req *criv1.ExecRequest) (*criv1.ExecResponse, error) {
	return r.streams.GetExec(req)
}

func (r *streamingRuntime) PortForward(_ context.Context, req *criv1.PortForwardRequest) (*criv1.PortForwardResponse, error) {
	return r.streams.GetPortForward(req)
}

func (r *streamingRuntime) StartContainer(ctx context.Context, id string) error {
	line := fmt.Sprintf("%s stdout F %s started\n", time.Now().Format(time.RFC3339Nano), id)
	if err := os.WriteFile(r.logFile(id), []byte(line), 0o600); err != nil {
		return err
	}
	return r.RuntimeService.StartContainer(ctx, id)
}

func (r *streamingRuntime) ContainerStatus(ctx context.Context, id string, verbose bool) (*criv1.ContainerStatusResponse, error) {
	resp, err := r.RuntimeService.ContainerStatus(ctx, id, verbose)
	if err == nil {
		resp.Status.LogPath = r.logFile(id)
	}
	return resp, err
}

func (r *streamingRuntime) logFile(id string) string { return filepath.Join(r.logs, id+".log") }

// container is what can be executed in any container: echo, cat, and exit with code
// three. Every port echoes.
type container struct{}

func (container) Exec(_ context.Context, _ string, args []string, in io.Reader, out, _ io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	switch args[0] {
	case "echo":
		_, err := fmt.Fprintln(out, strings.Join(args[1:], " "))
		return err
	case "cat":
		_, err := io.Copy(out, in)
		return err
	default:
		return exec.CodeExitError{Err: fmt.Errorf("%s: exit code 3", args[0]), Code: 3}
	}
}

func (container) Attach(context.Context, string, io.Reader, io.WriteCloser, io.WriteCloser, bool, <-chan remotecommand.TerminalSize) error {
	return fmt.Errorf("attach is not supported")
}

func (container) PortForward(_ context.Context, _ string, _ int32, stream io.ReadWriteCloser) error {
	_, err := io.Copy(stream, stream)
	return err
}
