// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"
	flowcontrolv1 "k8s.io/kubernetes/pkg/apis/flowcontrol/v1"
)

// configureFlowControl sets API Priority and Fairness, if its API is served and the host
// has not switched it off. Without it, upstream counts requests against
// MaxRequestsInFlight and MaxMutatingRequestsInFlight.
func configureFlowControl(e *environment, c *genericapiserver.Config) {
	if !e.config.Limits.DisablePriorityAndFairness && c.MergedResourceConfig.ResourceEnabled(flowcontrolv1.SchemeGroupVersion.WithResource("flowschemas")) {
		c.FlowControl = utilflowcontrol.New(e.sharedInformers, e.client.FlowcontrolV1(), c.MaxRequestsInFlight+c.MaxMutatingRequestsInFlight)
	}
}
