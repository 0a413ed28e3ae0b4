package pki

import (
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// kubeconfigName is what the cluster and the context are called.
const kubeconfigName = "kubembed"

// Kubeconfig returns the configuration with which user, by kp, reaches the API
// server at the URL server and trusts the certificates in caBundle. Everything
// is embedded: the file made from it with clientcmd.Write works on any machine,
// and is as secret as the key. Cluster and context are called "kubembed", the
// user is called user, or "kubembed" if that is empty.
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
