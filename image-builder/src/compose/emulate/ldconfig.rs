//! ldconfig(8): `/etc/ld.so.cache` and the missing links by SONAME.
//!
//! Format: glibc's `glibc-ld.so.cache1.1` (sysdeps/generic/dl-cache.h), without the extension section and
//! without entries for `glibc-hwcaps`. Entries are in the order in which the loader's binary search expects
//! them. x86-64 only, as [`Arch`](crate::arch::Arch) is.

use super::{path, put_file, put_link, text};
use crate::compose::tree::{Kind, Tree};
use anyhow::Result;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

const BY: &str = "ldconfig";
const MAGIC: &[u8; 20] = b"glibc-ld.so.cache1.1";
/// FLAG_ELF_LIBC6 | FLAG_X8664_LIB64.
const X86_64: u32 = 0x0303;
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// Writes the cache and the links.
///
/// # Errors
/// When a library can't be read.
pub fn apply(tree: &mut Tree) -> Result<()> {
    // Library -> file, of the first folder that has it.
    let mut libraries: BTreeMap<String, String> = BTreeMap::new();
    for folder in folders(tree)? {
        let merged = super::usrmerge::merged(&path(&folder)?).to_string();
        for (soname, file) in sonames(tree, &merged)? {
            let at = format!("{merged}/{soname}");
            if tree.get(&path(&at)?).is_none() {
                put_link(tree, &at, &file, BY)?;
            }
            libraries.entry(soname.clone()).or_insert_with(|| format!("{folder}/{soname}"));
        }
    }
    put_file(tree, "/etc/ld.so.cache", cache(&libraries), 0o644, BY)
}

/// The loader's folders: those of `/etc/ld.so.conf`, then its own. Each folder once, by the first of its names.
fn folders(tree: &Tree) -> Result<Vec<String>> {
    let mut named = Vec::new();
    read_conf(tree, "/etc/ld.so.conf", &mut named)?;
    named.extend(["/lib", "/usr/lib", "/lib64", "/usr/lib64"].map(String::from));
    let mut seen = BTreeSet::new();
    named.retain(|folder| path(folder).ok().and_then(|at| tree.resolve(&at)).is_some_and(|at| seen.insert(at)));
    Ok(named)
}

fn read_conf(tree: &Tree, file: &str, named: &mut Vec<String>) -> Result<()> {
    for line in text(tree, file)?.unwrap_or_default().lines() {
        let line = line.split('#').next().unwrap_or("").trim();
        if let Some(pattern) = line.strip_prefix("include ") {
            let pattern = pattern.trim();
            let absolute = if pattern.starts_with('/') { pattern.to_owned() } else { format!("/etc/{pattern}") };
            let glob = globset::GlobBuilder::new(&absolute).literal_separator(true).build()?.compile_matcher();
            let files: Vec<String> =
                tree.below("/etc").map(|(at, _)| at.to_string()).filter(|at| glob.is_match(at)).collect();
            for file in files {
                read_conf(tree, &file, named)?;
            }
        } else if line.starts_with('/') {
            named.push(line.trim_end_matches('/').into());
        }
    }
    Ok(())
}

/// SONAME -> name of the file with the highest version, for the libraries of a folder.
fn sonames(tree: &Tree, folder: &str) -> Result<BTreeMap<String, String>> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (at, entry) in tree.below(folder) {
        let name = at.name();
        let library = (name.starts_with("lib") || name.starts_with("ld-")) && name.contains(".so");
        if !library || at.parent().is_none_or(|p| p.as_str() != folder) || entry.kind == Kind::Directory {
            continue;
        }
        let Some((_, content)) = tree.file(at.as_str()) else { continue };
        let Some(soname) = soname(&content.read()?) else { continue };
        let soname = soname.unwrap_or_else(|| name.to_owned());
        // A link of another name than the library's own (`libx.so` for the compiler) adds nothing.
        if matches!(entry.kind, Kind::Symlink(_)) && soname != name {
            continue;
        }
        match found.get(&soname) {
            Some(other) if compare(other, name) != Ordering::Less => {}
            _ => drop(found.insert(soname, name.into())),
        }
    }
    Ok(found)
}

/// A library's SONAME; `None` for what is no x86-64 shared object, `Some(None)` for one without a name.
fn soname(elf: &[u8]) -> Option<Option<String>> {
    let u16_at = |at: usize| elf.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let u64_at = |at: usize| elf.get(at..at + 8).and_then(|b| Some(u64::from_le_bytes(b.try_into().ok()?)));
    let word = |at: usize| u64_at(at).and_then(|v| usize::try_from(v).ok());
    // ELF64, little endian, ET_DYN, EM_X86_64 (System V ABI, gABI chapter 4).
    if elf.get(..6)? != b"\x7fELF\x02\x01" || u16_at(16)? != 3 || u16_at(18)? != 62 {
        return None;
    }
    let (table, size, count) = (word(32)?, usize::from(u16_at(54)?), usize::from(u16_at(56)?));
    let mut loads = Vec::new();
    let mut dynamic = None;
    for n in 0..count {
        let at = table.checked_add(n * size)?;
        let kind = elf.get(at..at + 4)?;
        let (offset, address, length) = (word(at + 8)?, word(at + 16)?, word(at + 32)?);
        match kind {
            [1, 0, 0, 0] => loads.push((address, offset, length)),
            [2, 0, 0, 0] => dynamic = Some((offset, length)),
            _ => {}
        }
    }
    let (offset, length) = dynamic?;
    let (mut name, mut strings) = (None, None);
    for n in 0..length / 16 {
        let at = offset.checked_add(n * 16)?;
        match word(at)? {
            0 => break,
            5 => strings = word(at + 8),
            14 => name = word(at + 8),
            _ => {}
        }
    }
    let Some(name) = name else { return Some(None) };
    let strings = strings?;
    let (address, offset, _) = loads.into_iter().find(|(a, _, l)| (*a..a.saturating_add(*l)).contains(&strings))?;
    let text = elf.get((strings - address).checked_add(offset)?.checked_add(name)?..)?;
    let end = text.iter().position(|b| *b == 0)?;
    String::from_utf8(text[..end].to_vec()).ok().map(Some)
}

fn cache(libraries: &BTreeMap<String, String>) -> Vec<u8> {
    let mut sorted: Vec<(&String, &String)> = libraries.iter().collect();
    sorted.sort_by(|a, b| compare(b.0, a.0));
    let mut entries = Vec::new();
    let mut strings = Vec::new();
    let start = HEADER + ENTRY * sorted.len();
    for (soname, file) in sorted {
        let at = (start + strings.len()) as u32;
        // The loader's key is the end of the path, so one string holds both.
        let key = at + (file.len() - soname.len()) as u32;
        strings.extend_from_slice(file.as_bytes());
        strings.push(0);
        entries.extend([X86_64, key, at, 0, 0, 0].map(u32::to_le_bytes).concat());
    }
    let mut out = MAGIC.to_vec();
    out.extend((libraries.len() as u32).to_le_bytes());
    out.extend((strings.len() as u32).to_le_bytes());
    // Little endian; no extensions.
    out.extend([2, 0, 0, 0]);
    out.extend([0; 16]);
    out.extend(entries);
    out.extend(strings);
    out
}

/// `_dl_cache_libcmp` of glibc: runs of digits by value, and digits after everything else.
fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        match (a.first(), b.first()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(x), y) if x.is_ascii_digit() => match y {
                Some(y) if y.is_ascii_digit() => {
                    let (x, y);
                    (x, a) = number(a);
                    (y, b) = number(b);
                    if x != y {
                        return x.cmp(&y);
                    }
                }
                _ => return Ordering::Greater,
            },
            (_, Some(y)) if y.is_ascii_digit() => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) if x != y => return x.cmp(y),
            _ => (a, b) = (&a[1..], &b[1..]),
        }
    }
}

fn number(text: &[u8]) -> (u64, &[u8]) {
    let end = text.iter().position(|c| !c.is_ascii_digit()).unwrap_or(text.len());
    let value = text[..end].iter().fold(0u64, |v, c| v.wrapping_mul(10).wrapping_add(u64::from(c - b'0')));
    (value, &text[end..])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{link, tree};
    use super::*;
    use crate::compose::tree::Content;

    /// A shared object with this SONAME: header, PT_LOAD and PT_DYNAMIC, dynamic section, strings.
    fn library(name: &str) -> Vec<u8> {
        let mut elf = vec![0; 64 + 2 * 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (elf[16], elf[18], elf[32], elf[54], elf[56]) = (3, 62, 64, 56, 2);
        let (dynamic, strings) = (elf.len(), elf.len() + 48);
        let mut header = |at: usize, kind: u8, values: [usize; 3]| {
            elf[at] = kind;
            for (n, value) in [8, 16, 32].iter().zip(values) {
                elf[at + n..at + n + 8].copy_from_slice(&(value as u64).to_le_bytes());
            }
        };
        header(64, 1, [0, 0x1000, 4096]);
        header(120, 2, [dynamic, 0x1000 + dynamic, 48]);
        for value in [14, 1, 5, 0x1000 + strings, 0, 0] {
            elf.extend((value as u64).to_le_bytes());
        }
        elf.push(0);
        elf.extend(name.as_bytes());
        elf.push(0);
        elf
    }

    #[test]
    fn missing_links_are_made_and_the_cache_lists_each_library_once() {
        let mut tree = tree(&[
            ("/etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n"),
            ("/etc/ld.so.conf.d/x.conf", "# comment\n/lib/x86_64-linux-gnu\n/usr/lib/x86_64-linux-gnu\n"),
            ("/usr/lib/x86_64-linux-gnu/libtext.so", "INPUT(x)"),
        ]);
        put_link(&mut tree, "/lib", "usr/lib", "test").unwrap();
        for (file, name) in [("libz.so.1.2", "libz.so.1"), ("libz.so.1.10", "libz.so.1"), ("liba.so.2", "liba.so.2")] {
            let kind = Kind::File(Content::bytes(library(name)));
            super::super::put(&mut tree, &format!("/usr/lib/x86_64-linux-gnu/{file}"), kind, 0o644, "test").unwrap();
        }
        put_link(&mut tree, "/usr/lib/x86_64-linux-gnu/liba.so", "liba.so.2", "test").unwrap();
        apply(&mut tree).unwrap();
        assert_eq!(link(&tree, "/usr/lib/x86_64-linux-gnu/libz.so.1").as_deref(), Some("libz.so.1.10"));
        let (_, content) = tree.file("/etc/ld.so.cache").unwrap();
        let cache = content.read().unwrap();
        assert_eq!((&cache[..20], cache[20], cache[28]), (&MAGIC[..], 2, 2));
        let at = |n: usize| u32::from_le_bytes(cache[n..n + 4].try_into().unwrap()) as usize;
        let text =
            |n: usize| cache[n..].split(|b| *b == 0).next().map(|t| String::from_utf8(t.to_vec()).unwrap()).unwrap();
        let listed: Vec<_> =
            (0..2).map(|n| (text(at(HEADER + ENTRY * n + 4)), text(at(HEADER + ENTRY * n + 8)))).collect();
        let entry = |name: &str| (name.to_owned(), format!("/lib/x86_64-linux-gnu/{name}"));
        assert_eq!(listed, [entry("libz.so.1"), entry("liba.so.2")]);
    }

    #[test]
    fn names_compare_as_in_the_loader() {
        assert_eq!(compare("libz.so.10", "libz.so.9"), Ordering::Greater);
        assert_eq!(compare("libz.so.1", "libz.so.1.1"), Ordering::Less);
        assert_eq!(compare("lib1", "liba"), Ordering::Greater);
        assert_eq!(compare("a", "a"), Ordering::Equal);
    }

    #[test]
    fn what_is_no_library_is_none() {
        assert_eq!(soname(b"text"), None);
        let whole = library("liba.so.1");
        assert_eq!(soname(&whole), Some(Some("liba.so.1".into())));
        for cut in 0..whole.len() - 1 {
            assert_ne!(soname(&whole[..cut]), Some(Some("liba.so.1".into())));
        }
    }
}
