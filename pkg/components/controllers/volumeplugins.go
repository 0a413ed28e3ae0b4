// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	persistentvolumeconfig "k8s.io/kubernetes/pkg/controller/volume/persistentvolume/config"
	"k8s.io/kubernetes/pkg/volume"
	"k8s.io/kubernetes/pkg/volume/csi"
	"k8s.io/kubernetes/pkg/volume/fc"
	"k8s.io/kubernetes/pkg/volume/hostpath"
	"k8s.io/kubernetes/pkg/volume/iscsi"
	"k8s.io/kubernetes/pkg/volume/nfs"
	volumeutil "k8s.io/kubernetes/pkg/volume/util"
)

// noDynamicPlugins disables FlexVolume: its prober creates a directory under
// /usr/libexec, watches it, and runs the programs in it.
var noDynamicPlugins volume.DynamicPluginProber

// recyclers returns the volume plugins for the binder, which scrub volumes with a pod.
func recyclers(c persistentvolumeconfig.PersistentVolumeRecyclerConfiguration) ([]volume.VolumePlugin, error) {
	hostPathConfig := volume.VolumeConfig{
		RecyclerMinimumTimeout:   int(c.MinimumTimeoutHostPath),
		RecyclerTimeoutIncrement: int(c.IncrementTimeoutHostPath),
		RecyclerPodTemplate:      volume.NewPersistentVolumeRecyclerPodTemplate(),
	}
	nfsConfig := volume.VolumeConfig{
		RecyclerMinimumTimeout:   int(c.MinimumTimeoutNFS),
		RecyclerTimeoutIncrement: int(c.IncrementTimeoutNFS),
		RecyclerPodTemplate:      volume.NewPersistentVolumeRecyclerPodTemplate(),
	}
	for _, r := range []struct {
		file   string
		config *volume.VolumeConfig
	}{{c.PodTemplateFilePathHostPath, &hostPathConfig}, {c.PodTemplateFilePathNFS, &nfsConfig}} {
		if err := loadRecycler(r.file, r.config); err != nil {
			return nil, fmt.Errorf("Config.Customize: PersistentVolumeRecyclerConfiguration: %w", err)
		}
	}
	plugins := nfs.ProbeVolumePlugins(nfsConfig)
	for _, plugin := range hostpath.ProbeVolumePlugins(hostPathConfig) {
		if recycler, ok := plugin.(volume.RecyclableVolumePlugin); ok {
			plugins = append(plugins, recycleOnly{recycler})
		}
	}
	return plugins, nil
}

// recycleOnly hides the methods of a plugin that create and delete volumes. For hostPath
// they work in the file system of the process, which is the host.
type recycleOnly struct{ volume.RecyclableVolumePlugin }

// loadRecycler reads the template of the recycler pod from file, if it is not empty.
func loadRecycler(file string, config *volume.VolumeConfig) error {
	if file == "" {
		return nil
	}
	pod, err := volumeutil.LoadPodFromFile(file)
	if err != nil {
		return err
	}
	if err := volume.ValidateRecyclerPodTemplate(pod); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	config.RecyclerPodTemplate = pod
	return nil
}

// attachers returns the volume plugins that attach volumes.
func attachers() []volume.VolumePlugin {
	return slices.Concat(fc.ProbeVolumePlugins(), iscsi.ProbeVolumePlugins(), csi.ProbeVolumePlugins())
}

// allPlugins returns the plugins of persistent volumes.
func allPlugins() []volume.VolumePlugin {
	return slices.Concat(hostpath.ProbeVolumePlugins(volume.VolumeConfig{}), nfs.ProbeVolumePlugins(volume.VolumeConfig{}), attachers())
}

// csiPlugin guards the creation of the CSI volume plugin, which writes variables of its
// package.
var csiPlugin sync.Mutex

// withCSI calls f, which creates volume plugins. It then resets the variables of the CSI
// plugin, which only kubelets read, so that they do not refer to a control plane.
func withCSI(f func() error) error {
	csiPlugin.Lock()
	defer csiPlugin.Unlock()
	err := f()
	for _, plugin := range csi.ProbeVolumePlugins() {
		_ = plugin.Init(emptyVolumeHost{})
	}
	return err
}

// emptyVolumeHost is a volume host for the CSI plugin without a control plane.
type emptyVolumeHost struct{ volume.VolumeHost }

func (emptyVolumeHost) GetKubeClient() kubernetes.Interface { return &kubernetes.Clientset{} }

func (emptyVolumeHost) GetNodeName() types.NodeName { return "" }
