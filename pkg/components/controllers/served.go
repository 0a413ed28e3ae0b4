package controllers

import (
	"fmt"

	"k8s.io/client-go/discovery"
)

// resources is what the API server serves, as group/version/resource.
type resources map[string]bool

// servedBy asks for it. Groups that are down, which are those of aggregated API
// servers, are not served.
func servedBy(client discovery.DiscoveryInterface) (resources, error) {
	_, lists, err := client.ServerGroupsAndResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, fmt.Errorf("which resources are served: %w", err)
	}
	served := resources{}
	for _, list := range lists {
		for _, resource := range list.APIResources {
			served[list.GroupVersion+"/"+resource.Name] = true
		}
	}
	return served, nil
}

// lacks are those of names that are not served.
func (r resources) lacks(names []string) (missing []string) {
	for _, name := range names {
		if !r[name] {
			missing = append(missing, name)
		}
	}
	return missing
}
