// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
)

// watchNodes logs when nodes join, leave, become ready or not ready. It ends with the
// informers of the API server.
func (s *Server) watchNodes() error {
	logger := s.config.Logger
	_, err := s.apiserver.Informers().Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(object any, old bool) {
			if node, ok := object.(*corev1.Node); ok && !old {
				logger.Info("node joined", nodeFields(node)...)
			}
		},
		UpdateFunc: func(before, after any) {
			old, ok := before.(*corev1.Node)
			node, same := after.(*corev1.Node)
			if ok && same {
				logReadiness(logger, old, node)
			}
		},
		DeleteFunc: func(object any) {
			if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = gone.Obj
			}
			if node, ok := object.(*corev1.Node); ok {
				logger.Info("node was removed", zap.String("node", node.Name))
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watching nodes for the log: %w", err)
	}
	return nil
}

func nodeFields(node *corev1.Node) []zap.Field {
	fields := []zap.Field{zap.String("node", node.Name), zap.String("version", node.Status.NodeInfo.KubeletVersion)}
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			fields = append(fields, zap.String("address", address.Address))
			break
		}
	}
	return fields
}

// logReadiness logs a change of the condition Ready, but not that a new node is not ready
// yet.
func logReadiness(logger *zap.Logger, old, node *corev1.Node) {
	before, after := readiness(old), readiness(node)
	ready := after.Status == corev1.ConditionTrue
	switch {
	case ready == (before.Status == corev1.ConditionTrue):
	case ready:
		logger.Info("node is ready", zap.String("node", node.Name))
	default:
		logger.Warn("node is not ready any more: its pods are evicted if this lasts and the node lifecycle controller runs",
			zap.String("node", node.Name), zap.String("reason", after.Reason), zap.String("detail", after.Message))
	}
}

func readiness(node *corev1.Node) corev1.NodeCondition {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition
		}
	}
	return corev1.NodeCondition{}
}
