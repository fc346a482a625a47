//! The signed command line: the root hash, what the builder always says, and the recipe's arguments. Pure.
//!
//! Guarantees: it is one line that the kernel takes whole; nothing in it names another root, another init,
//! a shell, a unit or a credential.

use crate::digest::Sha256;
use std::fmt;

/// What the builder always says, and why.
const OWN: [(&str, &str); 7] = [
    ("systemd.verity=no", "stage 1 has opened the root; systemd must not look for another"),
    ("systemd.gpt_auto=no", "nothing is mounted because of its partition type"),
    ("systemd.import_credentials=no", "the agent alone reads the one credential it knows"),
    ("systemd.firstboot=no", "the image is complete; nobody is asked anything"),
    ("rd.auto=no", "no array, volume group or LUKS device is opened by itself"),
    ("raid=noautodetect", "arrays are assembled by the agent alone"),
    ("module.sig_enforce=1", "only modules that came with the kernel, Secure Boot or not"),
];

/// The kernel cuts a longer command line (x86: `COMMAND_LINE_SIZE` 2048, with the NUL).
const MOST: usize = 2047;

/// Keys that would open what the signature closes; `-` and `_` are the same, a final `*` is any rest.
const REFUSED: [(&str, &str); 33] = [
    ("init", "another init would run in systemd's place"),
    ("rdinit", "another program would run in stage 1's place"),
    ("root", "the root is found by its hash"),
    ("roothash", "the builder sets the root hash"),
    ("rootflags", "the root's mount options are the builder's"),
    ("rootfstype", "the root is EROFS"),
    ("usr*", "there is no /usr apart from the root"),
    ("mount.usr*", "there is no /usr apart from the root"),
    ("ro", "the root is always read-only"),
    ("rw", "the root is always read-only"),
    ("initrd", "the initrd is part of the signed image"),
    ("noinitrd", "the initrd is part of the signed image"),
    ("rd.*", "stage 1 has no such switches"),
    ("dm_mod.*", "device-mapper devices are made by stage 1 and the agent"),
    ("dm_verity.*", "dm-verity's behaviour is the builder's"),
    ("raid", "arrays are assembled by the agent alone"),
    ("md", "arrays are assembled by the agent alone"),
    ("lockdown", "lockdown follows Secure Boot"),
    ("lsm", "the security modules are those the kernel was built with"),
    ("security", "the security modules are those the kernel was built with"),
    ("module.*", "module signatures are enforced"),
    ("systemd.*", "see the words that are allowed"),
    ("single", "there is no rescue shell"),
    ("s", "there is no rescue shell"),
    ("S", "there is no rescue shell"),
    ("b", "there is no rescue shell"),
    ("_b", "there is no rescue shell"),
    ("rescue", "there is no rescue shell"),
    ("emergency", "there is no rescue shell"),
    ("fastboot", "systemd reads it as an order"),
    ("debug_shell", "there is no debug shell"),
    ("__", "everything behind it would go to init"),
    ("SYSTEMD_*", "it would change how systemd's programs behave"),
];

/// Exceptions from `systemd.*`: they change what is printed and how long is waited, not what runs.
const ALLOWED: [&str; 9] = [
    "systemd.show_status",
    "systemd.status_unit_format",
    "systemd.log_level",
    "systemd.log_target",
    "systemd.log_color",
    "systemd.default_timeout_start_sec",
    "systemd.default_device_timeout_sec",
    "systemd.watchdog_sec",
    "systemd.journald.forward_to_console",
];

/// A checked command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine(String);

/// An argument of the recipe that can't be on the signed command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    /// It would weaken the image.
    #[error("the recipe has the kernel argument {argument:?}, which can't be on the signed command line: {why}")]
    Refused {
        /// The argument.
        argument: String,
        /// Why.
        why: String,
    },
    /// It is no single word.
    #[error(
        "the recipe has the kernel argument {0:?}; write each argument as one string of printable ASCII without blanks and quotes"
    )]
    Word(String),
    /// All together are too long.
    #[error("the command line has {0} bytes (with the arguments of all addons); the kernel takes {MOST}")]
    TooLong(usize),
}

impl CommandLine {
    /// The command line of the root with this hash, with the recipe's arguments behind the builder's.
    ///
    /// # Errors
    /// When an argument is refused, or the line is too long.
    pub fn new(root_hash: &Sha256, arguments: &[String]) -> Result<CommandLine, CmdlineError> {
        let mut line = format!("roothash={root_hash}");
        for (word, _) in OWN {
            line.push(' ');
            line.push_str(word);
        }
        for argument in arguments {
            check(argument)?;
            line.push(' ');
            line.push_str(argument);
        }
        if line.len() > MOST {
            return Err(CmdlineError::TooLong(line.len()));
        }
        Ok(CommandLine(line))
    }

    /// Checks that this line may be longer by these arguments, all of them at once.
    ///
    /// # Errors
    /// As [`CommandLine::new`].
    pub fn check_longer_by(&self, lists: &[&[String]]) -> Result<(), CmdlineError> {
        let mut length = self.0.len();
        for argument in lists.iter().copied().flatten() {
            check(argument)?;
            length += 1 + argument.len();
        }
        if length > MOST { Err(CmdlineError::TooLong(length)) } else { Ok(()) }
    }

    /// The line, without a line feed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The root hash on a command line, if there is exactly one.
    pub fn root_hash_of(line: &str) -> Option<Sha256> {
        let mut hashes = line.split(' ').filter_map(|word| word.strip_prefix("roothash="));
        match (hashes.next(), hashes.next()) {
            (Some(hash), None) => hash.parse().ok(),
            _ => None,
        }
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(argument: &str) -> Result<(), CmdlineError> {
    if argument.is_empty() || !argument.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\'') {
        return Err(CmdlineError::Word(argument.into()));
    }
    let refused = |why: &str| Err(CmdlineError::Refused { argument: argument.into(), why: why.into() });
    // Kernel and systemd take `-` and `_` for the same.
    let key = argument.split('=').next().unwrap_or(argument).replace('-', "_");
    if key.bytes().all(|b| b.is_ascii_digit()) {
        return refused("systemd reads a number as a runlevel");
    }
    if OWN.iter().any(|(own, _)| own.split('=').next() == Some(&key)) {
        return refused("the builder sets it");
    }
    if ALLOWED.contains(&key.as_str()) {
        return Ok(());
    }
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        Some(begin) => key.starts_with(begin),
        None => key == pattern,
    };
    match REFUSED.iter().find(|(pattern, _)| matches(pattern)) {
        Some(("systemd.*", _)) => {
            refused(&format!("of systemd's words only these are allowed: {}", ALLOWED.join(", ")))
        }
        Some((_, why)) => refused(why),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(arguments: &[&str]) -> Result<String, CmdlineError> {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        CommandLine::new(&Sha256::of("root"), &arguments).map(|l| l.0)
    }

    #[test]
    fn it_begins_with_the_root_hash_and_ends_with_the_recipes_words() {
        let line = line(&["console=ttyS0,115200n8", "bedplate.config=https://x/y?a=1"]).unwrap();
        assert!(line.starts_with(&format!("roothash={} systemd.verity=no ", Sha256::of("root"))));
        assert!(line.ends_with(" module.sig_enforce=1 console=ttyS0,115200n8 bedplate.config=https://x/y?a=1"));
        assert_eq!(CommandLine::root_hash_of(&line), Some(Sha256::of("root")));
        assert_eq!(CommandLine::root_hash_of(&format!("{line} roothash=1")), None);
    }

    #[test]
    fn words_that_open_the_image_are_refused() {
        for word in [
            "init=/bin/sh",
            "rdinit=/bin/sh",
            "rd.break",
            "rd.break=pre-mount",
            "root=/dev/sda1",
            "roothash=00",
            "rw",
            "systemd.debug-shell",
            "systemd.debug_shell=ttyS0",
            "systemd.unit=rescue.target",
            "systemd.wants=x.service",
            "systemd.run=reboot",
            "systemd.mask=firstboot-storage.service",
            "systemd.set_credential=a:b",
            "systemd.import_credentials=yes",
            "systemd.import-credentials=yes",
            "systemd.verity=yes",
            "systemd.gpt_auto=1",
            "systemd.setenv=X=Y",
            "raid=autodetect",
            "md=0,/dev/sda,/dev/sdb",
            "dm-mod.create=x",
            "dm_mod.create=x",
            "lockdown=none",
            "lsm=",
            "module.sig_enforce=0",
            "initrd=x",
            "single",
            "S",
            "1",
            "-b",
            "emergency",
            "rescue",
            "--",
        ] {
            assert!(matches!(line(&[word]), Err(CmdlineError::Refused { .. })), "{word}: {:?}", line(&[word]));
        }
    }

    #[test]
    fn ordinary_words_are_taken() {
        for word in
            ["quiet", "console=tty0", "loglevel=4", "intel_iommu=on", "systemd.show-status=no", "nokaslr", "panic=60"]
        {
            assert!(line(&[word]).is_ok(), "{word}");
        }
    }

    #[test]
    fn no_word_is_two_and_no_line_is_cut() {
        for word in ["", "a b", "a\tinit=/bin/sh", "a\ninit=x", "\"a", "a'", "ä", "a\0b"] {
            assert_eq!(line(&[word]), Err(CmdlineError::Word(word.into())), "{word:?}");
        }
        assert!(matches!(line(&[&"x".repeat(2000)]), Err(CmdlineError::TooLong(_))));
    }

    proptest! {
        /// Whatever the recipe says, the words that count stand once and are the builder's.
        #[test]
        fn no_argument_overrides_the_builder(arguments in proptest::collection::vec("[ -~]{0,40}", 0..5)) {
            if let Ok(line) = CommandLine::new(&Sha256::of("root"), &arguments) {
                let words: Vec<&str> = line.as_str().split_ascii_whitespace().collect();
                let keys: Vec<String> = words.iter().map(|w| w.split('=').next().unwrap_or(w).replace('-', "_")).collect();
                for key in ["roothash", "systemd.verity", "systemd.import_credentials", "raid"] {
                    prop_assert_eq!(keys.iter().filter(|k| *k == key).count(), 1);
                }
                prop_assert!(!keys.iter().any(|k| k == "init" || k == "rdinit" || k == "root"));
                prop_assert_eq!(words.len(), 1 + OWN.len() + arguments.len());
            }
        }
    }
}
