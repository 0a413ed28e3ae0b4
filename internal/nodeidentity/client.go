// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package nodeidentity

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/util/retry"
)

// ErrUnchanged is returned by the function of Change if it has changed nothing.
var ErrUnchanged = errors.New("unchanged")

// Change reads the record of a node, calls change, and stores the result. If there is no
// record, change gets a new one with only the name. After a conflict Change repeats all
// steps. It returns the stored Secret, or nil if there is none. If change returns an
// error, Change stores nothing and returns that error.
func Change(ctx context.Context, client corev1client.SecretsGetter, node string, change func(r *Record, stored bool) error) (*corev1.Secret, error) {
	secrets := client.Secrets(Namespace)
	var result *corev1.Secret
	err := retry.OnError(retry.DefaultBackoff, isRace, func() error {
		secret, err := secrets.Get(ctx, SecretName(node), metav1.GetOptions{})
		stored := err == nil
		record := &Record{Node: node}
		switch {
		case stored:
			if record, err = Load(secret); err != nil {
				return err
			}
		case apierrors.IsNotFound(err):
			secret = nil
		default:
			return fmt.Errorf("nodeidentity: record of node %s: %w", node, err)
		}
		if err := change(record, stored); err != nil {
			result = secret
			return err
		}
		if !stored {
			if secret, err = New(record); err != nil {
				return err
			}
			result, err = secrets.Create(ctx, secret, metav1.CreateOptions{})
			return err
		}
		if err := Store(record, secret); err != nil {
			return err
		}
		result, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
		return err
	})
	if errors.Is(err, ErrUnchanged) {
		err = nil
	}
	return result, err
}

// isRace reports whether err results from a concurrent write.
func isRace(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}
