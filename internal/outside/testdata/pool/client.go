// Package client is a package of a project with client-go.
package client

import _ "k8s.io/client-go/kubernetes"
