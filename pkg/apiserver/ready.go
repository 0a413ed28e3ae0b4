package apiserver

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// The readiness checks look at memory, and at etcd once: asking again after a
// millisecond costs less than a start that is felt.
const (
	readyPollMin = time.Millisecond
	readyPollMax = 20 * time.Millisecond
)

// waitReady returns when every readiness check is green, or says which are
// red when ctx ends.
func (s *Server) waitReady(ctx context.Context) error {
	for pause := readyPollMin; ; pause = min(2*pause, readyPollMax) {
		red, err := s.red()
		if err == nil && len(red) == 0 && s.discoveryComplete() {
			return nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if err != nil {
				return fmt.Errorf("apiserver: not ready: %w: %w", context.Cause(ctx), err)
			}
			return fmt.Errorf("apiserver: not ready: %w; red checks: %s", context.Cause(ctx), strings.Join(red, ", "))
		}
	}
}

// red lists the readiness checks that fail.
func (s *Server) red() ([]string, error) {
	request, err := http.NewRequestWithContext(s.ctx, http.MethodGet, s.URL()+"/readyz?verbose", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+s.secrets.loopback)
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
