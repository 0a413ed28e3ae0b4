// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package informers

import (
	"fmt"

	"k8s.io/client-go/tools/cache"
)

// NewName returns the name of a server's informers in metrics. Names are unique in a
// process: the first server has kube-apiserver's, and further servers have a number after
// it. Call Release on the name when the server has stopped.
func NewName() *cache.InformerName {
	const first = "kube-apiserver"
	name := first
	for i := 2; ; i++ {
		if claimed, err := cache.NewInformerName(name); err == nil {
			return claimed
		}
		name = fmt.Sprintf("%s-%d", first, i)
	}
}
