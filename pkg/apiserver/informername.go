package apiserver

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	genericfeatures "k8s.io/apiserver/pkg/features"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// newInformerName is the name of kube-apiserver's informers in metrics. A process has each name once:
// where several servers run, the next free one has a number after it.
func newInformerName() *cache.InformerName {
	const first = "kube-apiserver"
	name := first
	for i := 2; ; i++ {
		if claimed, err := cache.NewInformerName(name); err == nil {
			return claimed
		}
		name = fmt.Sprintf("%s-%d", first, i)
	}
}

// codecs are those of the built-in APIs, with CBOR for hosts that switch its gate on.
func codecs() serializer.CodecFactory {
	if utilfeature.DefaultFeatureGate.Enabled(genericfeatures.CBORServingAndStorage) {
		return serializer.NewCodecFactory(legacyscheme.Scheme, serializer.WithSerializer(cbor.NewSerializerInfo))
	}
	return legacyscheme.Codecs
}
