// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// kubeconfigName is the name of the cluster and of the context.
const kubeconfigName = "kubembed"

// Kubeconfig returns a kubeconfig for the API server at the URL server. The user
// authenticates with kp and trusts the CAs in caBundle. All data is embedded: a file
// written by clientcmd.WriteToFile works on any machine, and is as secret as the key. The
// cluster and the context are named "kubembed". The user is named user, or "kubembed" if
// user is empty.
func Kubeconfig(server string, caBundle []byte, user string, kp KeyPair) *clientcmdapi.Config {
	if user == "" {
		user = kubeconfigName
	}
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[kubeconfigName] = &clientcmdapi.Cluster{
		Server:                   server,
		CertificateAuthorityData: caBundle,
	}
	cfg.AuthInfos[user] = &clientcmdapi.AuthInfo{
		ClientCertificateData: kp.Cert,
		ClientKeyData:         kp.Key,
	}
	cfg.Contexts[kubeconfigName] = &clientcmdapi.Context{
		Cluster:  kubeconfigName,
		AuthInfo: user,
	}
	cfg.CurrentContext = kubeconfigName
	return cfg
}
