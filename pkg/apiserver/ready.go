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

// waitReady returns when every readiness check is green, or says which are
// red when ctx ends.
func (s *Server) waitReady(ctx context.Context) error {
	var red []string
	var redErr error
	err := lifecycle.Poll(ctx, func() bool {
		red, redErr = s.red()
		return redErr == nil && len(red) == 0 && s.discoveryComplete()
	})
	switch {
	case err == nil:
		return nil
	case redErr != nil:
		return fmt.Errorf("apiserver: not ready: %w: %w", err, redErr)
	default:
		return fmt.Errorf("apiserver: not ready: %w; red checks: %s", err, strings.Join(red, ", "))
	}
}

// red lists the readiness checks that fail, of the server's own.
func (s *Server) red() ([]string, error) {
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
	var red []string
	for line := range strings.Lines(string(body)) {
		if check, failed := strings.CutPrefix(line, "[-]"); failed {
			name, _, _ := strings.Cut(check, " ")
			red = append(red, name)
		}
	}
	if len(red) == 0 {
		return nil, fmt.Errorf("/readyz: %s", response.Status)
	}
	return red, nil
}
