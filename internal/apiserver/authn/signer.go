// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	externaljwtv1 "k8s.io/externaljwt/apis/v1"
	"k8s.io/kubernetes/pkg/apis/authentication/validation"
	serviceaccounttoken "k8s.io/kubernetes/pkg/serviceaccount"
	"k8s.io/kubernetes/pkg/serviceaccount/externaljwt/plugin"

	"github.com/kubembed/kubembed/internal/ownership"
)

// Signer signs service-account tokens outside of this process.
type Signer struct {
	Generator serviceaccounttoken.TokenGenerator
	Keys      serviceaccounttoken.PublicKeysGetter
	// MaxExpiration is the longest validity of its tokens.
	MaxExpiration time.Duration
}

// signerTimeout bounds calls of the signer.
const signerTimeout = 10 * time.Second

// NewSigner connects to an external signer at a Unix socket. The connection ends with
// ctx.
func NewSigner(ctx context.Context, issuer, socket string) (s Signer, err error) {
	if err := checkSocket(socket); err != nil {
		return Signer{}, err
	}
	lifetime, err := probeSigner(ctx, socket)
	if err != nil {
		return Signer{}, fmt.Errorf("%s: the signer does not work: %w", socket, err)
	}
	if lifetime < validation.MinTokenAgeSec*time.Second {
		return Signer{}, fmt.Errorf("%s: the signer signs for %s at most, want at least %d seconds", socket, lifetime, validation.MinTokenAgeSec)
	}
	signer, keys, err := plugin.New(ctx, issuer, socket, signerTimeout, false)
	if err != nil {
		return Signer{}, fmt.Errorf("%s: %w", socket, err)
	}
	return Signer{Generator: signer, Keys: keys, MaxExpiration: lifetime}, nil
}

// checkSocket refuses a file that is not a socket: gRPC would wait for one. It also
// refuses the socket of another user, who could sign tokens.
func checkSocket(socket string) error {
	if strings.HasPrefix(socket, "@") {
		return nil // no file
	}
	info, err := os.Stat(socket)
	if err != nil {
		return fmt.Errorf("%w: start the signer before the server", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s: is not a socket", socket)
	}
	return ownership.Socket(socket)
}

// probeSigner returns the longest validity of tokens. Upstream's plugin leaves its
// connection open when the first call fails.
func probeSigner(ctx context.Context, socket string) (time.Duration, error) {
	conn, err := grpc.NewClient("passthrough:///"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}))
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, signerTimeout)
	defer cancel()
	client := externaljwtv1.NewExternalJWTSignerClient(conn)
	keys, err := client.FetchKeys(ctx, &externaljwtv1.FetchKeysRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return 0, fmt.Errorf("its keys: %w", err)
	}
	if len(keys.GetKeys()) == 0 {
		return 0, fmt.Errorf("it has no keys")
	}
	metadata, err := client.Metadata(ctx, &externaljwtv1.MetadataRequest{})
	if err != nil {
		return 0, fmt.Errorf("its metadata: %w", err)
	}
	return time.Duration(metadata.GetMaxTokenExpirationSeconds()) * time.Second, nil
}
