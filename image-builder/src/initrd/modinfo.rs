//! What a kernel module says about itself: the `.modinfo` section, `key=value` strings ended by NUL. Pure.

use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection};

/// Facts of one module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModInfo {
    /// Modules it needs, by name.
    pub depends: Vec<String>,
    /// Modules that should be there before it, if they exist.
    pub soft_before: Vec<String>,
    /// Patterns of the devices it drives, and other names.
    pub aliases: Vec<String>,
}

/// Reads the section of an uncompressed module.
///
/// # Errors
/// When it is no ELF64 object or has no such section.
pub fn parse(module: &[u8]) -> Result<ModInfo, String> {
    let file = ElfFile64::<LittleEndian>::parse(module).map_err(|e| format!("it is no ELF64 object: {e}"))?;
    let section = file.section_by_name(".modinfo").ok_or("it has no .modinfo section")?;
    let data = section.data().map_err(|e| format!("its .modinfo can't be read: {e}"))?;
    Ok(fields(data))
}

fn fields(data: &[u8]) -> ModInfo {
    let mut info = ModInfo::default();
    for field in data.split(|b| *b == 0) {
        let field = String::from_utf8_lossy(field);
        let Some((key, value)) = field.split_once('=') else { continue };
        match key {
            "depends" => info.depends.extend(value.split(',').filter(|d| !d.is_empty()).map(canonical)),
            "alias" => info.aliases.push(value.to_owned()),
            "softdep" => {
                // `pre: a b post: c`
                let before = value.split_whitespace().skip_while(|w| *w != "pre:").skip(1);
                info.soft_before.extend(before.take_while(|w| !w.ends_with(':')).map(canonical));
            }
            _ => {}
        }
    }
    info
}

/// A module's name as the kernel writes it: `-` and `_` are the same.
pub fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read() {
        let data = b"license=GPL\0depends=dm-mod,dm-bufio\0alias=pci:v1*\0alias=x\0softdep=post: c pre: a-1 b\0\0x";
        let info = fields(data);
        assert_eq!(info.depends, ["dm_mod", "dm_bufio"]);
        assert_eq!(info.aliases, ["pci:v1*", "x"]);
        assert_eq!(info.soft_before, ["a_1", "b"]);
    }

    #[test]
    fn no_object_is_an_error() {
        assert!(parse(b"not an object").is_err());
        assert!(parse(&[]).is_err());
    }
}
