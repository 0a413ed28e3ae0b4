// Package adopter is a package of a project with client-go.
package adopter

import _ "k8s.io/client-go/kubernetes"
