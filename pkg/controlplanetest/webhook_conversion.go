// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// conversions are the CRDs, by name, whose objects a server of the fixture converts.
type conversions struct {
	mu sync.Mutex
	of map[string]conversion
}

type conversion struct {
	owner        string
	now, earlier *apiextensionsv1.CustomResourceConversion
}

// keep preserves the conversion of a CRD that is installed again.
func (c *conversions) keep(crd *apiextensionsv1.CustomResourceDefinition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if kept, ok := c.of[crd.Name]; ok {
		crd.Spec.Conversion = kept.now.DeepCopy()
	}
}

func (c *conversions) take(name string, taken conversion) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if other, ok := c.of[name]; ok {
		return fmt.Errorf("conversion of %s: %s converts it and still runs: a CRD has one conversion; install it in Config.Webhooks for all tests, or do not run these tests in parallel", name, other.owner)
	}
	if c.of == nil {
		c.of = map[string]conversion{}
	}
	c.of[name] = taken
	return nil
}

func (c *conversions) giveBack(name string) conversion {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.of[name]
	delete(c.of, name)
	return taken
}

// readConversions returns the named CRDs, and those with a conversion webhook behind a
// Service.
func (i *installedWebhooks) readConversions(ctx context.Context, field string, names []string) ([]apiextensionsv1.CustomResourceDefinition, error) {
	client, err := i.plane.crdClient()
	if err != nil {
		return nil, err
	}
	// From the watch cache, which has every served CRD. The newest state would cost a
	// request to etcd.
	list, err := client.List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	installed := map[string]apiextensionsv1.CustomResourceDefinition{}
	found := map[string]apiextensionsv1.CustomResourceDefinition{}
	for _, crd := range list.Items {
		installed[crd.Name] = crd
		if service := conversionWebhook(crd.Spec.Conversion); service != nil && service.Service != nil {
			found[crd.Name] = crd
		}
	}
	var errs []error
	for n, name := range names {
		crd, ok := installed[name]
		if !ok {
			if newest, err := client.Get(ctx, name, metav1.GetOptions{}); err == nil {
				crd, ok = *newest, true
			}
		}
		if !ok {
			errs = append(errs, fmt.Errorf("%s.Conversion[%d]: no CustomResourceDefinition is called %q: %s", field, n, name, installedNames(installed)))
			continue
		}
		found[name] = crd
	}
	crds := make([]apiextensionsv1.CustomResourceDefinition, 0, len(found))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		crds = append(crds, found[name])
	}
	return crds, errors.Join(errs...)
}

// installedNames lists the installed CRDs for a message.
func installedNames(crds map[string]apiextensionsv1.CustomResourceDefinition) string {
	if len(crds) == 0 {
		return "none is installed; install them before the webhooks"
	}
	return "installed are " + strings.Join(slices.Sorted(maps.Keys(crds)), ", ")
}

func conversionWebhook(c *apiextensionsv1.CustomResourceConversion) *apiextensionsv1.WebhookClientConfig {
	if c == nil || c.Strategy != apiextensionsv1.WebhookConverter || c.Webhook == nil {
		return nil
	}
	return c.Webhook.ClientConfig
}

// convert makes the server convert the objects of the CRDs.
func (i *installedWebhooks) convert(ctx context.Context, crds []apiextensionsv1.CustomResourceDefinition) error {
	for n := range crds {
		wanted := i.conversion(crds[n])
		if err := i.plane.conversions.take(crds[n].Name, conversion{i.owner.name, wanted, crds[n].Spec.Conversion}); err != nil {
			return err
		}
		i.conversions = append(i.conversions, &convertedCRD{name: crds[n].Name, now: wanted})
	}
	errs := make([]error, len(crds))
	inParallel(len(crds), func(n int) {
		errs[n] = i.conversions[n].convert(ctx, i.plane)
	})
	return errors.Join(errs...)
}

func (i *installedWebhooks) conversion(crd apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceConversion {
	path, versions := "/convert", []string{"v1"}
	if asked := conversionWebhook(crd.Spec.Conversion); asked != nil {
		versions = crd.Spec.Conversion.Webhook.ConversionReviewVersions
		if asked.Service != nil && asked.Service.Path != nil {
			path = *asked.Service.Path
		}
	}
	url := i.server.url(path)
	i.server.serves = append(i.server.serves, fmt.Sprintf("conversion of CustomResourceDefinition %q at %s", crd.Name, url))
	return &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter,
		Webhook: &apiextensionsv1.WebhookConversion{
			ClientConfig:             &apiextensionsv1.WebhookClientConfig{URL: &url, CABundle: i.server.ca},
			ConversionReviewVersions: versions,
		},
	}
}

// unconvert restores the earlier conversion of the CRDs that still exist and have the
// server's.
func (i *installedWebhooks) unconvert(ctx context.Context) error {
	errs := make([]error, len(i.conversions))
	inParallel(len(i.conversions), func(n int) {
		taken := i.plane.conversions.giveBack(i.conversions[n].name)
		if err := i.conversions[n].restore(ctx, i.plane, taken.earlier); !apierrors.IsNotFound(err) {
			errs[n] = err
		}
	})
	return errors.Join(errs...)
}
