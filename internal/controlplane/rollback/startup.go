// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package rollback

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"github.com/kubembed/kubembed/internal/checkpoint"
)

// adoptExpected makes what the control plane writes by itself part of the checkpoint, and
// returns the other differences.
func (r *rollback) adoptExpected(ctx context.Context, differences []checkpoint.Difference) ([]checkpoint.Difference, error) {
	kept := differences[:0]
	for _, d := range differences {
		switch {
		case d.New && (slices.Contains(r.StartupKeys, d.Key) || r.Recreated(d.Key)):
			// A startup key was written after the checkpoint has stopped to wait for it.
			if err := r.Checkpoint.Adopt(ctx, d.Key); err != nil {
				return nil, err
			}
			continue
		case !d.New && !d.Gone:
			// An object without a status gets one soon after its creation. An object that
			// got another status since it was put back gets that again and again.
			accepted, err := r.Checkpoint.Accept(ctx, d.Key, func(was, is []byte) bool {
				return onlyStatus(was, is, r.undone[d.Key])
			})
			if err != nil {
				return nil, err
			}
			if accepted {
				continue
			}
		}
		kept = append(kept, d)
	}
	return kept, nil
}

// onlyStatus reports whether two values of a key differ only in the status, which
// controllers write. If the value was not put back before, the old one must have none.
func onlyStatus(was, is []byte, putBack bool) bool {
	a, statusA, okA := withoutStatus(was)
	b, statusB, okB := withoutStatus(is)
	return okA && okB && (putBack || len(statusA) == 0) && !reflect.DeepEqual(statusA, statusB) && reflect.DeepEqual(a, b)
}

// withoutStatus splits an object into its status and the rest without managedFields.
func withoutStatus(value []byte) (content, status map[string]any, ok bool) {
	if bytes.HasPrefix(value, []byte("{")) {
		if err := json.Unmarshal(value, &content); err != nil {
			return nil, nil, false
		}
	} else {
		object, _, err := legacyscheme.Codecs.UniversalDeserializer().Decode(value, nil, nil)
		if err != nil {
			return nil, nil, false
		}
		if content, err = runtime.DefaultUnstructuredConverter.ToUnstructured(object); err != nil {
			return nil, nil, false
		}
	}
	status, _ = content["status"].(map[string]any)
	delete(content, "status")
	if metadata, ok := content["metadata"].(map[string]any); ok {
		delete(metadata, "managedFields")
	}
	return content, status, true
}
