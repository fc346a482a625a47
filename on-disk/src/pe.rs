//! PE32+ images, as far as a unified kernel image needs: sections are found and added, a certificate is
//! attached, the checksum computed (Microsoft PE format; UEFI 2.10, section 2.1.1).
//!
//! Guarantees: a parsed [`Image`] has its headers and sections inside the file, so nothing here panics on
//! hostile bytes; equal inputs give equal bytes.

mod large;

pub use large::{Headers, Plan, SizedSection, Sum, certificate_table};

/// `IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ`.
const DATA: u32 = 0x4000_0040;
/// `IMAGE_SCN_CNT_CODE | IMAGE_SCN_MEM_EXECUTE | IMAGE_SCN_MEM_READ`.
const CODE: u32 = 0x6000_0020;
/// Size of a section header.
const SECTION_HEADER: usize = 40;
/// Index of the certificate table among the data directories.
const CERTIFICATE_TABLE: usize = 4;

/// An image that can't be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// Not such an image; says what is wrong.
    #[error("it is no PE32+ image: {0}")]
    Malformed(&'static str),
    /// No room for another section header.
    #[error("there is no room for the header of section {0}; the stub's headers would have to grow")]
    NoRoom(String),
    /// A name that does not fit.
    #[error("{0:?} is no section name (1 to 8 ASCII bytes, each name once)")]
    Name(String),
    /// The result would not fit into 32-bit fields.
    #[error("with section {0} the image is larger than 4 GiB")]
    TooLarge(String),
    /// There is a signature already.
    #[error("it carries a signature already")]
    Signed,
}

/// A section to add.
#[derive(Debug, Clone, Copy)]
pub struct NewSection<'a> {
    /// Name, at most 8 bytes.
    pub name: &'a str,
    /// Content.
    pub data: &'a [u8],
    /// Whether it is code, as the kernel is.
    pub code: bool,
}

/// Where a section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Section {
    name: [u8; 8],
    virtual_size: u32,
    virtual_address: u32,
    raw_size: u32,
    raw_offset: u32,
}

/// What is in the headers of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outline {
    coff: usize,
    optional: usize,
    table: usize,
    sections: Vec<Section>,
    section_alignment: u32,
    file_alignment: u32,
}

/// A checked image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    bytes: Vec<u8>,
    /// Offset of the COFF header, behind the signature.
    coff: usize,
    /// Offset of the optional header.
    optional: usize,
    /// Offset of the section headers.
    table: usize,
    sections: Vec<Section>,
    section_alignment: u32,
    file_alignment: u32,
}

impl Image {
    /// Checks an image.
    ///
    /// # Errors
    /// [`PeError::Malformed`].
    pub fn parse(bytes: Vec<u8>) -> Result<Image, PeError> {
        let Outline { coff, optional, table, sections, section_alignment, file_alignment } =
            outline(&bytes, bytes.len() as u64)?;
        Ok(Image { coff, optional, table, sections, section_alignment, file_alignment, bytes })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, given away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A section's content, without what fills it up in the file.
    pub fn section(&self, name: &str) -> Option<&[u8]> {
        let section = self.sections.iter().find(|s| s.is(name))?;
        let from = section.raw_offset as usize;
        Some(&self.bytes[from..from + section.raw_size.min(section.virtual_size) as usize])
    }

    /// Whether a certificate table is attached.
    pub fn is_signed(&self) -> bool {
        self.directory() != (0, 0)
    }

    /// The content of the certificate table's first entry, if it is a PKCS#7 `SignedData` (UEFI 2.10,
    /// 32.2.4: `WIN_CERT_TYPE_PKCS_SIGNED_DATA`).
    pub fn certificate(&self) -> Option<&[u8]> {
        let (offset, size) = self.directory();
        let table = self.bytes.get(offset as usize..)?.get(..size as usize)?;
        let length = u32_at(table, 0)? as usize;
        (u16_at(table, 4)? == 0x0200 && u16_at(table, 6)? == 0x0002).then(|| table.get(8..length)).flatten()
    }

    /// This image without its certificate table: what was there before it was signed.
    #[must_use]
    pub fn without_certificate(&self) -> Image {
        let mut image = self.clone();
        let (offset, size) = self.directory();
        // Only a table at the end is one that `with_certificate` attached.
        if size > 0 && offset as usize + size as usize == self.bytes.len() && self.is_behind_headers(offset) {
            image.bytes.truncate(offset as usize);
            image.set_directory(0, 0);
            image.set_checksum();
        }
        image
    }

    /// This image without its last section, if that has this name and its content ends the file: what was there before
    /// [`Image::with_sections`] added it to an image of its own making.
    #[must_use]
    pub fn without_last_section(&self, name: &str) -> Image {
        let Some((last, rest)) = self.sections.split_last().filter(|(last, _)| last.is(name)) else {
            return self.clone();
        };
        let raw_end = last.raw_offset as usize + last.raw_size as usize;
        let at_end = raw_end.next_multiple_of(8) == self.bytes.len() && self.is_behind_headers(last.raw_offset);
        if self.is_signed() || !at_end {
            return self.clone();
        }
        let mut image = self.clone();
        image.bytes.truncate(last.raw_offset as usize);
        let header = self.table + rest.len() * SECTION_HEADER;
        let code = u32_at(&self.bytes, header + 36) == Some(CODE);
        image.bytes[header..header + SECTION_HEADER].fill(0);
        image.sections.pop();
        let count = (rest.len() as u16).to_le_bytes();
        image.bytes[self.coff + 2..self.coff + 4].copy_from_slice(&count);
        let sum_at = self.optional + if code { 4 } else { 8 };
        image.set_u32(sum_at, self.u32(sum_at).wrapping_sub(last.raw_size));
        let end = rest.iter().map(|s| s.virtual_address + s.virtual_size).max().unwrap_or(0);
        let end = end.checked_next_multiple_of(self.section_alignment).unwrap_or(u32::MAX);
        image.set_u32(self.optional + 56, end);
        image.set_checksum();
        image
    }

    /// This image with sections added behind those it has, in this order.
    ///
    /// # Errors
    /// When a name is no name or taken, or the headers have no room.
    pub fn with_sections(&self, new: &[NewSection]) -> Result<Image, PeError> {
        if self.is_signed() {
            return Err(PeError::Signed);
        }
        let mut image = self.clone();
        for section in new {
            image.add(section)?;
        }
        // The certificate table must begin on 8 bytes, and its place must not change the unsigned image.
        image.bytes.resize(image.bytes.len().next_multiple_of(8), 0);
        image.set_checksum();
        Ok(image)
    }

    fn add(&mut self, new: &NewSection) -> Result<(), PeError> {
        let (from, to) = self.claim(new.name, new.data.len() as u64, new.code, self.bytes.len() as u64)?;
        let too_large = |_| PeError::TooLarge(new.name.into());
        let (from, to) = (usize::try_from(from).map_err(too_large)?, usize::try_from(to).map_err(too_large)?);
        self.bytes.resize(from, 0);
        self.bytes.extend_from_slice(new.data);
        self.bytes.resize(to, 0);
        Ok(())
    }

    /// Writes a section's header. Its content goes behind the first `length` bytes of the file: begin and end of its
    /// place there.
    fn claim(&mut self, name: &str, size: u64, code: bool, length: u64) -> Result<(u64, u64), PeError> {
        let taken = self.sections.iter().any(|s| s.is(name));
        if name.is_empty() || name.len() > 8 || !name.is_ascii() || taken {
            return Err(PeError::Name(name.into()));
        }
        let too_large = || PeError::TooLarge(name.into());
        let header_at = self.table + self.sections.len() * SECTION_HEADER;
        let headers_end = self.u32(self.optional + 60) as usize;
        let first_raw = self.sections.iter().filter(|s| s.raw_size > 0).map(|s| s.raw_offset as usize).min();
        if header_at + SECTION_HEADER > headers_end.min(first_raw.unwrap_or(usize::MAX)) {
            return Err(PeError::NoRoom(name.into()));
        }
        let virtual_size = u32::try_from(size).map_err(|_| too_large())?;
        let end = self.sections.iter().map(|s| s.virtual_address + s.virtual_size).max().unwrap_or(0);
        let virtual_address = end.checked_next_multiple_of(self.section_alignment).ok_or_else(too_large)?;
        let image_end = virtual_address
            .checked_add(virtual_size)
            .and_then(|end| end.checked_next_multiple_of(self.section_alignment))
            .ok_or_else(too_large)?;
        let raw_size = virtual_size.checked_next_multiple_of(self.file_alignment).ok_or_else(too_large)?;
        let raw_offset = u32::try_from(length.next_multiple_of(self.file_alignment.into())).map_err(|_| too_large())?;

        let mut padded = [0; 8];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        let mut header = [0; SECTION_HEADER];
        header[..8].copy_from_slice(&padded);
        header[8..12].copy_from_slice(&virtual_size.to_le_bytes());
        header[12..16].copy_from_slice(&virtual_address.to_le_bytes());
        header[16..20].copy_from_slice(&raw_size.to_le_bytes());
        header[20..24].copy_from_slice(&raw_offset.to_le_bytes());
        header[36..40].copy_from_slice(&(if code { CODE } else { DATA }).to_le_bytes());
        self.bytes[header_at..header_at + SECTION_HEADER].copy_from_slice(&header);
        self.sections.push(Section { name: padded, virtual_size, virtual_address, raw_size, raw_offset });

        let count = u16::try_from(self.sections.len()).map_err(|_| too_large())?;
        self.bytes[self.coff + 2..self.coff + 4].copy_from_slice(&count.to_le_bytes());
        // SizeOfCode or SizeOfInitializedData, and SizeOfImage.
        let sum_at = self.optional + if code { 4 } else { 8 };
        let sum = self.u32(sum_at).wrapping_add(raw_size);
        self.set_u32(sum_at, sum);
        self.set_u32(self.optional + 56, image_end);
        Ok((raw_offset.into(), u64::from(raw_offset) + u64::from(raw_size)))
    }

    /// This image with a PKCS#7 `SignedData` attached as its only certificate.
    ///
    /// # Errors
    /// When it has one already, or its size is not a multiple of 8 (as [`Image::with_sections`] leaves it).
    pub fn with_certificate(&self, signed_data: &[u8]) -> Result<Image, PeError> {
        if self.is_signed() {
            return Err(PeError::Signed);
        }
        if !self.bytes.len().is_multiple_of(8) {
            return Err(PeError::Malformed("its size is not a multiple of 8"));
        }
        let too_large = |_| PeError::TooLarge("of the signature".into());
        let mut image = self.clone();
        let offset = u32::try_from(self.bytes.len()).map_err(too_large)?;
        let size = u32::try_from((8 + signed_data.len()).next_multiple_of(8)).map_err(too_large)?;
        image.bytes.extend_from_slice(&size.to_le_bytes());
        image.bytes.extend_from_slice(&[0x00, 0x02, 0x02, 0x00]);
        image.bytes.extend_from_slice(signed_data);
        image.bytes.resize(offset as usize + size as usize, 0);
        image.set_directory(offset, size);
        image.set_checksum();
        Ok(image)
    }

    /// Offset of the `CheckSum` field, and of the certificate table's directory: the two fields that a
    /// signature does not cover.
    pub fn uncovered_fields(&self) -> (usize, usize) {
        (self.optional + 64, self.optional + 112 + 8 * CERTIFICATE_TABLE)
    }

    /// Whether what begins here leaves the headers whole when it is cut off.
    fn is_behind_headers(&self, offset: u32) -> bool {
        offset as usize >= self.table + self.sections.len() * SECTION_HEADER
    }

    fn directory(&self) -> (u32, u32) {
        let at = self.uncovered_fields().1;
        (self.u32(at), self.u32(at + 4))
    }

    fn set_directory(&mut self, offset: u32, size: u32) {
        let at = self.uncovered_fields().1;
        self.set_u32(at, offset);
        self.set_u32(at + 4, size);
    }

    fn set_checksum(&mut self) {
        let at = self.uncovered_fields().0;
        self.set_u32(at, 0);
        let mut sum = Sum::default();
        sum.push(&self.bytes);
        self.set_u32(at, sum.value());
    }

    // Only for places that `parse` has seen.
    fn u32(&self, at: usize) -> u32 {
        u32_at(&self.bytes, at).unwrap_or(0)
    }

    fn set_u32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

impl Section {
    fn is(&self, name: &str) -> bool {
        name.as_bytes() == self.name.split(|b| *b == 0).next().unwrap_or_default()
    }
}

/// Checks the headers that `bytes`, the beginning of a file of `size` bytes, hold whole.
fn outline(bytes: &[u8], size: u64) -> Result<Outline, PeError> {
    use PeError::Malformed;
    if bytes.get(..2) != Some(b"MZ") {
        return Err(Malformed("it does not begin with MZ"));
    }
    let signature = u32_at(bytes, 0x3c).ok_or(Malformed("its DOS header is cut off"))? as usize;
    if bytes.get(signature..).and_then(|b| b.get(..4)) != Some(b"PE\0\0") {
        return Err(Malformed("it has no PE signature"));
    }
    let coff = signature + 4;
    let cut = Malformed("its headers are cut off");
    let count = u16_at(bytes, coff + 2).ok_or(cut.clone())?;
    let optional_size = usize::from(u16_at(bytes, coff + 16).ok_or(cut.clone())?);
    let optional = coff + 20;
    let directories = u32_at(bytes, optional + 108).ok_or(cut.clone())?;
    if u16_at(bytes, optional) != Some(0x20b) || optional_size < 112 + 8 * (CERTIFICATE_TABLE + 1) || directories < 5 {
        return Err(Malformed("its optional header is not that of a PE32+ image with a certificate table"));
    }
    let alignment = |at| u32_at(bytes, optional + at).filter(|a: &u32| a.is_power_of_two());
    let section_alignment = alignment(32).ok_or(Malformed("its section alignment is no power of two"))?;
    let file_alignment = alignment(36).ok_or(Malformed("its file alignment is no power of two"))?;
    let table = optional + optional_size;
    if u32_at(bytes, optional + 60).is_none_or(|headers| headers as usize > bytes.len()) {
        return Err(cut);
    }
    let mut sections = Vec::new();
    for index in 0..usize::from(count) {
        let header =
            bytes.get(table + index * SECTION_HEADER..).and_then(|b| b.get(..SECTION_HEADER)).ok_or(cut.clone())?;
        let field = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let mut name = [0; 8];
        name.copy_from_slice(&header[..8]);
        let (virtual_size, virtual_address, raw_size, raw_offset) = (field(8), field(12), field(16), field(20));
        let raw_end = u64::from(raw_offset) + u64::from(raw_size);
        if raw_end > size || virtual_address.checked_add(virtual_size).is_none() {
            return Err(Malformed("a section is not inside it"));
        }
        sections.push(Section { name, virtual_size, virtual_address, raw_size, raw_offset });
    }
    Ok(Outline { coff, optional, table, sections, section_alignment, file_alignment })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A small stub: headers of 1 KiB and one section.
    pub(super) fn stub() -> Vec<u8> {
        let mut bytes = vec![0; 0x600];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, b"MZ");
        put(0x3c, &0x80u32.to_le_bytes());
        put(0x80, b"PE\0\0");
        put(0x84, &[0x64, 0x86, 1, 0]);
        put(0x84 + 16, &240u16.to_le_bytes());
        put(0x98, &0x20bu16.to_le_bytes());
        put(0x98 + 32, &4096u32.to_le_bytes());
        put(0x98 + 36, &512u32.to_le_bytes());
        put(0x98 + 56, &0x2000u32.to_le_bytes());
        put(0x98 + 60, &0x400u32.to_le_bytes());
        put(0x98 + 108, &16u32.to_le_bytes());
        put(0x188, b".text\0\0\0");
        put(0x188 + 8, &0x180u32.to_le_bytes());
        put(0x188 + 12, &0x1000u32.to_le_bytes());
        put(0x188 + 16, &0x200u32.to_le_bytes());
        put(0x188 + 20, &0x400u32.to_le_bytes());
        bytes[0x400..0x600].fill(0xcc);
        bytes
    }

    fn data<'a>(name: &'a str, data: &'a [u8]) -> NewSection<'a> {
        NewSection { name, data, code: false }
    }

    #[test]
    fn sections_are_added_in_memory_order_without_overlap() {
        let image = Image::parse(stub()).unwrap();
        let linux = vec![7; 5000];
        let new = [data(".cmdline", b"roothash=x"), NewSection { name: ".linux", data: &linux, code: true }];
        let made = Image::parse(image.with_sections(&new).unwrap().into_bytes()).unwrap();
        assert_eq!(made.section(".cmdline"), Some(&b"roothash=x"[..]));
        assert_eq!(made.section(".linux"), Some(&linux[..]));
        assert_eq!(made.section(".text").unwrap(), &[0xcc; 0x180]);
        assert_eq!(made.section(".text2"), None);
        let places: Vec<(u32, u32)> = made.sections.iter().map(|s| (s.virtual_address, s.raw_offset)).collect();
        assert_eq!(places, [(0x1000, 0x400), (0x2000, 0x600), (0x3000, 0x800)]);
        assert_eq!(made.u32(made.optional + 56), 0x5000);
        assert_eq!(made.bytes().len(), 0x800 + 5120);
    }

    #[test]
    fn a_certificate_goes_on_and_off() {
        let unsigned = Image::parse(stub()).unwrap().with_sections(&[data(".osrel", b"x")]).unwrap();
        let signed = Image::parse(unsigned.with_certificate(b"signed data").unwrap().into_bytes()).unwrap();
        assert_eq!(&signed.certificate().unwrap()[..11], b"signed data");
        assert_eq!(signed.with_certificate(b"again"), Err(PeError::Signed));
        assert_eq!(signed.with_sections(&[]), Err(PeError::Signed));
        assert_eq!(signed.without_certificate(), unsigned);
    }

    #[test]
    fn the_last_section_comes_off_without_a_trace() {
        let image = Image::parse(stub()).unwrap().with_sections(&[data(".osrel", b"x"), data(".linux", &[7; 700])]);
        let image = image.unwrap();
        let more = image.with_sections(&[data(".pcrsig", b"{}")]).unwrap();
        assert_ne!(more, image);
        assert_eq!(Image::parse(more.clone().into_bytes()).unwrap().without_last_section(".pcrsig"), image);
        assert_eq!(more.without_last_section(".linux"), more);
        assert_eq!(image.without_last_section(".pcrsig"), image);
        let signed = more.with_certificate(b"signed data").unwrap();
        assert_eq!(signed.without_last_section(".pcrsig"), signed, "the signature is over it");
        assert_eq!(signed.without_certificate().without_last_section(".pcrsig"), image);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let image = Image::parse(stub()).unwrap();
        for name in ["", "ninebytes", ".text", "ä"] {
            assert_eq!(image.with_sections(&[data(name, b"")]), Err(PeError::Name(name.into())), "{name}");
        }
        // Headers end at 0x400, the table begins at 0x188: 15 headers.
        let names: Vec<String> = (0..15).map(|i| format!(".s{i}")).collect();
        let many: Vec<NewSection> = names.iter().map(|n| data(n, b"x")).collect();
        assert!(image.with_sections(&many[..14]).is_ok());
        assert_eq!(image.with_sections(&many), Err(PeError::NoRoom(".s14".into())));
    }

    #[test]
    fn the_checksum_is_that_of_imagehlp() {
        // The same sum the slow way: 16-bit words, the carry added back after each.
        let image = Image::parse(stub()).unwrap().with_sections(&[data(".osrel", b"odd")]).unwrap();
        let (field, _) = image.uncovered_fields();
        let mut bytes = image.bytes().to_vec();
        bytes[field..field + 4].fill(0);
        let sum = bytes.chunks(2).fold(0u32, |sum, w| {
            let sum = sum + u32::from(u16::from_le_bytes([w[0], w[1]]));
            (sum & 0xffff) + (sum >> 16)
        });
        assert_eq!(image.u32(field), sum + bytes.len() as u32);
    }

    proptest! {
        #[test]
        fn any_change_to_the_headers_is_survived(edits in proptest::collection::vec((0usize..0x240, any::<u8>()), 1..12)) {
            let mut bytes = stub();
            for (at, byte) in edits {
                bytes[at] = byte;
            }
            if let Ok(image) = Image::parse(bytes) {
                let _ = (image.section(".text"), image.certificate(), image.without_certificate(), image.without_last_section(".text"));
                let _ = image.with_sections(&[data(".osrel", b"x")]);
                let _ = image.with_certificate(b"x");
            }
        }

        #[test]
        fn sections_come_back(contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..2000), 0..14)) {
            let names: Vec<String> = (0..contents.len()).map(|i| format!(".s{i}")).collect();
            let new: Vec<NewSection> = names.iter().zip(&contents).map(|(n, d)| data(n, d)).collect();
            let made = Image::parse(stub()).unwrap().with_sections(&new).unwrap();
            let made = Image::parse(made.into_bytes()).unwrap();
            for section in new {
                prop_assert_eq!(made.section(section.name), Some(section.data));
            }
        }
    }
}
