// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/kubembed/kubembed/internal/apiserver/health"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// waitReady returns when all readiness checks succeed. If ctx ends first, the error names
// the failed checks.
func (s *Server) waitReady(ctx context.Context) error {
	var failed []string
	var checkErr error
	err := lifecycle.Poll(ctx, func() bool {
		failed, checkErr = s.failedChecks()
		return checkErr == nil && len(failed) == 0 && s.discoveryComplete()
	})
	switch {
	case err == nil:
		return nil
	case checkErr != nil:
		return fmt.Errorf("apiserver: not ready: %w: %w", err, checkErr)
	default:
		return fmt.Errorf("apiserver: not ready: %w; failed checks: %s", err, strings.Join(failed, ", "))
	}
}

// failedChecks returns the readiness checks of the server itself that fail.
func (s *Server) failedChecks() ([]string, error) {
	query := url.Values{"verbose": {""}}
	for _, check := range s.config.ReadyzChecks {
		query.Add("exclude", check.Name())
	}
	for _, check := range health.BootChecks {
		query.Add("exclude", check)
	}
	request, err := http.NewRequestWithContext(s.ctx, http.MethodGet, s.URL()+"/readyz?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+s.tokens.Loopback)
	request.Header.Set("User-Agent", serverUserAgent)
	response, err := s.transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK {
		return nil, nil
	}
	var failed []string
	for line := range strings.Lines(string(body)) {
		if check, ok := strings.CutPrefix(line, "[-]"); ok {
			name, _, _ := strings.Cut(check, " ")
			failed = append(failed, name)
		}
	}
	if len(failed) == 0 {
		return nil, fmt.Errorf("/readyz: %s", response.Status)
	}
	return failed, nil
}
