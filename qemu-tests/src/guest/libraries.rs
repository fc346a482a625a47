//! Which files a dynamic program needs beside itself: its loader and, over several steps, its libraries. Pure.

use anyhow::{Context, Result};
use image_builder::compose::tree::{Content, Tree};
use object::Endianness;
use object::elf::{DT_NEEDED, DT_RUNPATH, FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};
use std::collections::BTreeMap;

/// What a program names.
struct Needs {
    loader: Option<String>,
    /// By SONAME.
    libraries: Vec<String>,
    /// Folders in which it looks for them first.
    folders: Vec<String>,
}

fn needs(program: &[u8]) -> Result<Needs> {
    let header = FileHeader64::<Endianness>::parse(program).context("it is no 64-bit ELF file")?;
    let endian = header.endian()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    let loader = header.program_headers(endian, program)?.iter().find(|s| s.p_type(endian) == PT_INTERP);
    let loader = loader.and_then(|segment| segment.data(endian, program).ok()).map(text);
    let dynamic = header.sections(endian, program)?.dynamic_table(endian, program)?;
    let tagged = |tag: i64| -> Result<Vec<String>> {
        let entries = dynamic.iter().filter(|entry| entry.tag == tag);
        entries.map(|entry| Ok(text(dynamic.string(entry)?))).collect()
    };
    let paths = tagged(DT_RUNPATH)?;
    let folders = paths.iter().flat_map(|path| path.split(':')).map(str::to_owned).collect();
    Ok(Needs { loader, libraries: tagged(DT_NEEDED)?, folders })
}

/// Everything that `programs` (name and bytes) need of `tree`, by path.
///
/// # Errors
/// When one is no program, or the tree lacks what one needs; both are named.
pub(super) fn closure(tree: &Tree, folder: &str, programs: &[(String, Vec<u8>)]) -> Result<BTreeMap<String, Content>> {
    let mut found: BTreeMap<String, Content> = BTreeMap::new();
    let mut open = Vec::new();
    for (name, bytes) in programs {
        open.push((name.clone(), needs(bytes).with_context(|| name.clone())?));
    }
    while let Some((name, Needs { loader, libraries, folders })) = open.pop() {
        let place = |library: String| {
            let mut own = folders.iter().map(|folder| format!("{folder}/{library}"));
            own.find(|path| tree.file(path).is_some()).unwrap_or_else(|| format!("{folder}/{library}"))
        };
        for path in loader.into_iter().chain(libraries.into_iter().map(place)) {
            if found.contains_key(&path) {
                continue;
            }
            let (_, content) = tree.file(&path).with_context(|| format!("{name} needs {path}; no package has it"))?;
            open.push((path.clone(), needs(&content.read()?).with_context(|| path.clone())?));
            found.insert(path, content.clone());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_names_its_loader_and_its_libraries() {
        let needs_of = needs(&std::fs::read(std::env::current_exe().unwrap()).unwrap()).unwrap();
        assert!(needs_of.loader.unwrap().contains("ld-linux"));
        assert!(needs_of.libraries.iter().any(|l| l == "libc.so.6"), "{:?}", needs_of.libraries);
        assert!(needs(b"#!/bin/sh\n").is_err());
    }
}
