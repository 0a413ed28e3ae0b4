// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

// List describes how to list all pods of a namespace.
type List struct {
	JSON  bool // else protobuf
	Cache bool // resourceVersion=0, else consistent
	Limit int  // objects per page, or all at once if 0
}

// list reads the response and does not decode it: decoding is the same work for any
// server.
func (c *Client) list(ctx context.Context, s Spec) (Result, error) {
	var read int64
	result, err := run(ctx, s.Objects, 1, 0, func(ctx context.Context, _ int) error {
		read = 0
		for next := ""; ; {
			page, err := c.page(ctx, s.Namespace, s.List, next)
			if err != nil {
				return err
			}
			read += int64(len(page))
			if next, err = continuation(page, s.List.JSON); next == "" || err != nil {
				return err
			}
		}
	})
	result.Bytes = read
	return result, err
}

func (c *Client) page(ctx context.Context, namespace string, list List, next string) (page []byte, err error) {
	request := c.rest.Get().Resource("pods").Namespace(namespace).Timeout(time.Minute)
	accept := runtime.ContentTypeProtobuf
	if list.JSON {
		accept = runtime.ContentTypeJSON
	}
	request.SetHeader("Accept", accept)
	if list.Cache {
		request.Param("resourceVersion", "0")
	}
	if list.Limit > 0 {
		request.Param("limit", strconv.Itoa(list.Limit))
	}
	if next != "" {
		request.Param("continue", next)
	}
	body, err := request.Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	return io.ReadAll(body)
}

// continuation returns the token of the next page, or an empty one after the last page.
// It is in the metadata, at the beginning of a list.
func continuation(page []byte, inJSON bool) (string, error) {
	if inJSON {
		_, rest, ok := bytes.Cut(page, []byte(`"metadata":`))
		if !ok {
			return "", errors.New("the list has no metadata")
		}
		var metadata struct{ Continue string }
		err := json.NewDecoder(bytes.NewReader(rest)).Decode(&metadata)
		return metadata.Continue, err
	}
	object, ok := bytes.CutPrefix(page, []byte("k8s\x00"))
	if !ok {
		return "", fmt.Errorf("the list is not in %s", runtime.ContentTypeProtobuf)
	}
	// Unknown.raw, PodList.metadata, ListMeta.continue
	for _, field := range []protowire.Number{2, 1, 3} {
		if object = protoField(object, field); object == nil {
			return "", nil
		}
	}
	return string(object), nil
}

// protoField returns the first field of the number, or nil.
func protoField(message []byte, number protowire.Number) []byte {
	for len(message) > 0 {
		got, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil
		}
		message = message[n:]
		if got == number && kind == protowire.BytesType {
			value, n := protowire.ConsumeBytes(message)
			if n < 0 {
				return nil
			}
			return value
		}
		n = protowire.ConsumeFieldValue(got, kind, message)
		if n < 0 {
			return nil
		}
		message = message[n:]
	}
	return nil
}

// frames reads a watch in protobuf, frame by frame.
func frames(body io.ReadCloser) io.ReadCloser {
	return protobuf.LengthDelimitedFramer.NewFrameReader(body)
}
