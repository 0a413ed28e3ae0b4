// Package controlplanetest gives tests a Kubernetes control plane.
package controlplanetest
