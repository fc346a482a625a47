//! How a recipe names a key on a token: a PKCS#11 URI (RFC 7512). Pure.

use anyhow::{Context, Result, bail, ensure};
use percent_encoding::percent_decode_str;
use std::path::PathBuf;

/// Which key, on which token, through which module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    text: String,
    /// Label of the token.
    pub token: Option<String>,
    /// Serial number of the token.
    pub serial: Option<String>,
    /// Label of the key.
    pub object: Option<String>,
    /// `CKA_ID` of the key.
    pub id: Option<Vec<u8>>,
    /// The token's library.
    pub module: PathBuf,
    /// File that holds the PIN.
    pub pin_source: Option<PathBuf>,
}

impl Uri {
    /// Reads `pkcs11:token=...;object=...?module-path=...&pin-source=...`.
    ///
    /// # Errors
    /// When it is no such URI, says something that is not understood, or leaves out the module or the key.
    pub fn parse(text: &str) -> Result<Uri> {
        let rest = text.strip_prefix("pkcs11:").with_context(|| {
            format!("{text:?} is no PKCS#11 URI; expected \"pkcs11:token=NAME;object=NAME?module-path=FILE\"")
        })?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Uri {
            text: text.to_owned(),
            token: None,
            serial: None,
            object: None,
            id: None,
            module: PathBuf::new(),
            pin_source: None,
        };
        for (name, bytes) in attributes(path, ';')? {
            match name {
                "token" => uri.token = Some(words(name, bytes)?),
                "serial" => uri.serial = Some(words(name, bytes)?),
                "object" => uri.object = Some(words(name, bytes)?),
                "id" => uri.id = Some(bytes),
                "type" => ensure!(bytes == b"private", "{text:?} names no private key, as its type says"),
                other => bail!("{text:?} has {other:?}; token, serial, object, id and type are understood"),
            }
        }
        for (name, bytes) in attributes(query, '&')? {
            match name {
                "module-path" => uri.module = words(name, bytes)?.into(),
                "pin-source" => {
                    let source = words(name, bytes)?;
                    let file = PathBuf::from(source.strip_prefix("file:").unwrap_or(&source));
                    ensure!(file.is_absolute(), "{text:?} has a pin-source that is no absolute path of a file");
                    uri.pin_source = Some(file);
                }
                "pin-value" => bail!("{text:?} has a PIN in it; put it into a file and name that as pin-source"),
                other => bail!("{text:?} has {other:?}; module-path and pin-source are understood"),
            }
        }
        ensure!(uri.object.is_some() || uri.id.is_some(), "{text:?} names no key; give its object (label) or id");
        ensure!(uri.module.is_absolute(), "{text:?} names no module-path: the token's library, as an absolute path");
        Ok(uri)
    }
}

impl std::fmt::Display for Uri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn attributes(text: &str, separator: char) -> Result<Vec<(&str, Vec<u8>)>> {
    let parts = text.split(separator).filter(|part| !part.is_empty());
    let mut found: Vec<(&str, Vec<u8>)> = Vec::new();
    for part in parts {
        let (name, value) = part.split_once('=').with_context(|| format!("{part:?} is no NAME=VALUE"))?;
        ensure!(found.iter().all(|(other, _)| *other != name), "{name} is given twice");
        found.push((name, percent_decode_str(value).collect()));
    }
    Ok(found)
}

fn words(name: &str, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).ok().with_context(|| format!("{name} is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_is_read() {
        let text = "pkcs11:token=my%20site;serial=7;object=db;id=%01%ff;type=private\
                    ?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/pin";
        let uri = Uri::parse(text).unwrap();
        assert_eq!((uri.token.as_deref(), uri.serial.as_deref()), (Some("my site"), Some("7")));
        assert_eq!((uri.object.as_deref(), uri.id.clone()), (Some("db"), Some(vec![1, 255])));
        assert_eq!(uri.module, PathBuf::from("/usr/lib/softhsm/libsofthsm2.so"));
        assert_eq!(uri.pin_source.as_deref(), Some("/run/pin".as_ref()));
        assert_eq!(uri.to_string(), text);
    }

    #[test]
    fn what_it_does_not_say_is_missed() {
        for (text, what) in [
            ("keys/db.key", "is no PKCS#11 URI"),
            ("pkcs11:object=db", "names no module-path"),
            ("pkcs11:object=db?module-path=lib.so", "names no module-path"),
            ("pkcs11:token=t?module-path=/lib.so", "names no key"),
            ("pkcs11:object=db;slot-id=0?module-path=/lib.so", "\"slot-id\""),
            ("pkcs11:object=db;object=x?module-path=/lib.so", "twice"),
            ("pkcs11:object=db;type=cert?module-path=/lib.so", "no private key"),
            ("pkcs11:object=db?module-path=/lib.so&pin-value=1234", "a PIN in it"),
            ("pkcs11:object=db?module-path=/lib.so&pin-source=pin", "no absolute path"),
            ("pkcs11:object?module-path=/lib.so", "NAME=VALUE"),
            ("pkcs11:object=%ff?module-path=/lib.so", "no text"),
        ] {
            let error = Uri::parse(text).unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
