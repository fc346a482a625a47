//! Processor architectures.

use serde::{Deserialize, Serialize};

/// A processor architecture. A type from the start, even while it has one value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// x86-64.
    #[default]
    Amd64,
}

impl Arch {
    /// Debian's name of it.
    pub fn debian(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
        }
    }
    /// Go's name of it.
    pub fn go(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
        }
    }
    /// Rust's name of what runs on it: the target triple.
    pub fn rust(self) -> &'static str {
        match self {
            Arch::Amd64 => "x86_64-unknown-linux-gnu",
        }
    }
    /// The multi-arch folder of its libraries.
    pub fn library_folder(self) -> &'static str {
        match self {
            Arch::Amd64 => "x86_64-linux-gnu",
        }
    }
    /// The name of the EFI program that firmware starts from removable media (UEFI 2.10, 3.5.1.1).
    pub fn efi_boot_name(self) -> &'static str {
        match self {
            Arch::Amd64 => "BOOTX64.EFI",
        }
    }
}
