//! Rules for container images.

use super::Checks;
use crate::recipe::ContainerImage;

impl Checks<'_> {
    /// What is wrong with the image at this place of the list, after those `before`.
    pub(super) fn container_image(&mut self, i: usize, image: &ContainerImage, before: &[ContainerImage]) {
        let at = i.to_string();
        if image.is_ready() {
            self.ready_image(&at, image);
        } else if image.files.is_empty() || image.sha256.is_some() || image.digest.is_some() {
            self.fault(
                "BP-R017",
                &["container-image", &at],
                "a container image has no source".into(),
                "it is made of files of the root, or it is taken ready from a url or a path",
                "give it files = { \"/program\" = \"/usr/bin/program\" }, or path and sha256",
            );
        }
        if image.names.is_empty() {
            self.fault(
                "BP-R017",
                &["container-image", &at],
                "a container image has no name".into(),
                "pods find it by its name",
                "give it names = [\"registry.example.org/name:1\"]",
            );
        }
        for (n, name) in image.names.iter().enumerate() {
            let path = ["container-image", &at, "names", &n.to_string()];
            if !is_full_name(name) {
                self.fault(
                    "BP-R017",
                    &path,
                    format!("{name:?} is no image's full name"),
                    "containerd knows images by registry, path and tag, and fills in nothing",
                    "write it like \"registry.example.org/name:1\"",
                );
            }
            if before.iter().any(|other| other.names.contains(name)) {
                self.fault(
                    "BP-R017",
                    &path,
                    format!("two container images are called {name:?}"),
                    "a name leads to one image",
                    "choose another name for one of them",
                );
            }
        }
        for (path, from) in &image.files {
            for place in [path, from] {
                if !place.starts_with('/') || place.ends_with('/') || place.split('/').any(|p| p == "..") {
                    self.fault(
                        "BP-R017",
                        &["container-image", &at, "files", path],
                        format!("{place:?} is no file's place"),
                        "left of = is a place in the container, right of it one in the root, both absolute",
                        "write it like \"/program\" = \"/usr/bin/program\"",
                    );
                }
            }
        }
    }

    fn ready_image(&mut self, at: &str, image: &ContainerImage) {
        let ContainerImage { names: _, files, url, path, sha256, digest, entrypoint, arguments, environment, user } =
            image;
        let mut fault = |what: &str, why: &str, mend: &str| {
            self.fault("BP-R017", &["container-image", at], what.into(), why, mend);
        };
        if url.is_some() && path.is_some() {
            fault(
                "a container image has two sources",
                "an archive comes from a url or from a path",
                "give one of them",
            );
        }
        if sha256.is_none() && (url.is_some() || digest.is_none()) {
            fault(
                "a container image has no digest",
                "an archive is checked by the sha256 of the file, a folder by the digest of the image in it",
                "give sha256 for a file, digest = \"sha256:...\" for a folder",
            );
        }
        let said = [entrypoint.is_empty(), arguments.is_empty(), environment.is_empty(), user.is_empty()];
        if !files.is_empty() || said.contains(&false) {
            fault(
                "a container image is taken ready and composed at once",
                "what comes from a url or a path brings its own files, and its own configuration",
                "leave out files, entrypoint, arguments, environment and user",
            );
        }
        if let Some(path) = path {
            self.there(&["container-image", at, "path"], path, "the container image");
        }
    }
}

/// Registry, path and tag (OCI Distribution Specification 1.1, "Pulling manifests"): the registry is an address, or
/// `localhost`.
fn is_full_name(name: &str) -> bool {
    let Some((registry, rest)) = name.split_once('/') else { return false };
    let Some((path, tag)) = rest.split_once(':') else { return false };
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.bytes().all(|b| lower(b) || b"._-".contains(&b))
    };
    (registry == "localhost" || registry.contains(['.', ':']))
        && registry.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-[]".contains(&b))
        && path.split('/').all(part)
        && !tag.is_empty()
        && tag.len() <= 128
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}
