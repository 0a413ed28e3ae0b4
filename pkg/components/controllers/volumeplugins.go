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

// noDynamicPlugins leaves FlexVolume out: its prober creates a directory under
// /usr/libexec, watches it, and runs what is put there.
var noDynamicPlugins volume.DynamicPluginProber

// recyclers are the volume plugins that the binder has a use for: those that
// empty volumes, by a pod.
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

// recycleOnly hides that the plugin can create and delete volumes: for hostPath
// that is done in the file system of the process that the controller runs in,
// which here is the host's.
type recycleOnly struct{ volume.RecyclableVolumePlugin }

// loadRecycler reads the pod that empties a volume from file, if there is one.
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

// attachers are the volume plugins that attach.
func attachers() []volume.VolumePlugin {
	return slices.Concat(fc.ProbeVolumePlugins(), iscsi.ProbeVolumePlugins(), csi.ProbeVolumePlugins())
}

// allPlugins are those of persistent volumes.
func allPlugins() []volume.VolumePlugin {
	return slices.Concat(hostpath.ProbeVolumePlugins(volume.VolumeConfig{}), nfs.ProbeVolumePlugins(volume.VolumeConfig{}), attachers())
}

// csiPlugin is held by whoever makes the volume plugin of CSI, which writes
// variables of its package.
var csiPlugin sync.Mutex

// withCSI calls f, which makes volume plugins. Afterwards the variables of the CSI
// plugin, which only kubelets read, do not lead to a control plane any more.
func withCSI(f func() error) error {
	csiPlugin.Lock()
	defer csiPlugin.Unlock()
	err := f()
	for _, plugin := range csi.ProbeVolumePlugins() {
		_ = plugin.Init(nobody{})
	}
	return err
}

// nobody is what the CSI plugin asks of those who make it.
type nobody struct{ volume.VolumeHost }

func (nobody) GetKubeClient() kubernetes.Interface { return &kubernetes.Clientset{} }

func (nobody) GetNodeName() types.NodeName { return "" }
