// Package baked makes the images that lie in the verified root known to
// containerd, before the CRI service looks.
//
// The root has an OCI image layout whose layers are folders, by the chain ID of
// the diff IDs in the image's configuration. Of an image that was composed the
// manifest's layer blobs only name them; of one that came ready they are left
// out, as containerd leaves them out with discard_unpacked_layers.
// Nothing is unpacked and nothing large is copied. A committed snapshot of the
// overlayfs snapshotter is a link to the folder, so that a container's lower
// directory is read from the root, where dm-verity checks it.
//
// The records carry a label. At each start those of images that the root no
// longer has are removed, and those it has are made, unless all is as it was;
// then nothing is written.
package baked

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/metadata/boltutil"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
)

const (
	// ID is the plugin's name; its type makes every client of containerd's
	// services, and so the CRI service, come after it.
	ID = "bedplate-images-service"
	// Folder is where the layout lies in the root.
	Folder = "/usr/share/bedplate/images"

	namespace   = "k8s.io"
	snapshotter = "overlayfs"
	// ownLayer is the media type of a layer blob that only names a folder.
	ownLayer = "application/vnd.bedplate.image.layer.v1+json"
	// Label is on every record that is made here.
	label = "bedplate/baked"
	// What the CRI service writes on images it manages, and on those that the
	// kubelet must not remove.
	managed, pinned = "io.cri-containerd.image", "io.cri-containerd.pinned"
	// Where the snapshotter, so configured, says what folder a snapshot is.
	upperdirLabel = "containerd.io/snapshot/overlay.upperdir"
)

func init() {
	registry.Register(&plugin.Registration{
		Type:     plugins.ServicePlugin,
		ID:       ID,
		Requires: []plugin.Type{plugins.MetadataPlugin},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			db, err := ic.GetSingle(plugins.MetadataPlugin)
			if err != nil {
				return nil, err
			}
			begin := time.Now()
			wrote, err := sync(ic.Context, db.(*metadata.DB), Folder)
			if err != nil {
				return nil, fmt.Errorf("the images of the root can't be made known: %w", err)
			}
			log.G(ic.Context).WithField("wrote", wrote).WithField("d", time.Since(begin)).Info("images of the root are known")
			return nil, nil
		},
	})
}

// image is one of the layout, under all its names.
type image struct {
	target   ocispec.Descriptor
	manifest ocispec.Manifest
	diffIDs  []digest.Digest
	names    []string
}

// sync makes containerd's records those of the layout in a folder. It tells
// whether anything had to be written.
func sync(ctx context.Context, db *metadata.DB, folder string) (bool, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	all, err := read(folder)
	if err != nil {
		return false, err
	}
	store := metadata.NewImageStore(db)
	known, err := store.List(ctx)
	if err != nil {
		return false, err
	}
	wanted := map[string]digest.Digest{}
	for _, i := range all {
		for _, name := range i.names {
			wanted[name] = i.target.Digest
		}
	}
	records := map[string]images.Image{}
	var gone []string
	for _, record := range known {
		records[record.Name] = record
		if _, ours := record.Labels[label]; ours && wanted[record.Name] == "" {
			gone = append(gone, record.Name)
		}
	}
	missing := slices.DeleteFunc(all, func(i image) bool { return present(ctx, db, folder, i, records) })
	lost, err := lost(ctx, db.Snapshotter(snapshotter))
	if err != nil {
		return false, err
	}
	for _, record := range known {
		if wanted[record.Name] == "" && !slices.Contains(gone, record.Name) && stands(ctx, db, record, lost) {
			gone = append(gone, record.Name)
		}
	}
	if len(gone)+len(missing)+len(lost) == 0 {
		return false, nil
	}
	// One transaction: each costs a wait for the disk, and garbage is not
	// collected while it goes on.
	return true, db.Update(func(tx *bolt.Tx) error {
		ctx := boltutil.WithTransaction(ctx, tx)
		for _, name := range gone {
			if err := store.Delete(ctx, name); err != nil {
				return err
			}
		}
		for _, name := range lost {
			if err := db.Snapshotter(snapshotter).Remove(ctx, name); err != nil {
				return err
			}
		}
		for _, i := range missing {
			if err := add(ctx, db, store, folder, i, records); err != nil {
				return fmt.Errorf("%s: %w", strings.Join(i.names, ", "), err)
			}
		}
		return nil
	})
}

// lost are the snapshots whose folder the root has no longer, and all on top of
// them, these first. An image of a registry stands on such a snapshot if it has
// a layer in common with one that came ready.
func lost(ctx context.Context, sn snapshots.Snapshotter) ([]string, error) {
	children := map[string][]string{}
	var names, bottom []string
	if err := sn.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		children[info.Parent] = append(children[info.Parent], info.Name)
		upper := info.Labels[upperdirLabel]
		if _, err := os.Readlink(upper); err != nil {
			return nil
		}
		if _, err := os.Stat(upper); errors.Is(err, os.ErrNotExist) {
			bottom = append(bottom, info.Name)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	var take func(name string)
	take = func(name string) {
		for _, child := range children[name] {
			take(child)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range bottom {
		take(name)
	}
	return names, nil
}

// stands tells whether an image stands on a lost snapshot. Its record has to go
// with it: containerd did not fetch what was there, so that it could not unpack
// it again, and the kubelet would not have an image pulled that is known.
func stands(ctx context.Context, db *metadata.DB, record images.Image, lost []string) bool {
	if len(lost) == 0 {
		return false
	}
	ids, err := record.RootFS(ctx, db.ContentStore(), platforms.Default())
	if err != nil {
		return false
	}
	return slices.ContainsFunc(identity.ChainIDs(slices.Clone(ids)), func(id digest.Digest) bool {
		return slices.Contains(lost, id.String())
	})
}

// read reads the layout. A root without one has no images.
func read(folder string) ([]image, error) {
	var index ocispec.Index
	if err := load(filepath.Join(folder, "index.json"), &index); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	var all []image
	places := map[digest.Digest]int{}
	for _, entry := range index.Manifests {
		name := entry.Annotations[images.AnnotationImageName]
		place, seen := places[entry.Digest]
		if !seen {
			i := image{target: ocispec.Descriptor{MediaType: entry.MediaType, Digest: entry.Digest, Size: entry.Size}}
			if err := load(blob(folder, entry.Digest), &i.manifest); err != nil {
				return nil, err
			}
			var config ocispec.Image
			if err := load(blob(folder, i.manifest.Config.Digest), &config); err != nil {
				return nil, err
			}
			i.diffIDs = config.RootFS.DiffIDs
			// By this name the CRI service knows an image's ID.
			i.names = []string{i.manifest.Config.Digest.String()}
			place = len(all)
			places[entry.Digest] = place
			all = append(all, i)
		}
		all[place].names = append(all[place].names, name)
	}
	return all, nil
}

func load(path string, value any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, value); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func blob(folder string, d digest.Digest) string {
	return filepath.Join(folder, "blobs", d.Algorithm().String(), d.Encoded())
}

// present tells whether an image has all its records, content and snapshots.
func present(ctx context.Context, db *metadata.DB, folder string, i image, records map[string]images.Image) bool {
	for _, name := range i.names {
		record, ok := records[name]
		if !ok || record.Target.Digest != i.target.Digest || record.Labels[label] == "" || record.Labels[pinned] == "" {
			return false
		}
	}
	for _, desc := range i.blobs() {
		if _, err := db.ContentStore().Info(ctx, desc.Digest); err != nil {
			return false
		}
	}
	for n := range i.diffIDs {
		upper, err := upperdir(ctx, db.Snapshotter(snapshotter), i.chain(n+1))
		if err != nil {
			return false
		}
		if target, err := os.Readlink(upper); err != nil || target != i.layer(folder, n) {
			return false
		}
	}
	return true
}

// blobs are all of an image's that the layout has, what refers to others last.
func (i image) blobs() []ocispec.Descriptor {
	return append(i.layerBlobs(), i.manifest.Config, i.target)
}

// layerBlobs are those of composed layers.
func (i image) layerBlobs() []ocispec.Descriptor {
	return slices.DeleteFunc(slices.Clone(i.manifest.Layers), func(d ocispec.Descriptor) bool { return d.MediaType != ownLayer })
}

// chain is the name of the snapshot of the first n layers.
func (i image) chain(n int) string {
	if n == 0 {
		return ""
	}
	return identity.ChainID(i.diffIDs[:n]).String()
}

// layer is the folder of a layer.
func (i image) layer(folder string, n int) string {
	return filepath.Join(folder, "layers", identity.ChainID(i.diffIDs[:n+1]).Encoded())
}

func add(ctx context.Context, db *metadata.DB, store images.Store, folder string, i image, records map[string]images.Image) error {
	for n := range i.diffIDs {
		if err := snapshot(ctx, db.Snapshotter(snapshotter), i.chain(n), i.chain(n+1), i.layer(folder, n)); err != nil {
			return err
		}
	}
	for _, desc := range i.blobs() {
		if err := write(ctx, db.ContentStore(), blob(folder, desc.Digest), desc, i.references(desc)); err != nil {
			return err
		}
	}
	for _, name := range i.names {
		record := images.Image{
			Name:   name,
			Target: i.target,
			Labels: map[string]string{label: "true", managed: "managed", pinned: "pinned"},
		}
		put := store.Create
		if _, there := records[name]; there {
			put = func(ctx context.Context, record images.Image) (images.Image, error) { return store.Update(ctx, record) }
		}
		if _, err := put(ctx, record); err != nil {
			return err
		}
	}
	return nil
}

// references are the labels by which containerd's garbage collection finds
// what a blob needs.
func (i image) references(desc ocispec.Descriptor) map[string]string {
	labels := map[string]string{}
	switch desc.Digest {
	case i.target.Digest:
		labels["containerd.io/gc.ref.content.config"] = i.manifest.Config.Digest.String()
		for n, layer := range i.layerBlobs() {
			labels[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", n)] = layer.Digest.String()
		}
	case i.manifest.Config.Digest:
		labels["containerd.io/gc.ref.snapshot."+snapshotter] = i.chain(len(i.diffIDs))
	}
	return labels
}

// write copies a small blob of the layout into containerd's store.
func write(ctx context.Context, store content.Store, path string, desc ocispec.Descriptor, labels map[string]string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := content.WriteBlob(ctx, store, "bedplate-"+desc.Digest.String(), bytes.NewReader(text), desc, content.WithLabels(labels)); err != nil {
		return err
	}
	if len(labels) == 0 {
		return nil
	}
	// It may have been there, without them.
	var fields []string
	for name := range labels {
		fields = append(fields, "labels."+name)
	}
	_, err = store.Update(ctx, content.Info{Digest: desc.Digest, Labels: labels}, fields...)
	return err
}

// snapshot makes a committed snapshot of a folder of the root on top of
// another snapshot.
func snapshot(ctx context.Context, sn snapshots.Snapshotter, parent, name, folder string) error {
	if _, err := os.Stat(folder); err != nil {
		return err
	}
	if _, err := sn.Stat(ctx, name); err != nil {
		key := "bedplate-" + name
		if _, err := sn.Prepare(ctx, key, parent); err != nil {
			return err
		}
		if err := sn.Commit(ctx, name, key); err != nil {
			return err
		}
	}
	upper, err := upperdir(ctx, sn, name)
	if err != nil {
		return err
	}
	// The snapshotter's own folder for it, empty; or, after a power cut, none.
	if err := os.RemoveAll(upper); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(upper), 0700); err != nil {
		return err
	}
	return os.Symlink(folder, upper)
}

// upperdir is where the snapshotter has the files of a snapshot.
func upperdir(ctx context.Context, sn snapshots.Snapshotter, name string) (string, error) {
	info, err := sn.Stat(ctx, name)
	if err != nil {
		return "", err
	}
	upper := info.Labels[upperdirLabel]
	if upper == "" {
		return "", fmt.Errorf("%s does not tell where its snapshots lie: upperdir_label is not set", snapshotter)
	}
	return upper, nil
}
