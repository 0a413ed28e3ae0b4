// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// Client makes requests to a program.
type Client struct{ http http.Client }

// NewClient returns a client of the program that listens on a socket. Close it.
func NewClient(socket string) *Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	return &Client{http.Client{Transport: transport}}
}

// Close closes connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Get makes a request without a body.
func (c *Client) Get(ctx context.Context, path string) (*http.Response, error) {
	return c.do(ctx, http.MethodGet, path, nil)
}

// Post makes a request with a body in JSON.
func (c *Client) Post(ctx context.Context, path string, body any) (*http.Response, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return c.do(ctx, http.MethodPost, path, data)
}

// do returns an answer with status 200, or an error: a *url.Error if there is no answer,
// and otherwise that of the program.
func (c *Client) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://controlplanes"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set(HeaderVersion, Version)
	response, err := c.http.Do(request)
	if err != nil || response.StatusCode == http.StatusOK {
		return response, err
	}
	defer func() { _ = response.Body.Close() }() // read below
	var failure Error
	if err := json.NewDecoder(response.Body).Decode(&failure); err != nil {
		return nil, fmt.Errorf("the program controlplanes: %s", response.Status)
	}
	return nil, errors.New(failure.Message)
}
