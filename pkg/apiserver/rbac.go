package apiserver

import (
	"maps"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"github.com/kubembed/kubembed/internal/apiserver/clientcert"
	"github.com/kubembed/kubembed/internal/join"
)

type policyData = rbacrest.PolicyData

// rbacPolicy is upstream's bootstrap policy, and the bindings that upstream
// leaves to whoever sets up a cluster.
func rbacPolicy() policyData {
	return policyData{
		ClusterRoles:        slices.Concat(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles(), []rbacv1.ClusterRole{joinRole()}),
		ClusterRoleBindings: slices.Concat(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings(), nodeBindings()),
		Roles:               bootstrappolicy.NamespaceRoles(),
		RoleBindings:        bootstrappolicy.NamespaceRoleBindings(),

		ClusterRolesToAggregate:    bootstrappolicy.ClusterRolesToAggregate(),
		ClusterRoleBindingsToSplit: bootstrappolicy.ClusterRoleBindingsToSplit(),
	}
}

// nodeBindings are what kubeadm sets up for nodes, by other names.
func nodeBindings() (bindings []rbacv1.ClusterRoleBinding) {
	bind := func(name, kind, subject, role string) {
		bindings = append(bindings, rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{
				Name:        name,
				Labels:      maps.Clone(bootstrappolicy.Label),
				Annotations: maps.Clone(bootstrappolicy.Annotation),
			},
			Subjects: []rbacv1.Subject{{Kind: kind, APIGroup: rbacv1.GroupName, Name: subject}},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		})
	}
	// A worker that joins asks for the first client certificate of its kubelet.
	bind("kubembed:kubelet-bootstrap", rbacv1.GroupKind, join.Group, joinRoleName)
	// Kubelets renew their client certificates themselves.
	bind("kubembed:node-certificate-rotation", rbacv1.GroupKind, user.NodesGroup,
		"system:certificates.k8s.io:certificatesigningrequests:selfnodeclient")
	// kubectl logs, exec and port-forward end at a kubelet, which asks whether
	// the API server may.
	bind("kubembed:kubelet-api-admin", rbacv1.UserKind, clientcert.KubeletClientUser, "system:kubelet-api-admin")
	return bindings
}

// joinRoleName is the role of clients with a join token.
const joinRoleName = "kubembed:node-bootstrapper"

// joinRole is upstream's system:node-bootstrapper without list and watch, which show
// the requests of all others. joinAuthorizer grants the part of them that a kubelet
// needs.
func joinRole() rbacv1.ClusterRole {
	return rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{
			Name:        joinRoleName,
			Labels:      maps.Clone(bootstrappolicy.Label),
			Annotations: maps.Clone(bootstrappolicy.Annotation),
		},
		Rules: []rbacv1.PolicyRule{{
			Verbs:     []string{"create", "get"},
			APIGroups: []string{certificatesv1.GroupName},
			Resources: []string{"certificatesigningrequests"},
		}},
	}
}
