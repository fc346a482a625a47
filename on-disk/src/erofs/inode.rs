//! Inodes (`struct erofs_inode_compact`, `struct erofs_inode_extended`).

use super::{BLOCK, Error, Fields};

/// How an inode's content is laid out (`EROFS_INODE_*`). Files of chunks are not used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// In blocks of its own, as it is.
    Plain,
    /// Compressed, with an index of 8 bytes for each block.
    CompressedFull,
    /// As [`Layout::Plain`], but what does not fill a block lies behind the inode.
    Inline,
    /// Compressed, with an index of 2 or 4 bytes for each block ([`super::Index`]).
    Compressed,
}

const LAYOUTS: [Layout; 4] = [Layout::Plain, Layout::CompressedFull, Layout::Inline, Layout::Compressed];

/// One file, folder, link or device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Where the content is.
    pub layout: Layout,
    /// Bytes that the extended attributes take behind the record: none, or 12 and a multiple of 4.
    pub xattr_size: usize,
    /// Kind and permissions, as `st_mode`.
    pub mode: u16,
    /// How many names it has.
    pub links: u32,
    /// Size of the content in bytes.
    pub size: u64,
    /// By kind: the first block ([`Inode::NO_BLOCK`] if there is none), how many blocks the physical clusters take,
    /// or the number of the device.
    pub data: u32,
    /// A number for 32-bit `stat`; from 1, in no order.
    pub number: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change, seconds since 1970.
    pub time: u64,
}

/// Most bytes of extended attributes: the header and 65534 times 4.
const MOST_XATTRS: usize = XATTR_HEADER + 4 * (u16::MAX as usize - 1);
const XATTR_HEADER: usize = 12;
const EXTENDED: u16 = 1;

impl Inode {
    /// First block of a content without blocks.
    pub const NO_BLOCK: u32 = u32::MAX;

    /// Size of the record: 32 bytes if every value fits and the time is that of the volume, else 64.
    pub fn record_size(&self, volume_time: u64) -> usize {
        let small = |n: u32| n <= u32::from(u16::MAX);
        let compact = small(self.uid) && small(self.gid) && small(self.links) && self.size <= u64::from(u32::MAX);
        if compact && self.time == volume_time { 32 } else { 64 }
    }

    /// The record.
    ///
    /// # Panics
    /// When the extended attributes have a size that is none.
    pub fn to_bytes(&self, volume_time: u64) -> Vec<u8> {
        assert!(self.xattr_size == 0 || (XATTR_HEADER..=MOST_XATTRS).contains(&self.xattr_size));
        assert!(self.xattr_size.is_multiple_of(4));
        let extended = self.record_size(volume_time) == 64;
        let layout = LAYOUTS.iter().position(|l| *l == self.layout).unwrap_or_default() as u16;
        let xattr_count = if self.xattr_size == 0 { 0 } else { (self.xattr_size - XATTR_HEADER) / 4 + 1 };
        let mut bytes = Vec::with_capacity(64);
        let mut put = |field: &[u8]| bytes.extend_from_slice(field);
        put(&(layout << 1 | if extended { EXTENDED } else { 0 }).to_le_bytes());
        put(&(xattr_count as u16).to_le_bytes());
        put(&self.mode.to_le_bytes());
        if extended {
            put(&[0; 2]);
            put(&self.size.to_le_bytes());
            put(&[self.data, self.number, self.uid, self.gid].map(u32::to_le_bytes).concat());
            put(&self.time.to_le_bytes());
            put(&[0, self.links].map(u32::to_le_bytes).concat());
            put(&[0; 16]);
        } else {
            put(&(self.links as u16).to_le_bytes());
            put(&[self.size as u32, 0, self.data, self.number].map(u32::to_le_bytes).concat());
            put(&[self.uid as u16, self.gid as u16].map(u16::to_le_bytes).concat());
            put(&[0; 4]);
        }
        bytes
    }

    /// Reads a record; `volume_time` is the superblock's time.
    ///
    /// # Errors
    /// When the bytes end too soon or it has a layout that is not used here.
    pub fn parse(bytes: &[u8], volume_time: u64) -> Result<Inode, Error> {
        let mut fields = Fields::new("an inode", bytes);
        let format = fields.u16()?;
        if format & !0b111 != 0 {
            return fields.broken("a layout that is not used here");
        }
        let layout = LAYOUTS[usize::from(format >> 1)];
        let xattr_size = match fields.u16()? {
            0 => 0,
            count => XATTR_HEADER + 4 * (usize::from(count) - 1),
        };
        let mode = fields.u16()?;
        let short_links = u32::from(fields.u16()?);
        if format & EXTENDED == 0 {
            let (size, _, data, number) = (fields.u32()?.into(), fields.u32()?, fields.u32()?, fields.u32()?);
            let (uid, gid) = (fields.u16()?.into(), fields.u16()?.into());
            fields.take(4)?;
            let (links, time) = (short_links, volume_time);
            return Ok(Inode { layout, xattr_size, mode, links, size, data, number, uid, gid, time });
        }
        let size = fields.u64()?;
        let (data, number, uid, gid) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
        let time = fields.u64()?;
        let (_, links) = (fields.u32()?, fields.u32()?);
        fields.take(16)?;
        Ok(Inode { layout, xattr_size, mode, links, size, data, number, uid, gid, time })
    }

    /// A device's number as [`Inode::data`] holds it (`new_encode_dev`): 12 bits of major, 20 of minor. None if it
    /// is larger.
    pub fn device(major: u32, minor: u32) -> Option<u32> {
        (major < 1 << 12 && minor < 1 << 20).then_some(minor & 0xff | major << 8 | (minor & !0xff) << 12)
    }

    /// Major and minor of such a number.
    pub fn device_parts(data: u32) -> (u32, u32) {
        (data >> 8 & 0xfff, data & 0xff | data >> 12 & 0xfff00)
    }

    /// Size of what does not fill a block.
    pub fn end_size(&self) -> usize {
        (self.size % BLOCK as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIME: u64 = 1_700_000_000;

    fn inode() -> Inode {
        Inode {
            layout: Layout::Inline,
            xattr_size: 0,
            mode: 0o100_644,
            links: 1,
            size: 6,
            data: Inode::NO_BLOCK,
            number: 2,
            uid: 0,
            gid: 42,
            time: TIME,
        }
    }

    #[test]
    fn a_small_inode_takes_32_bytes_and_every_large_value_64() {
        let bytes = inode().to_bytes(TIME);
        let wanted: [u8; 32] = [
            4, 0, 0, 0, 0xa4, 0x81, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 2, 0, 0, 0, 0, 0, 42, 0, 0, 0, 0,
            0,
        ];
        assert_eq!(bytes, wanted);
        let large: [&dyn Fn(&mut Inode); 5] =
            [&|i| i.size = 1 << 32, &|i| i.uid = 1 << 16, &|i| i.gid = 1 << 16, &|i| i.links = 1 << 16, &|i| {
                i.time += 1
            }];
        for change in large {
            let mut inode = inode();
            change(&mut inode);
            let bytes = inode.to_bytes(TIME);
            assert_eq!((bytes.len(), bytes[0]), (64, 5));
            assert_eq!(Inode::parse(&bytes, TIME), Ok(inode));
        }
    }

    #[test]
    fn devices_are_numbered_as_the_kernel_does() {
        assert_eq!(Inode::device(1, 3), Some(0x103));
        assert_eq!(Inode::device(259, 0x12345), Some(0x1231_0345));
        assert_eq!(Inode::device_parts(0x1231_0345), (259, 0x12345));
        assert_eq!((Inode::device(1 << 12, 0), Inode::device(0, 1 << 20)), (None, None));
    }

    proptest! {
        #[test]
        fn an_inode_goes_through(
            layout in 0usize..4,
            xattrs in prop::option::of(0usize..65535),
            mode: u16,
            links: u32,
            small: bool,
            size: u64,
            numbers: [u32; 4],
            time in prop_oneof![Just(TIME), any::<u64>()],
        ) {
            let fit = |n: u32| if small { n & 0xffff } else { n };
            let inode = Inode {
                layout: LAYOUTS[layout],
                xattr_size: xattrs.map_or(0, |n| 12 + 4 * n.min(65534)),
                mode,
                links: fit(links),
                size: if small { size & 0xffff_ffff } else { size },
                data: numbers[0],
                number: numbers[1],
                uid: fit(numbers[2]),
                gid: fit(numbers[3]),
                time,
            };
            let bytes = inode.to_bytes(TIME);
            prop_assert_eq!(bytes.len(), inode.record_size(TIME));
            prop_assert_eq!(Inode::parse(&bytes, TIME), Ok(inode));
            prop_assert_eq!(Inode::parse(&bytes[..bytes.len() - 1], TIME), Err(Error::Short("an inode")));
        }

        #[test]
        fn a_device_goes_through(major in 0u32..1 << 12, minor in 0u32..1 << 20) {
            prop_assert_eq!(Inode::device(major, minor).map(Inode::device_parts), Some((major, minor)));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
            let _ = Inode::parse(&bytes, TIME);
        }
    }
}
