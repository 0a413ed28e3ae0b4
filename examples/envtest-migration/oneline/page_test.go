// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package suite

import (
	. "github.com/onsi/ginkgo/v2" //nolint:revive // as Ginkgo is used
	. "github.com/onsi/gomega"    //nolint:revive // as Gomega is used
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/kubembed/kubembed/examples/controller-test/v1"
	"github.com/kubembed/kubembed/examples/controller-test/v1alpha1"
)

var _ = Describe("A page", func() {
	var namespace string

	BeforeEach(func(ctx SpecContext) {
		created := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "page-"}}
		Expect(k8sClient.Create(ctx, created)).To(Succeed())
		namespace = created.Name
	})

	It("is published", func(ctx SpecContext) {
		page := &v1.Page{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "welcome"},
			Spec:       v1.PageSpec{Title: "Welcome", Paragraphs: []string{"Hello."}},
		}
		Expect(k8sClient.Create(ctx, page)).To(Succeed())
		published := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "welcome-page"}}
		Eventually(func() (map[string]string, error) {
			err := k8sClient.Get(ctx, client.ObjectKeyFromObject(published), published)
			return published.Data, err
		}, "20s", "20ms").Should(HaveKeyWithValue("index.html", ContainSubstring("<p>Hello.</p>")))
	})

	It("is converted to the new version", func(ctx SpecContext) {
		old := &v1alpha1.Page{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "old"},
			Spec:       v1alpha1.PageSpec{Title: "Old", Text: "One.\n\nTwo."},
		}
		Expect(k8sClient.Create(ctx, old)).To(Succeed())
		page := &v1.Page{}
		Expect(k8sClient.Get(ctx, client.ObjectKeyFromObject(old), page)).To(Succeed())
		Expect(page.Spec.Paragraphs).To(Equal([]string{"One.", "Two."}))
	})

	It("is refused where it repeats its title", func(ctx SpecContext) {
		page := &v1.Page{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "twice"},
			Spec:       v1.PageSpec{Title: "Twice", Paragraphs: []string{"Twice"}},
		}
		Expect(k8sClient.Create(ctx, page)).To(MatchError(ContainSubstring("spec.paragraphs[0]")))
	})
})
