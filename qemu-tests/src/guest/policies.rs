//! Policies for the guest's TPM as releases carry them: the value of PCR 11 that a release leaves behind, signed.
//!
//! The guest is not started by a UKI, so PCR 11 is zero in it until a case extends it.

use anyhow::{Context, Result};
use image_builder::assemble::pcr;
use image_builder::sign::keys::KeyFolder;
use sha2::{Digest, Sha256};

/// The folder that they are in, in the guest.
pub const FOLDER: &str = "/policies";
/// The public key of who signs releases.
pub const KEY: &str = "key.pem";
/// Of the release that the guest is, as it is started.
pub const FIRST: &str = "first.json";
/// Of the release that it is once PCR 11 is extended by [`MEASURED`].
pub const SECOND: &str = "second.json";
/// As [`SECOND`], signed by somebody else.
pub const FORGED: &str = "forged.json";
/// What the second release is measured as.
pub const MEASURED: &[u8] = b"another release";

/// All of them, with the example's `pcr` key; its `db` key is somebody else's.
///
/// # Errors
/// When there are no keys.
pub(super) fn files(keys: &KeyFolder) -> Result<Vec<(String, Vec<u8>)>> {
    let signer = keys.pcr()?.context("the example's keys have no `pcr` key")?;
    let first = [0; 32];
    let second = Sha256::new().chain_update(first).chain_update(Sha256::digest(MEASURED)).finalize().into();
    let files = [
        (KEY, pcr::public_key(signer.certificate())?),
        (FIRST, pcr::sign_value(&first, signer.as_ref())?),
        (SECOND, pcr::sign_value(&second, signer.as_ref())?),
        (FORGED, pcr::sign_value(&second, keys.db()?.as_ref())?),
    ];
    Ok(files.into_iter().map(|(name, text)| (format!("{FOLDER}/{name}"), text.into_bytes())).collect())
}
