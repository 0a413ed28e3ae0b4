// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Controller runs its own controller in a control plane: every namespace gets a
// ResourceQuota.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	cp, err := controlplane.Start(ctx, controlplane.Config{Components: []controlplane.Component{quotas{}}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cp.Close()) }()

	client := kubernetes.NewForConfigOrDie(cp.ClientConfig()).CoreV1()
	watch, err := client.ResourceQuotas("team-a").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	team := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team-a"}}
	if _, err := client.Namespaces().Create(ctx, team, metav1.CreateOptions{}); err != nil {
		return err
	}
	event := <-watch.ResultChan()
	fmt.Fprintln(out, event.Type, event.Object.(*corev1.ResourceQuota).Name) // created by the controller
	return nil
}

// quotas is the controller.
type quotas struct{}

func (quotas) Name() string { return "namespace-quotas" }

func (quotas) Run(ctx context.Context, config *rest.Config, ready func()) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]())
	defer queue.ShutDown()
	factory := informers.NewSharedInformerFactory(client, 0)
	namespaces := factory.Core().V1().Namespaces().Informer()
	if _, err := namespaces.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { queue.Add(object.(*corev1.Namespace).Name) },
	}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	context.AfterFunc(ctx, queue.ShutDown)
	if cache.WaitFor(ctx, "", namespaces.HasSyncedChecker()) {
		ready()
	}
	for {
		namespace, shutdown := queue.Get()
		if shutdown { // ctx has ended
			return nil
		}
		_, err := client.CoreV1().ResourceQuotas(namespace).Create(ctx, &corev1.ResourceQuota{
			ObjectMeta: metav1.ObjectMeta{Name: "team"},
			Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("100")}},
		}, metav1.CreateOptions{})
		if err == nil || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
			queue.Forget(namespace)
		} else {
			queue.AddRateLimited(namespace)
		}
		queue.Done(namespace)
	}
}
