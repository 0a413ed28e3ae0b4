// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	upstreamadmission "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"

	"github.com/kubembed/kubembed/internal/apiserver/admission"
	"github.com/kubembed/kubembed/internal/nils"
)

func admissionPluginField(i int) string {
	return field.NewPath("Config", "Admission", "Plugins").Index(i).String()
}

// pluginTimeout bounds New and the initialization of a plugin of the host.
const pluginTimeout = time.Minute

// makingPlugins returns the bounds of the host's plugins in New.
func (e *environment) makingPlugins() admission.Making {
	making := admission.Making{Context: e.ctx, Timeout: pluginTimeout, Logger: e.config.Logger}
	if e.config.starting != nil {
		making.Context = e.config.starting
	}
	return making
}

// newAdmissionPlugin calls New of a plugin of the host.
func newAdmissionPlugin(plugin AdmissionPlugin, making admission.Making) (upstreamadmission.Interface, error) {
	made, err := admission.Make(making, plugin.New)
	if err != nil {
		return nil, err
	}
	if nils.Is(made) {
		return nil, errors.New("returned no plugin and no error")
	}
	_, mutates := made.(upstreamadmission.MutationInterface)
	_, validates := made.(upstreamadmission.ValidationInterface)
	if !mutates && !validates {
		return nil, fmt.Errorf("returned a %T, which would never be called: it must have the methods of admission.MutationInterface, of admission.ValidationInterface, or of both", made)
	}
	return made, checkSetters(made)
}

// wanted are the interfaces of plugins that upstream initializes. All have
// ValidateInitialization besides a setter.
var wanted = []reflect.Type{
	reflect.TypeFor[initializer.WantsAPIServerID](), reflect.TypeFor[initializer.WantsAuthorizer](), reflect.TypeFor[initializer.WantsDrainedNotification](),
	reflect.TypeFor[initializer.WantsDynamicClient](), reflect.TypeFor[initializer.WantsEffectiveVersion](), reflect.TypeFor[initializer.WantsExcludedAdmissionResources](),
	reflect.TypeFor[initializer.WantsExternalKubeClientSet](), reflect.TypeFor[initializer.WantsExternalKubeInformerFactory](), reflect.TypeFor[initializer.WantsFeatures](),
	reflect.TypeFor[initializer.WantsQuotaConfiguration](), reflect.TypeFor[initializer.WantsRESTMapper](), reflect.TypeFor[initializer.WantsUnconditionalAuthorizer](),
}

// checkSetters returns an error if upstream would not call a setter of the plugin.
func checkSetters(plugin upstreamadmission.Interface) error {
	have := reflect.TypeOf(plugin)
	for _, wants := range wanted {
		for setter := range wants.Methods() {
			if _, ok := have.MethodByName(setter.Name); ok && setter.Name != "ValidateInitialization" && !have.Implements(wants) {
				return fmt.Errorf("returned a %s, whose %s would not be called: it must have all methods of %s, also ValidateInitialization", have, setter.Name, wants)
			}
		}
	}
	return nil
}
