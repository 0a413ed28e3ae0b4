// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/pkg/pool/internal/protocol"
)

// server is a control plane of the program, leased until Close.
type server struct {
	lease  protocol.Lease
	client *protocol.Client
	end    context.CancelFunc // of the connection that the lease belongs to
	done   chan struct{}
	log    *logBuffer

	fetching sync.Mutex
	fetched  int  // the number of entries of the log that are in log
	complete bool // no more entries are fetched

	mu     sync.Mutex
	closed bool
	err    error
}

// programGone is the reason of a lease whose connection has broken.
func programGone(log string) error {
	return fmt.Errorf("%w (killed, or out of memory?): its log is %s", errGone, log)
}

// begin leases a control plane from the program that listens on socket.
func begin(ctx context.Context, socket, log string, request protocol.LeaseRequest) (*server, error) {
	client := protocol.NewClient(socket)
	held, end := context.WithCancel(context.Background())
	s := &server{client: client, end: func() { end(); client.Close() }, done: make(chan struct{})}
	s.log = &logBuffer{flush: func() { s.fetchLog(callTimeout) }}
	stop := context.AfterFunc(ctx, end)
	response, err := client.Post(held, protocol.PathLeases, request)
	if err != nil {
		s.end()
		if ctx.Err() != nil { // the program may run
			return nil, context.Cause(ctx)
		}
		if broken := (*url.Error)(nil); errors.As(err, &broken) { // no answer
			err = programGone(log)
		}
		return nil, err
	}
	events := json.NewDecoder(response.Body)
	var first protocol.Event
	err = events.Decode(&first)
	if !stop() { // ctx has ended
		_ = response.Body.Close() // the cause says more
		s.end()
		return nil, context.Cause(ctx)
	}
	if err != nil || first.Lease == nil {
		_ = response.Body.Close() // the error says more
		s.end()
		if first.Refused != "" {
			return nil, errors.New(first.Refused)
		}
		return nil, programGone(log)
	}
	s.lease = *first.Lease
	go s.watch(events, response.Body, log)
	return s, nil
}

// watch waits for the end of the lease.
func (s *server) watch(events *json.Decoder, body io.Closer, log string) {
	defer close(s.done)
	defer func() { _ = body.Close() }() // it was read to its end, or is given up
	var last protocol.Event
	err := events.Decode(&last)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
	case err != nil:
		s.err = programGone(log)
	default:
		s.err = errors.New(last.Ended)
	}
}

// call makes a call of the lease, and decodes the answer into answer unless it is nil.
func (s *server) call(ctx context.Context, name string, request, answer any) error {
	response, err := s.client.Post(ctx, protocol.PathLeases+"/"+s.lease.ID+"/"+name, request)
	if err != nil {
		if own := s.Err(); own != nil {
			return own
		}
		return err
	}
	defer func() { _ = response.Body.Close() }() // read below
	if w, ok := answer.(io.Writer); ok {
		_, err = io.Copy(w, response.Body)
		return err
	}
	if answer == nil {
		answer = &protocol.Nothing{}
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

// Close ends the lease.
func (s *server) Close() error {
	s.fetchLog(closeTimeout)
	s.fetching.Lock()
	s.complete = true
	s.fetching.Unlock()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	<-s.done
	return nil
}

// Done is closed when the lease has ended.
func (s *server) Done() <-chan struct{} { return s.done }

// Err returns the reason why the lease ended by itself.
func (s *server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *server) URL() string      { return s.lease.URL }
func (s *server) CABundle() []byte { return bytes.Clone(s.lease.CABundle) }

func (s *server) ClientConfig() *rest.Config {
	return &rest.Config{
		Host:            s.lease.URL,
		TLSClientConfig: rest.TLSClientConfig{CAData: s.CABundle()},
		BearerToken:     s.lease.Token,
		QPS:             -1,
	}
}

// callTimeout bounds calls without a context, and closeTimeout the call at the end, which
// a program that hangs must not delay for long.
const (
	callTimeout  = time.Minute
	closeTimeout = 5 * time.Second
)

func (s *server) data(name string, request any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return s.dataWith(ctx, name, request)
}

func (s *server) dataWith(ctx context.Context, name string, request any) ([]byte, error) {
	var answer protocol.Data
	err := s.call(ctx, name, request, &answer)
	return answer.Data, err
}

func (s *server) Kubeconfig(user string, groups ...string) ([]byte, error) {
	return s.data(protocol.CallKubeconfig, protocol.KubeconfigRequest{User: user, Groups: groups})
}

func (s *server) NodeKubeconfig(name string) ([]byte, error) {
	return s.data(protocol.CallNodeKubeconfig, protocol.NodeRequest{Name: name})
}

func (s *server) JoinKubeconfig(ctx context.Context, lifetime time.Duration) ([]byte, error) {
	return s.dataWith(ctx, protocol.CallJoinKubeconfig, protocol.JoinRequest{Lifetime: lifetime})
}

func (s *server) RevokeKubeconfig(ctx context.Context, kubeconfig []byte) error {
	return s.call(ctx, protocol.CallRevokeKubeconfig, protocol.Data{Data: kubeconfig}, nil)
}

func (s *server) RevokeJoinKubeconfig(ctx context.Context, kubeconfig []byte) error {
	return s.call(ctx, protocol.CallRevokeJoinKubeconfig, protocol.Data{Data: kubeconfig}, nil)
}

func (s *server) RevokeNode(ctx context.Context, name string) error {
	return s.call(ctx, protocol.CallRevokeNode, protocol.NodeRequest{Name: name}, nil)
}

func (s *server) certificate(name string, request protocol.CertificateRequest) (KeyPair, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	var pair protocol.KeyPair
	err := s.call(ctx, name, request, &pair)
	return KeyPair{Cert: pair.Cert, Key: pair.Key}, err
}

func (s *server) ServingCertificate(hosts ...string) (KeyPair, error) {
	return s.certificate(protocol.CallServingCertificate, protocol.CertificateRequest{Hosts: hosts})
}

func (s *server) NodeServingCertificate(node string, hosts ...string) (KeyPair, error) {
	return s.certificate(protocol.CallNodeServingCertificate, protocol.CertificateRequest{Node: node, Hosts: hosts})
}

func (s *server) WaitForInformers(ctx context.Context, resource schema.GroupResource, resourceVersion string) error {
	return s.call(ctx, protocol.CallWaitForInformers, protocol.InformersRequest{Group: resource.Group, Resource: resource.Resource, ResourceVersion: resourceVersion}, nil)
}

func (s *server) Snapshot(ctx context.Context, w io.Writer) error {
	return s.call(ctx, protocol.CallSnapshot, protocol.Nothing{}, w)
}

// checkpoint is a checkpoint that the program keeps until the end of the lease.
type checkpoint struct {
	server *server
	id     protocol.Checkpoint
}

func (s *server) Checkpoint(ctx context.Context) (*checkpoint, error) {
	c := &checkpoint{server: s}
	return c, s.call(ctx, protocol.CallCheckpoint, protocol.Nothing{}, &c.id)
}

func (c *checkpoint) Rollback(ctx context.Context) error {
	return c.server.call(ctx, protocol.CallRollback, c.id, nil)
}

// fetchLog adds the entries since the last call to the log, until Close.
func (s *server) fetchLog(timeout time.Duration) {
	s.fetching.Lock()
	defer s.fetching.Unlock()
	if s.complete {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var answer protocol.Log
	if s.call(ctx, protocol.CallLog, protocol.LogRequest{From: s.fetched}, &answer) != nil {
		return // there is no more log without the program
	}
	for _, entry := range answer.Entries {
		s.log.add(entry.Time, entry.Text)
	}
	s.fetched = answer.First + len(answer.Entries)
}

// thisProcess describes a test of the process to people.
func thisProcess(test string) protocol.Owner {
	directory, _ := os.Getwd() // it is for people
	return protocol.Owner{PID: os.Getpid(), Test: test, Directory: directory}
}
