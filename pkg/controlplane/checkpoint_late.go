package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"github.com/kubembed/kubembed/internal/checkpoint"
)

// lateTimeout is how long a new control plane is given to write what upstream's
// controllers write within a tenth of a second of a start, and no start waits for.
const lateTimeout = 2 * time.Second

// late are those keys. They belong to every state.
func (s *Server) late() []string {
	keys := []string{
		"services/specs/default/kubernetes",
		"ipaddresses/" + s.serviceIP.String(),
		"configmaps/kube-system/extension-apiserver-authentication",
		"configmaps/kube-system/kube-apiserver-legacy-service-account-token-tracking",
		leases + "kube-system/" + s.apiserver.ID(),
	}
	if s.apiserver.PublishesAddress() {
		keys = append(keys, "services/endpoints/default/kubernetes", "endpointslices/default/kubernetes")
	}
	for i, key := range keys {
		keys[i] = s.config.Etcd.Prefix + "/" + key
	}
	return keys
}

// awaitLate lets the checkpoint have them, as they were first.
func (c *Checkpoint) awaitLate() {
	c.server.family.Do(context.Background(), func() {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), lateTimeout)
			defer cancel()
			// The watch ends with etcd too.
			c.stored.AdoptFirst(ctx, c.server.late())
		}()
	})
}

// late takes out of differences what the control plane does to itself.
func (c *Checkpoint) late(ctx context.Context, differences []checkpoint.Difference) ([]checkpoint.Difference, error) {
	late := map[string]bool{}
	for _, key := range c.server.late() {
		late[key] = true
	}
	kept := differences[:0]
	for _, d := range differences {
		switch {
		case d.New && late[d.Key]:
			// Still later than awaitLate has waited.
			if err := c.stored.Adopt(ctx, d.Key); err != nil {
				return nil, err
			}
			continue
		case !d.New && !d.Gone:
			// What had no status then gets it soon after. What has got another
			// since it was put back gets that again and again.
			accepted, err := c.stored.Accept(ctx, d.Key, func(was, is []byte) bool {
				return onlyStatus(was, is, c.undone[d.Key])
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

// onlyStatus tells whether two values of a key differ in nothing but the status,
// which is for controllers to say. Unless it is put back again, there must have been none.
func onlyStatus(was, is []byte, again bool) bool {
	a, statusA, okA := withoutStatus(was)
	b, statusB, okB := withoutStatus(is)
	return okA && okB && (again || len(statusA) == 0) && !reflect.DeepEqual(statusA, statusB) && reflect.DeepEqual(a, b)
}

// withoutStatus takes an object apart.
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
