//! Images that are in memory as a whole at no time: laid out by sizes, read by ranges, signed in place.
//!
//! Guarantees: a [`Plan`] followed to the letter gives the bytes that [`Image::with_sections`] gives; every range of
//! [`Headers`] lies inside the file.

use super::{CERTIFICATE_TABLE, Image, Outline, PeError, outline, u32_at};
use std::ops::Range;

/// A section to add whose content is elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct SizedSection<'a> {
    /// Name, at most 8 bytes.
    pub name: &'a str,
    /// Bytes of its content.
    pub size: u64,
    /// Whether it is code, as the kernel is.
    pub code: bool,
}

/// An image with sections added, all but their content: zeros lie wherever nothing else is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The first bytes of the file: headers, and the sections that were there before. The checksum is not in it yet.
    pub head: Vec<u8>,
    /// Where the content of each new section begins, in their order.
    pub places: Vec<u64>,
    /// Size of the file.
    pub size: u64,
    /// Offset of the field that [`Sum::value`] over the whole file belongs in.
    pub checksum: usize,
}

impl Image {
    /// As [`Image::with_sections`], without their content.
    ///
    /// # Errors
    /// As [`Image::with_sections`].
    pub fn plan(&self, new: &[SizedSection]) -> Result<Plan, PeError> {
        if self.is_signed() {
            return Err(PeError::Signed);
        }
        let mut image = self.clone();
        let mut size = image.bytes.len() as u64;
        let mut places = Vec::new();
        for section in new {
            let (from, to) = image.claim(section.name, section.size, section.code, size)?;
            places.push(from);
            size = to;
        }
        let checksum = image.uncovered_fields().0;
        image.set_u32(checksum, 0);
        Ok(Plan { head: image.bytes, places, size: size.next_multiple_of(8), checksum })
    }
}

/// The sum that `ImageHlp` computes over a file: 16-bit words added with carry, then the file's size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    words: u64,
    length: u64,
}

impl Sum {
    /// What was found over the first `length` bytes of a file, as [`Sum::words`] gave it.
    pub fn resume(words: u64, length: u64) -> Sum {
        Sum { words, length }
    }

    /// Goes on with these bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let bytes = match bytes {
            // The second half of a word.
            [high, rest @ ..] if !self.length.is_multiple_of(2) => {
                self.words += u64::from(*high) << 8;
                self.length += 1;
                rest
            }
            bytes => bytes,
        };
        let (words, rest) = bytes.as_chunks::<2>();
        self.words += words.iter().map(|word| u64::from(u16::from_le_bytes(*word))).sum::<u64>();
        self.words += rest.iter().map(|low| u64::from(*low)).sum::<u64>();
        self.length += bytes.len() as u64;
    }

    /// Takes a field of zeros for one with these bytes; it begins at an even offset.
    pub fn set(&mut self, field: &[u8]) {
        let length = self.length;
        self.length = 0;
        self.push(field);
        self.length = length;
    }

    /// The words added up, for [`Sum::resume`].
    pub fn words(&self) -> u64 {
        self.words
    }

    /// The sum over everything so far, in which the field for it counts as zeros.
    pub fn value(&self) -> u32 {
        let mut sum = self.words;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (sum as u32).wrapping_add(self.length as u32)
    }
}

/// The checked headers of an image in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    outline: Outline,
    /// Bytes of all headers.
    headers: u64,
    /// The certificate table's directory entry.
    directory: (u32, u32),
    size: u64,
}

impl Headers {
    /// So many bytes of a file's beginning hold the headers of every image that this project makes.
    pub const ENOUGH: usize = 64 << 10;

    /// Checks the headers in `head`, the beginning of a file of `size` bytes.
    ///
    /// # Errors
    /// [`PeError::Malformed`], also when the headers are longer than `head`.
    pub fn parse(head: &[u8], size: u64) -> Result<Headers, PeError> {
        let outline = outline(head, size)?;
        let cut = PeError::Malformed("its headers are cut off");
        let field = |at: usize| u32_at(head, outline.optional + at).ok_or(cut.clone());
        let headers = u64::from(field(60)?);
        let entry = 112 + 8 * CERTIFICATE_TABLE;
        let directory = (field(entry)?, field(entry + 4)?);
        let table_end = u64::from(directory.0) + u64::from(directory.1);
        if table_end > size || (outline.optional + entry + 8) as u64 > headers {
            return Err(cut);
        }
        Ok(Headers { outline, headers, directory, size })
    }

    /// Where a section's content lies, without what fills it up in the file.
    pub fn section(&self, name: &str) -> Option<Range<u64>> {
        let section = self.outline.sections.iter().find(|s| s.is(name))?;
        let from = u64::from(section.raw_offset);
        Some(from..from + u64::from(section.raw_size.min(section.virtual_size)))
    }

    /// Where the certificate table lies, if there is one.
    pub fn certificate_table(&self) -> Option<Range<u64>> {
        let (offset, size) = self.directory;
        (size > 0).then(|| u64::from(offset)..u64::from(offset) + u64::from(size))
    }

    /// Offset of the `CheckSum` field, and of the certificate table's directory entry.
    pub fn uncovered_fields(&self) -> (u64, u64) {
        let optional = self.outline.optional as u64;
        (optional + 64, optional + 112 + 8 * CERTIFICATE_TABLE as u64)
    }

    /// The parts of the file that a signature covers, in the order in which it does (Microsoft, "Windows Authenticode
    /// Portable Executable Signature Format", "Calculating the PE Image Hash").
    ///
    /// # Errors
    /// When sections lie in one another, or the certificate table is not at the end: what is covered is unclear then.
    pub fn covered(&self) -> Result<Vec<Range<u64>>, PeError> {
        let (checksum, directory) = self.uncovered_fields();
        let mut parts = vec![0..checksum, checksum + 4..directory, directory + 8..self.headers];
        let mut sections: Vec<Range<u64>> = self
            .outline
            .sections
            .iter()
            .filter(|s| s.raw_size > 0)
            .map(|s| {
                let from = u64::from(s.raw_offset);
                from..from + u64::from(s.raw_size)
            })
            .collect();
        sections.sort_by_key(|s| s.start);
        let mut end = self.headers;
        for section in sections {
            if section.start < end {
                return Err(PeError::Malformed("its sections lie in one another"));
            }
            end = section.end;
            parts.push(section);
        }
        let table = self.certificate_table().unwrap_or(self.size..self.size);
        if table.end != self.size || table.start < end {
            return Err(PeError::Malformed("its certificate table is not at its end"));
        }
        parts.push(end..table.start);
        Ok(parts)
    }
}

/// A certificate table with one entry, a PKCS#7 `SignedData` (UEFI 2.10, 32.2.4), and the directory entry that points to
/// it behind the first `size` bytes of a file.
///
/// # Errors
/// When it does not fit into an image.
pub fn certificate_table(signed_data: &[u8], size: u64) -> Result<(Vec<u8>, [u8; 8]), PeError> {
    let too_large = |_| PeError::TooLarge("of the signature".into());
    let offset = u32::try_from(size).map_err(too_large)?;
    let length = u32::try_from((8 + signed_data.len()).next_multiple_of(8)).map_err(too_large)?;
    let mut table = length.to_le_bytes().to_vec();
    table.extend([0x00, 0x02, 0x02, 0x00]);
    table.extend_from_slice(signed_data);
    table.resize(length as usize, 0);
    let mut entry = [0; 8];
    entry[..4].copy_from_slice(&offset.to_le_bytes());
    entry[4..].copy_from_slice(&length.to_le_bytes());
    Ok((table, entry))
}

#[cfg(test)]
mod tests {
    use super::super::tests::stub;
    use super::super::{Image, NewSection};
    use super::*;
    use proptest::prelude::*;

    /// Follows a plan.
    fn follow(plan: &Plan, contents: &[&[u8]]) -> Vec<u8> {
        let mut bytes = plan.head.clone();
        for (place, content) in plan.places.iter().zip(contents) {
            bytes.resize(*place as usize, 0);
            bytes.extend_from_slice(content);
        }
        bytes.resize(plan.size as usize, 0);
        let mut sum = Sum::default();
        for piece in bytes.chunks(7) {
            sum.push(piece);
        }
        bytes[plan.checksum..plan.checksum + 4].copy_from_slice(&sum.value().to_le_bytes());
        bytes
    }

    #[test]
    fn a_plan_that_is_followed_gives_the_same_image() {
        let stub = Image::parse(stub()).unwrap();
        let (line, linux) = (&b"roothash=x"[..], vec![7; 5001]);
        let new = [(".cmdline", line, false), (".linux", &linux[..], true)];
        let plan = stub.plan(&new.map(|(name, data, code)| SizedSection { name, size: data.len() as u64, code }));
        let plan = plan.unwrap();
        let whole = stub.with_sections(&new.map(|(name, data, code)| NewSection { name, data, code })).unwrap();
        assert_eq!(follow(&plan, &[line, &linux]), whole.bytes());
        assert_eq!(
            stub.plan(&[SizedSection { name: ".text", size: 1, code: false }]),
            Err(PeError::Name(".text".into()))
        );
        let large = SizedSection { name: ".initrd", size: 5 << 30, code: false };
        assert_eq!(stub.plan(&[large]), Err(PeError::TooLarge(".initrd".into())));
    }

    #[test]
    fn a_certificate_is_attached_without_reading_the_image_again() {
        let unsigned = Image::parse(stub()).unwrap();
        let unsigned = unsigned.with_sections(&[NewSection { name: ".osrel", data: b"abc", code: false }]).unwrap();
        let whole = unsigned.with_certificate(b"signed data").unwrap();

        let (field, directory) = unsigned.uncovered_fields();
        let mut bytes = unsigned.bytes().to_vec();
        let size = bytes.len() as u64;
        bytes[field..field + 4].fill(0);
        let mut sum = Sum::default();
        sum.push(&bytes);
        let mut sum = Sum::resume(sum.words(), size);
        let (table, entry) = certificate_table(b"signed data", size).unwrap();
        sum.set(&entry);
        sum.push(&table);
        bytes[directory..directory + 8].copy_from_slice(&entry);
        bytes.extend(table);
        bytes[field..field + 4].copy_from_slice(&sum.value().to_le_bytes());
        assert_eq!(bytes, whole.bytes());

        let headers = Headers::parse(&bytes[..0x400], bytes.len() as u64).unwrap();
        assert_eq!(headers.certificate_table(), Some(size..bytes.len() as u64));
        let osrel = headers.section(".osrel").unwrap();
        assert_eq!(&bytes[osrel.start as usize..osrel.end as usize], b"abc");
    }

    #[test]
    fn all_but_two_fields_and_the_certificate_is_covered() {
        let image = Image::parse(stub()).unwrap();
        let image = image.with_sections(&[NewSection { name: ".osrel", data: b"abc", code: false }]).unwrap();
        let signed = image.with_certificate(b"x").unwrap();
        let headers = Headers::parse(signed.bytes(), signed.bytes().len() as u64).unwrap();
        let covered = headers.covered().unwrap();
        let (checksum, directory) = image.uncovered_fields();
        let bytes: u64 = covered.iter().map(|part| part.end - part.start).sum();
        assert_eq!(bytes, image.bytes().len() as u64 - 12);
        assert!(!covered.iter().any(|p| p.contains(&(checksum as u64)) || p.contains(&(directory as u64 + 7))));
    }

    proptest! {
        #[test]
        fn any_change_to_the_headers_is_survived(edits in proptest::collection::vec((0usize..0x240, any::<u8>()), 1..12)) {
            let mut bytes = stub();
            for (at, byte) in edits {
                bytes[at] = byte;
            }
            let size = bytes.len() as u64;
            if let Ok(headers) = Headers::parse(&bytes[..0x400], size) {
                for part in headers.covered().unwrap_or_default() {
                    prop_assert!(part.end <= size, "{part:?}");
                }
                prop_assert!(headers.section(".text").is_none_or(|s| s.end <= size));
            }
        }
    }
}
