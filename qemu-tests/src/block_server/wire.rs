//! The Network Block Device protocol, as far as QEMU speaks it (NBD project, `doc/proto.md`): fixed newstyle
//! negotiation, simple replies.

use super::contents::Data;
use super::{Door, Export, Refused};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

const MAGIC: u64 = 0x4e42_444d_4147_4943;
const OPTION: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;

/// Fixed newstyle, and no 124 zeros behind an export.
const HANDSHAKE: u16 = 1 | 2;
/// Flags are there; flush, FUA and writing zeros are served.
const EXPORT: u16 = 1 | 1 << 2 | 1 << 3 | 1 << 6;
const FUA: u16 = 1;

const EXPORT_NAME: u32 = 1;
const ABORT: u32 = 2;
const INFO: u32 = 6;
const GO: u32 = 7;

const ACKNOWLEDGED: u32 = 1;
const INFORMATION: u32 = 3;
const UNSUPPORTED: u32 = (1 << 31) + 1;
const UNKNOWN: u32 = (1 << 31) + 6;

const EIO: u32 = 5;
const EINVAL: u32 = 22;

/// Serves one connection until QEMU ends it.
///
/// # Errors
/// When the connection breaks, or what comes is not the protocol.
pub(super) fn serve(stream: UnixStream, exports: &[Export], door: &Door<'_>) -> io::Result<()> {
    let mut to = stream.try_clone()?;
    let mut from = BufReader::new(stream);
    let Some(disk) = negotiate(&mut from, &mut to, exports)? else { return Ok(()) };
    while let Some(request) = Request::read(&mut from)? {
        let (error, data) = request.carry_out(&mut from, disk, exports[disk].size, door)?;
        let mut reply = Vec::with_capacity(16 + data.len());
        reply.extend(REPLY.to_be_bytes());
        reply.extend(error.to_be_bytes());
        reply.extend(request.cookie);
        reply.extend(data);
        to.write_all(&reply)?;
    }
    Ok(())
}

/// Comes to terms on an export; none when QEMU only looked.
fn negotiate(from: &mut impl Read, to: &mut impl Write, exports: &[Export]) -> io::Result<Option<usize>> {
    to.write_all(&[&MAGIC.to_be_bytes()[..], &OPTION.to_be_bytes(), &HANDSHAKE.to_be_bytes()].concat())?;
    let _flags = u32(from)?;
    loop {
        expect(u64(from)?, OPTION)?;
        let (option, length) = (u32(from)?, u32(from)?);
        let mut data = vec![0; length as usize];
        from.read_exact(&mut data)?;
        let mut reply = |kind: u32, data: &[u8]| -> io::Result<()> {
            let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let numbers = [option, kind, length].map(u32::to_be_bytes).concat();
            to.write_all(&[&OPTION_REPLY.to_be_bytes()[..], &numbers, data].concat())
        };
        let find = |name: &[u8]| exports.iter().position(|e| e.serial.as_bytes() == name);
        match option {
            EXPORT_NAME => {
                // There is no way to say no here but to hang up.
                let Some(disk) = find(&data) else { return Ok(None) };
                to.write_all(&[&exports[disk].size.to_be_bytes()[..], &EXPORT.to_be_bytes()].concat())?;
                return Ok(Some(disk));
            }
            INFO | GO => {
                let name = data.get(4..).and_then(|rest| {
                    let length = u32::from_be_bytes(data[..4].try_into().ok()?);
                    rest.get(..length as usize)
                });
                let Some(disk) = name.and_then(find) else {
                    reply(UNKNOWN, b"there is no such disk")?;
                    continue;
                };
                let size = exports[disk].size.to_be_bytes();
                reply(INFORMATION, &[&[0, 0][..], &size, &EXPORT.to_be_bytes()].concat())?;
                reply(ACKNOWLEDGED, &[])?;
                if option == GO {
                    return Ok(Some(disk));
                }
            }
            ABORT => {
                reply(ACKNOWLEDGED, &[])?;
                return Ok(None);
            }
            _ => reply(UNSUPPORTED, &[])?,
        }
    }
}

/// What is asked of the disk.
struct Request {
    flags: u16,
    kind: u16,
    cookie: [u8; 8],
    offset: u64,
    length: u32,
}

impl Request {
    /// The next one; none when the connection was ended, in order or not.
    fn read(from: &mut impl Read) -> io::Result<Option<Request>> {
        let mut magic = [0; 4];
        match from.read_exact(&mut magic) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        expect(u64::from(u32::from_be_bytes(magic)), u64::from(REQUEST))?;
        let (flags, kind) = (u16(from)?, u16(from)?);
        let mut cookie = [0; 8];
        from.read_exact(&mut cookie)?;
        let (offset, length) = (u64(from)?, u32(from)?);
        Ok((kind != 2).then_some(Request { flags, kind, cookie, offset, length }))
    }

    fn carry_out(&self, from: &mut impl Read, disk: usize, size: u64, door: &Door<'_>) -> io::Result<(u32, Vec<u8>)> {
        let fits = self.offset.checked_add(u64::from(self.length)).is_some_and(|end| end <= size);
        let through = self.flags & FUA != 0;
        let written = |result: Result<(), Refused>| Ok((result.map_or(EIO, |()| 0), Vec::new()));
        match self.kind {
            0 if fits => {
                let mut bytes = vec![0; self.length as usize];
                door.read(disk, self.offset, &mut bytes);
                Ok((0, bytes))
            }
            1 => {
                let mut bytes = vec![0; self.length as usize];
                from.read_exact(&mut bytes)?;
                if !fits {
                    return Ok((EINVAL, Vec::new()));
                }
                written(door.write(disk, self.offset, Data::Bytes(bytes.into()), through))
            }
            3 => {
                door.flush(disk);
                Ok((0, Vec::new()))
            }
            6 if fits => written(door.write(disk, self.offset, Data::Zeros(u64::from(self.length)), through)),
            _ => Ok((EINVAL, Vec::new())),
        }
    }
}

fn expect(found: u64, magic: u64) -> io::Result<()> {
    let error = || io::Error::new(io::ErrorKind::InvalidData, format!("{found:#x} instead of {magic:#x}"));
    if found == magic { Ok(()) } else { Err(error()) }
}

fn u16(from: &mut impl Read) -> io::Result<u16> {
    let mut bytes = [0; 2];
    from.read_exact(&mut bytes).map(|()| u16::from_be_bytes(bytes))
}

fn u32(from: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes).map(|()| u32::from_be_bytes(bytes))
}

fn u64(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes).map(|()| u64::from_be_bytes(bytes))
}
