//! Brings the example into the program, for `bedplate init`: its recipe, its site file, and the overlays that the
//! recipe names. So what a new site begins with is what the repository's own tests build.
#![allow(clippy::disallowed_methods, reason = "a build script writes what it generates")]

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let missing = |name: &str| io::Error::other(format!("cargo does not say {name}"));
    let here = env::var("CARGO_MANIFEST_DIR").map_err(|_| missing("CARGO_MANIFEST_DIR"))?;
    let out = env::var("OUT_DIR").map_err(|_| missing("OUT_DIR"))?;
    let root = Path::new(&here).parent().ok_or_else(|| missing("where the workspace is"))?;
    let mut code = String::new();
    for (constant, file) in [("RECIPE", "examples/node/recipe.toml"), ("SITE", "examples/site/one-node.toml")] {
        let path = root.join(file);
        println!("cargo::rerun-if-changed={}", path.display());
        line(&mut code, format_args!("const {constant}: &str = include_str!({:?});", path.display().to_string()));
    }
    let overlays = root.join("overlays");
    println!("cargo::rerun-if-changed={}", overlays.display());
    line(&mut code, format_args!("const OVERLAYS: &[(&str, Laid)] = &["));
    lay(&overlays, "overlays", &mut code)?;
    line(&mut code, format_args!("];"));
    fs::write(Path::new(&out).join("example.rs"), code)
}

/// Everything below a folder, in order.
fn lay(folder: &Path, name: &str, code: &mut String) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        if kind.is_dir() {
            lay(&path, &name, code)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path)?.display().to_string();
            line(code, format_args!("({name:?}, Laid::Link({target:?})),"));
        } else {
            let executable = entry.metadata()?.permissions().mode() & 0o100 != 0;
            let mode = if executable { "0o755" } else { "0o644" };
            line(
                code,
                format_args!("({name:?}, Laid::File(include_bytes!({:?}), {mode})),", path.display().to_string()),
            );
        }
    }
    Ok(())
}

fn line(code: &mut String, text: std::fmt::Arguments) {
    // Writing to a String can't fail.
    let _ = writeln!(code, "{text}");
}
