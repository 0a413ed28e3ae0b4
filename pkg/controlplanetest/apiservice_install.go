// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// installedAPIServices are the APIServices of one InstallAPIServices.
type installedAPIServices struct {
	plane    *plane
	owner    owner
	timeout  time.Duration
	server   *AggregatedServer
	client   registrationClient
	services []registration // created ones
	// service is the Service of the APIServices. The server's certificate has its name.
	service *corev1.Service
}

// The API server reaches an aggregated server only by a Service. Endpoints of a Service
// must not be on loopback, but an ExternalName may be an alias of this machine.
const (
	serviceNamespace = metav1.NamespaceSystem
	serviceAlias     = "localhost"
)

func serviceName(port int) string { return fmt.Sprintf("controlplanetest-%d", port) }

func (p *plane) installAPIServices(ctx context.Context, owner owner, field string, a APIServices) (_ *installedAPIServices, err error) {
	ctx, cancel := context.WithTimeout(ctx, webhooksTimeout)
	defer cancel()
	services, readErr := a.read(field)
	client, err := p.registrationClient()
	if err != nil {
		return nil, err
	}
	server, err := p.localServer("aggregated API server", owner, a.Handler, a.ReadyTimeout, func(port int) []string {
		return []string{serviceName(port) + "." + serviceNamespace + ".svc"}
	})
	if err != nil {
		return nil, err
	}
	i := &installedAPIServices{plane: p, owner: owner, timeout: server.timeout, client: client}
	i.server = &AggregatedServer{server, i}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.remove(context.WithoutCancel(ctx), false))
		}
	}()
	for _, s := range services {
		i.redirect(s)
	}
	// Validate the readable files nevertheless, so that one run shows all problems.
	if err := errors.Join(readErr, client.validateAll(ctx, owner.name, services)); err != nil {
		return nil, err
	}
	if err := i.createService(ctx); err != nil {
		return nil, fmt.Errorf("create the Service of the aggregated API server: %w", err)
	}
	for _, s := range services {
		if err := client.create(ctx, owner.name, s); err != nil {
			return nil, err
		}
		i.services = append(i.services, s)
	}
	if a.Handler != nil {
		return i, i.waitAvailable(ctx)
	}
	return i, nil
}

// redirect points an APIService to the server.
func (i *installedAPIServices) redirect(r registration) {
	service := r.object.(*apiregistrationv1.APIService)
	i.server.serves = append(i.server.serves, fmt.Sprintf("%s at %s", r.from, i.server.url("/apis/"+service.Spec.Group+"/"+service.Spec.Version)))
	if service.Spec.Service == nil {
		return
	}
	port := int32(i.server.Port)
	service.Spec.Service = &apiregistrationv1.ServiceReference{Namespace: serviceNamespace, Name: serviceName(i.server.Port), Port: &port}
	service.Spec.CABundle, service.Spec.InsecureSkipTLSVerify = i.server.ca, false
	service.Status = apiregistrationv1.APIServiceStatus{}
}

// createService creates the Service, and returns when the API server can resolve it.
func (i *installedAPIServices) createService(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(i.plane.admin())
	if err != nil {
		return err
	}
	service, err := client.CoreV1().Services(serviceNamespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: serviceName(i.server.Port), Annotations: map[string]string{installedBy: i.owner.name}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: serviceAlias},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	i.service = service
	return i.plane.server.WaitForInformers(ctx, corev1.Resource("services"), service.ResourceVersion)
}

func (i *installedAPIServices) removeService(ctx context.Context) error {
	if i.service == nil {
		return nil
	}
	client, err := kubernetes.NewForConfig(i.plane.admin())
	if err != nil {
		return err
	}
	err = client.CoreV1().Services(serviceNamespace).Delete(ctx, i.service.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

// remove removes the APIServices, and closes the server when the API server no longer
// calls it. If the control plane is about to stop, remove only closes the server.
func (i *installedAPIServices) remove(ctx context.Context, stopping bool) error {
	ctx, cancel := context.WithTimeout(ctx, webhooksTimeout)
	defer cancel()
	var errs []error
	if !stopping {
		for _, s := range i.services {
			errs = append(errs, i.client.remove(ctx, i.plane, s))
		}
		errs = append(errs, i.removeService(ctx), i.waitGone(ctx))
	}
	errs = append(errs, i.server.close())
	if !stopping {
		errs = append(errs, i.waitUnrouted(ctx))
	}
	i.owner.silence()
	return errors.Join(errs...)
}
