//! What mkosi is asked for: the same packages, laid over with the same files, as a signed root file system in the same
//! form. Pure but for writing it.
#![allow(clippy::disallowed_methods, reason = "edge: writes mkosi's configuration")]

use super::super::tools;
use anyhow::{Context, Result};
use image_builder::recipe::{Archive, Recipe};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Where current versions of mkosi are.
const TESTING: &str = "forky";

/// The initrd of the UKI.
pub(super) const INITRD: &str = "initrd.cpio";
/// What the UKI is signed with, named as in a key folder.
pub(super) const KEY: &str = "db.key";
pub(super) const CERTIFICATE: &str = "db.crt";

/// mkosi and what it drives. Its own list names what it needs for every distribution that it can build.
const INSTALL: [&str; 36] = [
    "mkosi (>= 27)",
    "apt",
    "apt-utils",
    "bash",
    "coreutils",
    "cpio",
    "cryptsetup-bin",
    "debian-archive-keyring",
    "diffutils",
    "dosfstools",
    "dpkg",
    "e2fsprogs",
    "erofs-utils",
    "findutils",
    "gawk",
    "gnupg",
    "grep",
    "gzip",
    "kmod",
    "libc-bin",
    "mawk",
    "mtools",
    "openssl",
    "perl-base",
    "python3",
    "python3-cryptography",
    "python3-minimal",
    "python3-pefile",
    "python3.13-minimal",
    "sed",
    "systemd-boot-efi",
    "systemd-repart",
    "systemd-ukify",
    "tar",
    "util-linux",
    "zstd",
];
/// What of its dependencies only other distributions, other image formats or maintainer scripts use.
const PROVIDED: [&str; 10] = [
    "btrfs-progs",
    "efitools",
    "jq",
    "pesign",
    "squashfs-tools",
    "systemd",
    "systemd-boot-tools",
    "systemd-container",
    "systemd-tpm",
    "tpm2-tools",
];

/// A recipe whose tools are mkosi's.
pub(super) fn recipe_of_tools(example: &Recipe) -> Result<Recipe> {
    let mut recipe = tools::recipe(example, &INSTALL, &PROVIDED);
    let debian = recipe.archive.values().next().cloned().context("the recipe has no archive")?;
    let testing = Archive { suites: vec![TESTING.into()], tools_only: true, ..debian };
    recipe.archive.insert("testing".into(), testing);
    Ok(recipe)
}

/// Writes mkosi's configuration into `work`. `mirror` gives the address of a suite of an archive.
pub(super) fn write(
    work: &Path,
    extra: &str,
    recipe: &Recipe,
    mirror: &dyn Fn(&str, &str) -> Result<String>,
) -> Result<()> {
    let mut files = vec![("mkosi.conf".to_owned(), configuration(recipe, extra))];
    let mut sources = String::new();
    for (name, archive) in recipe.archive.iter().filter(|(_, archive)| !archive.tools_only) {
        for suite in &archive.suites {
            let _ = writeln!(
                sources,
                "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: {}\n\
                 Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
                mirror(name, suite)?,
                archive.components.join(" ")
            );
        }
    }
    files.push(("mkosi.sandbox/etc/apt/sources.list.d/mkosi.sources".into(), sources));
    files.push((
        "mkosi.repart/00-esp.conf".into(),
        "[Partition]\nType=esp\nFormat=vfat\nCopyFiles=/boot:/\nSizeMinBytes=128M\nSizeMaxBytes=128M\n".into(),
    ));
    files.push((
        "mkosi.repart/10-root.conf".into(),
        "[Partition]\nType=root\nFormat=erofs\nCopyFiles=/\nMinimize=guess\nVerity=data\nVerityMatchKey=root\n".into(),
    ));
    files.push((
        "mkosi.repart/20-verity.conf".into(),
        "[Partition]\nType=root-verity\nMinimize=best\nVerity=hash\nVerityMatchKey=root\n".into(),
    ));
    for (name, text) in files {
        let path = work.join(name);
        let folder = path.parent().context("a file without a folder")?;
        fs::create_dir_all(folder).and_then(|()| fs::write(&path, text))?;
    }
    Ok(())
}

fn configuration(recipe: &Recipe, extra: &str) -> String {
    let packages: Vec<&str> =
        recipe.packages.install.iter().chain(&recipe.kernel.package).map(String::as_str).collect();
    let exclude: Vec<&str> = recipe.packages.exclude.iter().map(String::as_str).collect();
    let release = recipe.archive.values().filter(|a| !a.tools_only).flat_map(|a| &a.suites).next();
    format!(
        "[Distribution]\nDistribution=debian\nRelease={}\n\n\
         [Output]\nFormat=disk\nImageId=bench\nOutput=bench\nOutputDirectory=out\nRepartDirectories=mkosi.repart\n\n\
         [Build]\nWorkspaceDirectory=/var/tmp\nPackageCacheDirectory=packages\nWithNetwork=yes\n\
         Environment=\"SYSTEMD_REPART_MKFS_OPTIONS_EROFS=-z{} -C65536\"\n\n\
         [Validation]\nSecureBoot=yes\nSecureBootAutoEnroll=no\nSecureBootKey={KEY}\nSecureBootCertificate={CERTIFICATE}\n\
         SecureBootSignTool=systemd-sbsign\nSignExpectedPcr=no\n\n\
         [Content]\nBootable=yes\nBootloader=uki\nInitrds={INITRD}\nKernelModulesInitrd=no\nKernelCommandLine={}\n\
         WithRecommends=no\nWithDocs=no\nExtraTrees={extra}\nPackages={}\nRemoveFiles={}\n",
        release.map_or("stable", String::as_str),
        match recipe.output.compression.as_str() {
            "zstd" => format!("zstd,level={}", recipe.output.level),
            other => other.to_owned(),
        },
        recipe.kernel.arguments.join(" "),
        packages.join("\n    "),
        exclude.join("\n    "),
    )
}
