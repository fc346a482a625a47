//! Package URLs: names of packages that every scanner reads. Pure.
//!
//! Format: <https://github.com/package-url/purl-spec>. Module paths of Go keep their case, although the type's
//! definition wants small letters: Go and the vulnerability databases tell them apart.

use std::fmt::Write;

/// `pkg:deb/debian/mount@2.41-5?arch=amd64&distro=debian-13&upstream=util-linux`. `upstream` is the source package
/// and its version, where they differ from the package's (a qualifier that Syft and Grype agree on).
pub(super) fn deb(vendor: &str, name: &str, version: &str, qualifiers: &[(&str, String)]) -> String {
    let mut purl = format!("pkg:deb/{}/{}@{}", encoded(vendor), encoded(name), encoded(version));
    for (index, (key, value)) in qualifiers.iter().enumerate() {
        let mark = if index == 0 { '?' } else { '&' };
        // Writing to a String does not fail.
        let _ = write!(purl, "{mark}{key}={}", encoded(value));
    }
    purl
}

/// `pkg:golang/k8s.io/api@v0.37.2`, from `k8s.io/api@v0.37.2`.
pub(super) fn golang(module: &str) -> String {
    let (path, version) = module.split_once('@').unwrap_or((module, ""));
    let path: Vec<String> = path.split('/').map(encoded).collect();
    format!("pkg:golang/{}@{}", path.join("/"), encoded(version))
}

/// `pkg:cargo/rustls@0.23.31`.
pub(super) fn cargo(name: &str, version: &str) -> String {
    format!("pkg:cargo/{}@{}", encoded(name), encoded(version))
}

/// Name and version in `NAME-VERSION`: the version begins behind the first hyphen that three numbers follow.
pub(super) fn crate_and_version(text: &str) -> (&str, &str) {
    let is_version = |rest: &str| {
        let number = |n: &str| n.parse::<u64>().is_ok();
        let mut parts = rest.splitn(3, '.');
        let patch = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
        parts.next().is_some_and(number) && parts.next().is_some_and(number) && parts.next().is_some_and(patch)
    };
    let mut cuts = text.match_indices('-').map(|(at, _)| (&text[..at], &text[at + 1..]));
    cuts.find(|(_, rest)| is_version(rest)).unwrap_or((text, ""))
}

/// `pkg:oci/coredns@sha256:ab...?arch=amd64&repository_url=registry.k8s.io/coredns/coredns&tag=v1.14.7`, with the
/// digest's colon encoded, as the type's definition has it.
pub(super) fn oci(repository: &str, tag: &str, digest: &str, arch: &str) -> String {
    let name = repository.rsplit('/').next().unwrap_or(repository).to_lowercase();
    let digest = digest.replace(':', "%3A");
    let url: Vec<String> = repository.split('/').map(encoded).collect();
    format!(
        "pkg:oci/{}@{digest}?arch={}&repository_url={}&tag={}",
        encoded(&name),
        encoded(arch),
        url.join("/"),
        encoded(tag)
    )
}

/// Percent-encoded but for letters, digits, `.-_~` and the colon.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => out.push(char::from(byte)),
            // Writing to a String does not fail.
            other => drop(write!(out, "%{other:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_plain_is_encoded() {
        let qualifiers = [("arch", "amd64".to_owned()), ("upstream", "gcc@1:2".to_owned())];
        assert_eq!(
            deb("debian", "libstdc++6", "1:14.2+x~rc1", &qualifiers),
            "pkg:deb/debian/libstdc%2B%2B6@1:14.2%2Bx~rc1?arch=amd64&upstream=gcc%401:2"
        );
        assert_eq!(
            golang("github.com/Azure/go-ansiterm@v2.5.0+incompatible"),
            "pkg:golang/github.com/Azure/go-ansiterm@v2.5.0%2Bincompatible"
        );
        assert_eq!(cargo("ring", "1.0.0+x"), "pkg:cargo/ring@1.0.0%2Bx");
        assert_eq!(
            oci("localhost:5000/a/Web", "1", "sha256:ab", "arm64"),
            "pkg:oci/web@sha256%3Aab?arch=arm64&repository_url=localhost:5000/a/Web&tag=1"
        );
    }

    #[test]
    fn a_crates_version_begins_with_three_numbers() {
        for (text, name, version) in [
            ("adler2-2.0.1", "adler2", "2.0.1"),
            ("libblkid-rs-0.4.1", "libblkid-rs", "0.4.1"),
            ("wasi-0.11.1+wasi-snapshot-preview1", "wasi", "0.11.1+wasi-snapshot-preview1"),
            ("x-86-64-1.0.0-rc.1", "x-86-64", "1.0.0-rc.1"),
        ] {
            assert_eq!(crate_and_version(text), (name, version));
        }
    }
}
