package baked

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
)

// open opens a containerd's stores in a folder, as the daemon does.
func open(t *testing.T, folder string) *metadata.DB {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cs, err := local.NewStore(filepath.Join(folder, "content"))
	must(err)
	sn, err := overlay.NewSnapshotter(filepath.Join(folder, "overlayfs"), overlay.WithUpperdirLabel)
	must(err)
	t.Cleanup(func() { sn.Close() })
	db, err := bolt.Open(filepath.Join(folder, "meta.db"), 0600, nil)
	must(err)
	t.Cleanup(func() { db.Close() })
	mdb := metadata.NewDB(db, cs, map[string]snapshots.Snapshotter{snapshotter: sn})
	must(mdb.Init(context.Background()))
	return mdb
}

// lay lays an image of these layers under these names into a layout.
func lay(t *testing.T, folder string, names []string, layers ...string) {
	t.Helper()
	layAs(t, folder, names, false, layers...)
}

// layReady lays an image that came ready: of its layers only the folders are there.
func layReady(t *testing.T, folder string, names []string, layers ...string) {
	t.Helper()
	layAs(t, folder, names, true, layers...)
}

func layAs(t *testing.T, folder string, names []string, ready bool, layers ...string) {
	t.Helper()
	put := func(path string, value any) ocispec.Descriptor {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		d := digest.FromBytes(text)
		if path == "" {
			path = filepath.Join("blobs", "sha256", d.Encoded())
		}
		path = filepath.Join(folder, path)
		if err := os.MkdirAll(filepath.Dir(path), 0755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0644); err != nil {
			t.Fatal(err)
		}
		return ocispec.Descriptor{Digest: d, Size: int64(len(text))}
	}
	config := ocispec.Image{Platform: platforms.DefaultSpec(), RootFS: ocispec.RootFS{Type: "layers"}}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, layer := range layers {
		id := digest.FromString(layer)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, id)
		place := filepath.Join(folder, "layers", identity.ChainID(config.RootFS.DiffIDs).Encoded())
		if err := os.MkdirAll(place, 0755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(place, layer), nil, 0644); err != nil {
			t.Fatal(err)
		}
		desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString("packed " + layer), Size: 7}
		if !ready {
			desc = put("", map[string]string{"folder": "layers/" + id.Encoded()})
			desc.MediaType = ownLayer
		}
		manifest.Layers = append(manifest.Layers, desc)
	}
	manifest.Config = put("", config)
	manifest.Config.MediaType = ocispec.MediaTypeImageConfig
	entry := put("", manifest)
	entry.MediaType = ocispec.MediaTypeImageManifest
	var index ocispec.Index
	if err := load(filepath.Join(folder, "index.json"), &index); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, name := range names {
		entry.Annotations = map[string]string{images.AnnotationImageName: name}
		index.Manifests = append(index.Manifests, entry)
	}
	put("index.json", index)
}

func records(t *testing.T, ctx context.Context, db *metadata.DB) []string {
	t.Helper()
	all, err := metadata.NewImageStore(db).List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, image := range all {
		names = append(names, image.Name)
		ok, required, present, missing, err := images.Check(ctx, db.ContentStore(), image.Target, platforms.Default())
		if err != nil || !ok || len(missing) > 0 || len(required) != len(present) {
			t.Fatalf("%s is not whole: %v %v", image.Name, missing, err)
		}
	}
	return names
}

func count(t *testing.T, ctx context.Context, db *metadata.DB) (blobs, layers int) {
	t.Helper()
	if err := db.ContentStore().Walk(ctx, func(content.Info) error { blobs++; return nil }); err != nil {
		t.Fatal(err)
	}
	sn := db.Snapshotter(snapshotter)
	if err := sn.Walk(ctx, func(context.Context, snapshots.Info) error { layers++; return nil }); err != nil {
		t.Fatal(err)
	}
	return blobs, layers
}

func synced(t *testing.T, db *metadata.DB, folder string, wants bool) {
	t.Helper()
	wrote, err := sync(context.Background(), db, folder)
	if err != nil {
		t.Fatal(err)
	}
	if wrote != wants {
		t.Fatalf("wrote: %v", wrote)
	}
}

func collect(t *testing.T, db *metadata.DB) {
	t.Helper()
	if _, err := db.GarbageCollect(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestImagesOfTheRootComeStayAndGo(t *testing.T) {
	ctx := namespaces.WithNamespace(context.Background(), namespace)
	folder := t.TempDir()
	db := open(t, filepath.Join(folder, "containerd"))
	first := filepath.Join(folder, "first")
	lay(t, first, []string{"a.example/pause:1", "a.example/pause:2"}, "base", "pause")
	lay(t, first, []string{"a.example/dns:1"}, "base", "dns")

	synced(t, db, first, true)
	names := records(t, ctx, db)
	if len(names) != 5 || !slices.Contains(names, "a.example/pause:2") {
		t.Fatal(names)
	}
	// Nothing more to do, and nothing is collected.
	collect(t, db)
	synced(t, db, first, false)
	if blobs, layers := count(t, ctx, db); blobs != 7 || layers != 3 {
		t.Fatal(blobs, layers)
	}

	// A container's lower directories are those of the root.
	all, err := read(first)
	if err != nil {
		t.Fatal(err)
	}
	sn := db.Snapshotter(snapshotter)
	top := all[0].chain(2)
	if _, err := sn.Prepare(ctx, "container", top); err != nil {
		t.Fatal(err)
	}
	upper, err := upperdir(ctx, sn, top)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(upper, "pause")); err != nil {
		t.Fatal(err)
	}
	if err := sn.Remove(ctx, "container"); err != nil {
		t.Fatal(err)
	}

	// What a power cut or a hand undid is repaired.
	if err := os.RemoveAll(filepath.Dir(upper)); err != nil {
		t.Fatal(err)
	}
	synced(t, db, first, true)
	if _, err := os.Stat(filepath.Join(upper, "pause")); err != nil {
		t.Fatal(err)
	}
	store := metadata.NewImageStore(db)
	if err := store.Delete(ctx, "a.example/dns:1"); err != nil {
		t.Fatal(err)
	}
	synced(t, db, first, true)
	synced(t, db, first, false)

	// Another root: its images are there, the former's are not, and somebody's own stays.
	own := images.Image{Name: "b.example/own:1", Target: all[0].target}
	if _, err := store.Create(ctx, own); err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(folder, "second")
	lay(t, second, []string{"a.example/pause:1"}, "base", "pause of another version")
	synced(t, db, second, true)
	if err := store.Delete(ctx, own.Name); err != nil {
		t.Fatal(err)
	}
	collect(t, db)
	synced(t, db, second, false)
	if names := records(t, ctx, db); len(names) != 2 || !slices.Contains(names, "a.example/pause:1") {
		t.Fatal(names)
	}
	if blobs, layers := count(t, ctx, db); blobs != 4 || layers != 2 {
		t.Fatal(blobs, layers)
	}
	// The layer that both have lies in the new root now.
	base, err := upperdir(ctx, sn, all[0].chain(1))
	if err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(base); err != nil || filepath.Dir(filepath.Dir(target)) != second {
		t.Fatal(target, err)
	}

	// A root without images.
	synced(t, db, filepath.Join(folder, "none"), true)
	collect(t, db)
	if blobs, layers := count(t, ctx, db); blobs != 0 || layers != 0 || len(records(t, ctx, db)) != 0 {
		t.Fatal(blobs, layers)
	}
}

func TestReadyImagesKeepTheirDigestsAndLeaveNothingThatDangles(t *testing.T) {
	ctx := namespaces.WithNamespace(context.Background(), namespace)
	folder := t.TempDir()
	db := open(t, filepath.Join(folder, "containerd"))
	root := filepath.Join(folder, "root")
	layReady(t, root, []string{"a.example/web:1"}, "base", "web")
	synced(t, db, root, true)
	collect(t, db)
	synced(t, db, root, false)
	// Manifest and configuration; two snapshots.
	if blobs, layers := count(t, ctx, db); blobs != 2 || layers != 2 {
		t.Fatal(blobs, layers)
	}
	store := metadata.NewImageStore(db)
	record, err := store.Get(ctx, "a.example/web:1")
	if err != nil {
		t.Fatal(err)
	}
	all, err := read(root)
	if err != nil {
		t.Fatal(err)
	}
	if record.Target.Digest != all[0].target.Digest {
		t.Fatal(record.Target)
	}
	// What the CRI service asks before it takes an image for one that is there.
	if ok, _, _, _, err := images.Check(ctx, db.ContentStore(), record.Target, platforms.Default()); err != nil || !ok {
		t.Fatal(ok, err)
	}

	// An image of a registry, pulled on top of the base that the root has, and one that has nothing of it.
	pulled := filepath.Join(folder, "pulled")
	lay(t, pulled, []string{"b.example/shares:1"}, "base", "own")
	lay(t, pulled, []string{"b.example/alone:1"}, "other")
	foreign, err := read(pulled)
	if err != nil {
		t.Fatal(err)
	}
	sn := db.Snapshotter(snapshotter)
	for _, i := range foreign {
		for _, desc := range i.blobs() {
			if err := write(ctx, db.ContentStore(), blob(pulled, desc.Digest), desc, i.references(desc)); err != nil {
				t.Fatal(err)
			}
		}
		for n := range i.diffIDs {
			if _, err := sn.Stat(ctx, i.chain(n+1)); err == nil {
				continue
			}
			if _, err := sn.Prepare(ctx, "unpack", i.chain(n)); err != nil {
				t.Fatal(err)
			}
			if err := sn.Commit(ctx, i.chain(n+1), "unpack"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := store.Create(ctx, images.Image{Name: i.names[1], Target: i.target}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := sn.Prepare(ctx, "container", foreign[0].chain(2)); err != nil {
		t.Fatal(err)
	}
	synced(t, db, root, false)

	// The next root has another image: what stood on the former's base goes with it, to be pulled again.
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	layReady(t, root, []string{"a.example/web:1"}, "another base", "web")
	synced(t, db, root, true)
	collect(t, db)
	synced(t, db, root, false)
	names := []string{}
	known, err := store.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range known {
		names = append(names, record.Name)
	}
	if len(names) != 3 || !slices.Contains(names, "b.example/alone:1") || !slices.Contains(names, "a.example/web:1") {
		t.Fatal(names)
	}
	if _, layers := count(t, ctx, db); layers != 3 {
		t.Fatal(layers)
	}
}
