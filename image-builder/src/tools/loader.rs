//! How a program of the tree is started: its interpreter and where that finds libraries.
//!
//! A dynamic program names its loader by an absolute path (ELF gABI, `PT_INTERP`), which on the host is the
//! host's. So the tree's own loader is started with the program as its argument (ld.so(8)).

use anyhow::{Context, Result, bail};
use object::elf::{FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// What starts a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Interpreter {
    /// The kernel alone: a static program.
    None,
    /// A dynamic loader, by the path the program names.
    Loader(String),
    /// A script's interpreter and its argument, if any.
    Script(String, Option<String>),
}

/// Reads it from a program's bytes.
pub(super) fn interpreter(program: &[u8]) -> Result<Interpreter> {
    if let Some(line) = program.strip_prefix(b"#!") {
        let line = line.split(|b| *b == b'\n').next().unwrap_or(line);
        let line = std::str::from_utf8(line).context("its first line is no text")?.trim();
        let (path, argument) = match line.split_once([' ', '\t']) {
            Some((path, argument)) => (path, Some(argument.trim().to_owned())),
            None => (line, None),
        };
        return Ok(Interpreter::Script(path.to_owned(), argument));
    }
    if !matches!(FileKind::parse(program), Ok(FileKind::Elf64)) {
        bail!("it is neither a script nor a 64-bit ELF program");
    }
    let header = FileHeader64::<Endianness>::parse(program).context("its ELF header can't be read")?;
    let endian = header.endian()?;
    for segment in header.program_headers(endian, program)? {
        if segment.p_type(endian) == PT_INTERP {
            let bytes = segment.data(endian, program).ok().context("its PT_INTERP points out of the file")?;
            let text = bytes.split(|b| *b == 0).next().unwrap_or(bytes);
            return Ok(Interpreter::Loader(String::from_utf8_lossy(text).into_owned()));
        }
    }
    Ok(Interpreter::None)
}

/// The file that an absolute path of the tree leads to, with every link on its way followed inside the tree.
pub(super) fn follow(root: &Path, path: &Path) -> Result<PathBuf> {
    let mut open: Vec<OsString> = parts(path);
    let mut found = PathBuf::new();
    let mut links = 0;
    while let Some(part) = open.pop() {
        if part == ".." {
            found.pop();
            continue;
        }
        let next = found.join(&part);
        match std::fs::read_link(root.join(&next)) {
            Ok(target) => {
                links += 1;
                if links > 40 {
                    bail!("{} is a loop of links", path.display());
                }
                if target.is_absolute() {
                    found = PathBuf::new();
                }
                open.extend(parts(&target));
            }
            Err(_) => found = next,
        }
    }
    let found = root.join(found);
    if found.exists() { Ok(found) } else { bail!("{} is not in the tools tree", path.display()) }
}

/// Last part first.
fn parts(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|c| match c {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// Where libraries lie: the multi-arch folder first, then what packages name for the loader
/// (`/etc/ld.so.conf.d`), then folders for a package's own libraries, which programs name by absolute paths.
pub(super) fn library_path(root: &Path, architecture_folder: &str) -> Result<OsString> {
    let lib = Path::new("usr/lib");
    let main = lib.join(architecture_folder);
    let mut folders = vec![main.clone(), lib.to_owned()];
    for file in sorted(&root.join("etc/ld.so.conf.d"))? {
        let text = std::fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
        folders.extend(text.lines().filter_map(|l| l.trim().strip_prefix('/')).map(PathBuf::from));
    }
    for folder in sorted(&root.join(&main))?.into_iter().filter(|f| f.is_dir()) {
        let has_library = sorted(&folder)?.iter().any(|f| {
            f.file_name().is_some_and(|n| n.as_bytes().starts_with(b"lib") && n.to_string_lossy().contains(".so"))
        });
        if let (true, Some(name)) = (has_library, folder.file_name()) {
            folders.push(main.join(name));
        }
    }
    let mut seen = BTreeSet::new();
    folders.retain(|f| seen.insert(f.clone()) && root.join(f).is_dir());
    let joined: Vec<OsString> = folders.iter().map(|f| root.join(f).into_os_string()).collect();
    Ok(joined.join(std::ffi::OsStr::new(":")))
}

/// What is in a folder, by name; nothing where there is none.
fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut paths = entries
        .map(|e| Ok(e?.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .with_context(|| format!("can't read {}", folder.display()))?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests make files")]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_inside_the_tree() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("usr/bin")).unwrap();
        std::fs::create_dir_all(root.join("etc/alternatives")).unwrap();
        std::fs::write(root.join("usr/bin/mawk"), "x").unwrap();
        symlink("usr/bin", root.join("bin")).unwrap();
        symlink("/usr/bin/mawk", root.join("etc/alternatives/awk")).unwrap();
        symlink("../../../../etc/alternatives/awk", root.join("usr/bin/awk")).unwrap();
        symlink("loop", root.join("usr/bin/loop")).unwrap();
        assert_eq!(follow(root, Path::new("/bin/awk")).unwrap(), root.join("usr/bin/mawk"));
        assert!(follow(root, Path::new("/bin/loop")).unwrap_err().to_string().contains("loop of links"));
        assert!(follow(root, Path::new("/bin/no")).unwrap_err().to_string().contains("not in the tools tree"));
    }

    #[test]
    fn programs_say_what_starts_them() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(matches!(interpreter(&own).unwrap(), Interpreter::Loader(l) if l.contains("ld-linux")));
        assert_eq!(
            interpreter(b"#! /usr/bin/env python3\nx").unwrap(),
            Interpreter::Script("/usr/bin/env".into(), Some("python3".into()))
        );
        assert!(interpreter(b"MZ").is_err());
    }
}
