// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	encryptionconfigcontroller "k8s.io/apiserver/pkg/server/options/encryptionconfig/controller"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// encryption sets the transformers of --encryption-provider-config, which has more than
// apiserver.Encryption: several groups of resources, older providers, and reload. It is
// EtcdOptions.maybeApplyResourceTransformers of k8s.io/apiserver/pkg/server/options. Its
// goroutines end with ctx.
func (f *completed) encryption(ctx context.Context, c *apiserver.Config) error {
	file, reload := f.Etcd.EncryptionProviderConfigFilepath, f.Etcd.EncryptionProviderConfigAutomaticReload
	if file == "" {
		return nil
	}
	transformersCtx, closeTransformers := context.WithCancel(ctx)
	loaded, err := encryptionconfig.LoadEncryptionConfig(transformersCtx, file, reload, "")
	if err != nil {
		closeTransformers()
		return fmt.Errorf("--encryption-provider-config=%s: %w", file, err)
	}
	if !reload {
		context.AfterFunc(ctx, closeTransformers)
		c.Transformers = encryptionconfig.StaticTransformers(loaded.Transformers)
		c.ReadyzChecks = append(c.ReadyzChecks, loaded.HealthChecks...)
		return nil
	}
	if len(loaded.HealthChecks) != 1 {
		closeTransformers()
		return errors.New("--encryption-provider-config: with automatic reload there must be one health check")
	}
	transformers := encryptionconfig.NewDynamicTransformers(loaded.Transformers, loaded.HealthChecks[0], closeTransformers, loaded.KMSCloseGracePeriod)
	c.Transformers = transformers
	c.ReadyzChecks = append(c.ReadyzChecks, healthz.HealthChecker(transformers))
	controller := encryptionconfigcontroller.NewDynamicEncryptionConfiguration("encryption-provider-config-automatic-reload-controller",
		file, transformers, loaded.EncryptionFileContentHash, "")
	go controller.Run(ctx)
	return nil
}
