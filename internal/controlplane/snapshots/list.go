// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package snapshots

import (
	"os"
	"slices"
)

// List returns the finished snapshots in dir that are not empty, the newest first: by
// number within a cluster, by time between clusters. Snapshots of earlier versions are
// last.
func List(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	clusters := map[string][]File{}
	for _, file := range slices.Backward(among(entries, dir, "").finished) {
		if file.Size > 0 {
			clusters[file.Cluster] = append(clusters[file.Cluster], file)
		}
	}
	unnamed := clusters[""]
	delete(clusters, "")
	var all []File
	for len(clusters) > 0 {
		var newest []File
		for _, candidate := range clusters {
			if newest == nil || newer(candidate[0], newest[0]) {
				newest = candidate
			}
		}
		all = append(all, newest[0])
		if clusters[newest[0].Cluster] = newest[1:]; len(newest) == 1 {
			delete(clusters, newest[0].Cluster)
		}
	}
	return append(all, unnamed...), nil
}

// newer orders the newest snapshots of two clusters.
func newer(a, b File) bool {
	if order := a.Time.Compare(b.Time); order != 0 {
		return order > 0
	}
	return a.Cluster < b.Cluster
}
