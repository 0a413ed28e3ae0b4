package informers

import (
	"fmt"

	"k8s.io/client-go/tools/cache"
)

// NewName is the name of kube-apiserver's informers in metrics. A process has each name once:
// where several servers run, the next free one has a number after it.
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
