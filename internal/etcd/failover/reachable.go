package failover

import (
	"context"
	"errors"
	"fmt"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// oldestRemote is the oldest etcd that Kubernetes' storage is tested with: older ones
// do not report the progress of watches reliably.
var oldestRemote = semver.Version{Major: 3, Minor: 5}

// WaitReachable waits until one of endpoints answers.
func (n *Client) WaitReachable(ctx context.Context, endpoints []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan error, len(endpoints))
	for _, endpoint := range endpoints {
		go func() {
			status, err := n.status(ctx, endpoint)
			if err == nil {
				err = checkRemote(endpoint, status)
			}
			answers <- err
		}()
	}
	var first error
	reached := false
	for range endpoints {
		err := <-answers
		switch {
		case err == nil:
			reached = true
			cancel()
		case errors.Is(err, errTooOld):
			// Not to be hidden by another that is not.
			first = err
		case first == nil:
			first = err
		}
	}
	if reached && !errors.Is(first, errTooOld) {
		return nil
	}
	if errors.Is(first, errTooOld) {
		return first
	}
	errs := []error{fieldpath.New("etcd", "ExternalConfig.Endpoints", "%w", errdefs.ErrUnreachable)}
	for _, endpoint := range endpoints {
		errs = append(errs, fmt.Errorf("%s: %w", endpoint, n.problemOf(endpoint)))
	}
	return &list{errs}
}

// status asks one endpoint until it answers.
func (n *Client) status(ctx context.Context, endpoint string) (*pb.StatusResponse, error) {
	conn, err := n.client.Dial(endpoint)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{}, grpc.WaitForReady(true))
}

var errTooOld = errors.New("etcd is too old")

func checkRemote(endpoint string, status *pb.StatusResponse) error {
	version, err := semver.NewVersion(status.Version)
	if err != nil {
		return fmt.Errorf("%s: its version: %w", endpoint, err)
	}
	if version.LessThan(oldestRemote) {
		return fieldpath.New("etcd", "ExternalConfig.Endpoints", "%s: %w: it is %s, and must be 3.5 or newer", endpoint, errTooOld, version)
	}
	return nil
}

// list is an error of several in one line, the first being what it is about.
type list struct{ errs []error }

func (l *list) Error() string {
	text := l.errs[0].Error()
	for i, err := range l.errs[1:] {
		separator := "; "
		if i == 0 {
			separator = ": "
		}
		text += separator + err.Error()
	}
	return text
}

func (l *list) Unwrap() []error { return l.errs }
