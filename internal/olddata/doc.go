// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package olddata has DataDirs of earlier releases, for tests that a later release
// opens and upgrades them without loss.
//
// testdata has one directory for each release, named after its Kubernetes version:
//
//	stopped.tar.gz    a DataDir whose control plane was stopped, and a snapshot of it
//	encrypted.tar.gz  a DataDir with encryption at rest, whose control plane was killed
//
// Each archive also has record.json (type [Record]): every key in etcd, every object that
// the API served, the encryption key, and the credentials that the release issued.
//
// Before the project moves to the next Kubernetes minor version, write the DataDirs of
// the last release with the code of that release:
//
//	go build -o /tmp/write ./internal/olddata/write
//	unshare --net --uts sh -c 'hostname olddata && ip link set lo up &&
//		ip link add eth0 type veth peer name eth1 &&
//		ip addr add 192.0.2.1/24 dev eth0 &&
//		ip link set eth0 up && ip link set eth1 up &&
//		ip route add default via 192.0.2.254 &&
//		/tmp/write -out internal/olddata/testdata'
//
// The namespaces keep the name and the addresses of the machine out of certificates.
// The archives of v1.36.3 come from the last commit before the move to Kubernetes 1.37.
// write/objects.yaml and write/objects.go have the objects. They use API versions that
// the next release must still serve.
//
// The archives do not expire soon: CAs are valid for ten years, and the credentials in
// the record as long as the CAs. The start renews serving certificates that are due.
// Ports and addresses in them are on loopback.
package olddata
