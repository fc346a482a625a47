//! Go modules as files: what a module proxy serves of each, and whether it is what `go.sum` says.
//!
//! A module is a zip archive (PKWARE's APPNOTE), of which nothing is unpacked onto the disk here. Digests are those of
//! golang.org/x/mod/sumdb/dirhash, see [`super::go_sum`].

use super::go_sum::{self, line};
use crate::digest::Sha256;
use anyhow::{Context, Result, bail};
use std::io::Read;

/// The digest of a module's zip archive.
///
/// # Errors
/// When it is none, or is damaged.
pub(super) fn hash_zip(bytes: &[u8]) -> Result<String> {
    let mut lines = Vec::new();
    for (name, content) in members(bytes)? {
        lines.push((name.to_owned(), line(&Sha256::of(&content), name)));
    }
    lines.sort();
    Ok(go_sum::hash(&lines.into_iter().map(|(_, line)| line).collect::<String>()))
}

/// The digest of a module's `go.mod`.
pub(super) fn hash_mod(bytes: &[u8]) -> String {
    go_sum::hash(&line(&Sha256::of(bytes), "go.mod"))
}

fn members(bytes: &[u8]) -> Result<Vec<(&str, Vec<u8>)>> {
    let u16_at = |at: usize| bytes.get(at..at + 2).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])));
    let u32_at = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
    let cut = "it is cut off";
    // The end record is 22 bytes and a comment.
    let last = bytes.len().saturating_sub(22);
    let end = (last.saturating_sub(0xffff)..=last).rev().find(|at| bytes[*at..].starts_with(b"PK\x05\x06"));
    let end = end.context("it is no zip archive")?;
    let (count, mut at) = (u16_at(end + 10).context(cut)?, u32_at(end + 16).context(cut)?);
    if count == 0xffff || at == 0xffff_ffff {
        bail!("it is larger than a Go module may be");
    }
    let mut found = Vec::with_capacity(count);
    for _ in 0..count {
        if !bytes.get(at..).is_some_and(|b| b.starts_with(b"PK\x01\x02")) {
            bail!("its directory is damaged");
        }
        let field = |offset: usize| u16_at(at + offset).context(cut);
        let (method, name_size) = (field(10)?, field(28)?);
        let (packed, size) = (u32_at(at + 20).context(cut)?, u32_at(at + 24).context(cut)?);
        let local = u32_at(at + 42).context(cut)?;
        let name = bytes.get(at + 46..at + 46 + name_size).context(cut)?;
        let name = std::str::from_utf8(name).context("it has a name that is not UTF-8")?;
        let data = local + 30 + u16_at(local + 26).context(cut)? + u16_at(local + 28).context(cut)?;
        let data = bytes.get(data..data + packed).context(cut)?;
        let mut content = Vec::with_capacity(size.min(1 << 20));
        match method {
            0 => content.extend(data),
            8 => {
                let unpacked = flate2::read::DeflateDecoder::new(data).take(size as u64 + 1).read_to_end(&mut content);
                unpacked.with_context(|| format!("{name} in it is damaged"))?;
            }
            _ => bail!("{name} in it is packed in an unknown way"),
        }
        if content.len() != size {
            bail!("{name} in it has not the size that its directory says");
        }
        found.push((name, content));
        at += 46 + name_size + field(30)? + field(32)?;
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test with a folder of its own")]
mod tests {
    use super::*;
    use std::io::Write;

    /// A zip archive; of two members one is packed.
    pub(crate) fn zip(members: &[(&str, &str)]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (i, (name, text)) in members.iter().enumerate() {
            let (method, data) = if i % 2 == 0 {
                (0u16, text.as_bytes().to_vec())
            } else {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(text.as_bytes()).unwrap();
                (8, encoder.finish().unwrap())
            };
            let common = |out: &mut Vec<u8>| {
                out.extend([20, 0, 0, 0]);
                out.extend(method.to_le_bytes());
                out.extend([0; 8]);
                for size in [data.len(), text.len()] {
                    out.extend(u32::try_from(size).unwrap().to_le_bytes());
                }
                out.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
                out.extend([0; 2]);
            };
            directory.extend(b"PK\x01\x02\x14\0");
            common(&mut directory);
            directory.extend([0; 10]);
            directory.extend(u32::try_from(out.len()).unwrap().to_le_bytes());
            directory.extend(name.as_bytes());
            out.extend(b"PK\x03\x04");
            common(&mut out);
            out.extend(name.as_bytes());
            out.extend(data);
        }
        let at = u32::try_from(out.len()).unwrap();
        out.extend(&directory);
        out.extend(b"PK\x05\x06\0\0\0\0");
        let count = u16::try_from(members.len()).unwrap().to_le_bytes();
        out.extend([count, count].concat());
        out.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
        out.extend(at.to_le_bytes());
        out.extend([0; 2]);
        out
    }

    #[test]
    fn a_module_has_the_digest_that_go_gives_it() {
        // sha256sum of "one" and "two", each in its line, hashed again by sha256sum and written by base64.
        const SUM: &str = "h1:+Il8Jnq0HFfGrEeTb1wOwbvckBUtOSb1QYH4OVSGbzw=";
        let members = [("example.org/Upper@v1.0.0/a/x.go", "one"), ("example.org/Upper@v1.0.0/a.go", "two")];
        assert_eq!(hash_zip(&zip(&members)).unwrap(), SUM);
    }

    #[test]
    fn a_module_has_the_digest_that_its_unpacked_files_have() {
        let bytes = zip(&[("x@v1/b.go", "package b\n"), ("x@v1/a/a.go", "package a\n"), ("x@v1/go.mod", "module x\n")]);
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("b.go", "package b\n"), ("a/a.go", "package a\n"), ("go.mod", "module x\n")] {
            let path = folder.path().join("x@v1").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let sum = hash_zip(&bytes).unwrap();
        go_sum::verify(&["x@v1".into()], &format!("x v1 {sum}\n"), folder.path(), || ()).unwrap();
        assert_ne!(sum, hash_zip(&zip(&[("x@v1/b.go", "package b\n")])).unwrap());
    }

    #[test]
    fn what_is_cut_off_or_changed_never_panics_and_never_passes() {
        let bytes = zip(&[("x@v1/b.go", "package b\n"), ("x@v1/a.go", "package a, longer\n")]);
        let right = hash_zip(&bytes).unwrap();
        for size in 0..bytes.len() {
            assert!(hash_zip(&bytes[..size]).is_err(), "{size}");
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x41;
            // Fields that say nothing of names and content may differ.
            if let Ok(sum) = hash_zip(&bad) {
                assert!(sum != right || members(&bad).unwrap() == members(&bytes).unwrap(), "{at}");
            }
        }
    }

    #[test]
    fn a_go_mod_has_go_s_own_digest() {
        // go.sum of a module whose go.mod is `module example.com/x` says so.
        let text = format!("{}  go.mod\n", Sha256::of("module example.com/x\n"));
        assert_eq!(hash_mod(b"module example.com/x\n"), go_sum::hash(&text));
    }
}
