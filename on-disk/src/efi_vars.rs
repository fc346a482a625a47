//! The variable store of OVMF (EDK II): the flash file in which UEFI variables live between boots.
//!
//! Reads the live variables of a store, changes them, and writes the store back with every byte outside the
//! variable region as it was. Same input, same bytes. Reading takes any bytes: it gives a value or an error.
//!
//! Formats: firmware volume header, UEFI PI 1.8 volume 3 section 3.2.1; variable store and authenticated
//! variable headers, EDK II `MdeModulePkg/Include/Guid/VariableFormat.h`. All integers are little endian.

use uuid::{Uuid, uuid};

/// Vendor of the global variables (`PK`, `KEK`, `SecureBoot`, `BootOrder`).
pub const GLOBAL: Uuid = uuid!("8be4df61-93ca-11d2-aa0d-00e098032b8c");
/// Vendor of the image security databases (`db`, `dbx`).
pub const IMAGE_SECURITY_DATABASE: Uuid = uuid!("d719b2cb-3d3a-4596-a3bc-dad00e67656f");
/// Vendor of `SecureBootEnable`, EDK II's own switch.
pub const SECURE_BOOT_ENABLE: Uuid = uuid!("f0a30bc7-af08-4556-99c4-001009c93a44");

/// Kept over a reset.
pub const NON_VOLATILE: u32 = 0x01;
/// Readable before `ExitBootServices`.
pub const BOOT_SERVICE: u32 = 0x02;
/// Readable afterwards.
pub const RUNTIME: u32 = 0x04;
/// Changed only by a signed, later write.
pub const TIME_BASED_AUTHENTICATED: u32 = 0x20;

const NV_DATA_VOLUME: Uuid = uuid!("fff12b8d-7696-4c8b-a985-2747075b4f50");
const AUTHENTICATED_STORE: Uuid = uuid!("aaf32c78-947b-439a-a180-2e144ec37792");

const VOLUME_SIGNATURE: &[u8; 4] = b"_FVH";
const STORE_HEADER: usize = 28;
const STORE_FORMATTED: u8 = 0x5a;
const STORE_HEALTHY: u8 = 0xfe;
const VARIABLE_HEADER: usize = 60;
const VARIABLE_START: u16 = 0x55aa;
const STATE_ADDED: u8 = 0x3f;
/// Set while a newer value is being written; still the value if power was cut then.
const STATE_IN_DELETED_TRANSITION: u8 = 0x3e;
const ERASED: u8 = 0xff;

/// Why bytes are not a variable store, or can't become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Shorter than what its headers say.
    #[error("the variable store ends after {have} bytes; {part} needs {need}")]
    Short {
        /// What was being read.
        part: &'static str,
        /// Bytes it needs.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// Another kind of volume or store.
    #[error("this is not an OVMF variable store: {0}")]
    Kind(&'static str),
    /// A variable that breaks the format.
    #[error("the variable at byte {at} of the store is broken: {why}")]
    Variable {
        /// Offset in the file.
        at: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// More than fits.
    #[error("the variables take {need} bytes; the store has room for {have}")]
    Full {
        /// Bytes they take.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
}

/// One variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Namespace of the name.
    pub vendor: Uuid,
    /// Name.
    pub name: String,
    /// Attributes, UEFI 2.10 section 8.2.1.
    pub attributes: u32,
    /// When it was signed, for time-based authenticated variables; the firmware takes only later writes.
    pub time: Time,
    /// Value.
    pub data: Vec<u8>,
}

/// An `EFI_TIME` in UTC, to the second. All zero is earlier than every other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct Time {
    pub year: u16,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
}

impl Variable {
    /// A variable of Secure Boot's key hierarchy: `PK` and `KEK` are global, every other name (`db`, `dbx`) is of
    /// the image security database. `data` is one or more signature lists ([`crate::efi_keys`]).
    pub fn key_database(name: &str, time: Time, data: Vec<u8>) -> Variable {
        let vendor = if matches!(name, "PK" | "KEK") { GLOBAL } else { IMAGE_SECURITY_DATABASE };
        let attributes = NON_VOLATILE | BOOT_SERVICE | RUNTIME | TIME_BASED_AUTHENTICATED;
        Variable { vendor, name: name.into(), attributes, time, data }
    }

    /// EDK II's switch that makes it enforce Secure Boot once a `PK` is there.
    pub fn secure_boot_enable() -> Variable {
        Variable {
            vendor: SECURE_BOOT_ENABLE,
            name: "SecureBootEnable".into(),
            attributes: NON_VOLATILE | BOOT_SERVICE,
            time: Time::default(),
            data: vec![1],
        }
    }

    /// A boot entry, `Boot####`, that fetches what it starts from a URI: a device path of one URI node, which firmware
    /// expands over the network cards it has (UEFI 2.10, 3.1.2 and 10.3.4.23).
    pub fn boot_from_uri(number: u16, title: &str, uri: &str) -> Variable {
        let mut path = vec![3, 24];
        path.extend(((4 + uri.len()) as u16).to_le_bytes());
        path.extend_from_slice(uri.as_bytes());
        path.extend([0x7f, 0xff, 4, 0]);
        // LOAD_OPTION_ACTIVE
        let mut data = 1u32.to_le_bytes().to_vec();
        data.extend((path.len() as u16).to_le_bytes());
        data.extend(title.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        data.extend(path);
        Variable::global(format!("Boot{number:04X}"), data)
    }

    /// The order in which boot entries are tried.
    pub fn boot_order(numbers: &[u16]) -> Variable {
        Variable::global("BootOrder".into(), numbers.iter().flat_map(|n| n.to_le_bytes()).collect())
    }

    fn global(name: String, data: Vec<u8>) -> Variable {
        let attributes = NON_VOLATILE | BOOT_SERVICE | RUNTIME;
        Variable { vendor: GLOBAL, name, attributes, time: Time::default(), data }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let name: Vec<u8> = self.name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        let mut bytes = Vec::with_capacity(VARIABLE_HEADER + name.len() + self.data.len());
        bytes.extend(VARIABLE_START.to_le_bytes());
        bytes.extend([STATE_ADDED, 0]);
        bytes.extend(self.attributes.to_le_bytes());
        bytes.extend(0u64.to_le_bytes()); // monotonic count: the deprecated kind of authentication
        bytes.extend(self.time.to_bytes());
        bytes.extend(0u32.to_le_bytes()); // public key index: likewise
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((self.data.len() as u32).to_le_bytes());
        bytes.extend(self.vendor.to_bytes_le());
        bytes.extend(name);
        bytes.extend(&self.data);
        bytes
    }
}

impl Time {
    /// As it stands in variables and signed writes.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&self.year.to_le_bytes());
        bytes[2..7].copy_from_slice(&[self.month, self.day, self.hour, self.minute, self.second]);
        bytes
    }

    fn from_bytes(b: &[u8]) -> Time {
        Time { year: u16::from_le_bytes([b[0], b[1]]), month: b[2], day: b[3], hour: b[4], minute: b[5], second: b[6] }
    }
}

/// A variable store: the whole flash file and its live variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableStore {
    file: Vec<u8>,
    /// Where variables begin and end in the file.
    region: std::ops::Range<usize>,
    variables: Vec<Variable>,
}

impl VariableStore {
    /// Reads a store, such as OVMF's blank `OVMF_VARS_4M.fd` or the file of a guest that ran.
    ///
    /// # Errors
    /// When the bytes are not a volume with an authenticated variable store in it, or end too soon.
    pub fn parse(file: &[u8]) -> Result<VariableStore, Error> {
        let volume = part(file, 0, 56, "the volume header")?;
        if volume[16..32] != NV_DATA_VOLUME.to_bytes_le() || volume[40..44] != *VOLUME_SIGNATURE {
            return Err(Error::Kind("it does not begin with a volume of variables"));
        }
        let begin = usize::from(u16::from_le_bytes([volume[48], volume[49]]));
        let header = part(file, begin, STORE_HEADER, "the store header")?;
        if header[..16] != AUTHENTICATED_STORE.to_bytes_le() {
            return Err(Error::Kind("its variables are not of the authenticated kind"));
        }
        if header[20] != STORE_FORMATTED || header[21] != STORE_HEALTHY {
            return Err(Error::Kind("the store is not formatted, or not healthy"));
        }
        let size = number(header, 16);
        let store = part(file, begin, size, "the store")?;
        if store.len() < STORE_HEADER {
            return Err(Error::Kind("the store is smaller than its header"));
        }
        let region = begin + STORE_HEADER..begin + size;
        let variables = live_variables(file, region.clone())?;
        Ok(VariableStore { file: file.to_vec(), region, variables })
    }

    /// The live variables, in the store's order.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// The live variable of this vendor and name.
    pub fn get(&self, vendor: Uuid, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|v| v.vendor == vendor && v.name == name)
    }

    /// Adds a variable, in place of one with the same vendor and name.
    pub fn set(&mut self, variable: Variable) {
        self.variables.retain(|v| v.vendor != variable.vendor || v.name != variable.name);
        self.variables.push(variable);
    }

    /// The file: the live variables one after the other, the rest of their region erased, all else as it was read.
    ///
    /// # Errors
    /// [`Error::Full`] when they don't fit.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut region = Vec::new();
        for variable in &self.variables {
            region.extend(variable.to_bytes());
            region.resize(region.len().next_multiple_of(4), ERASED);
        }
        if region.len() > self.region.len() {
            return Err(Error::Full { need: region.len(), have: self.region.len() });
        }
        region.resize(self.region.len(), ERASED);
        let mut file = self.file.clone();
        file[self.region.clone()].copy_from_slice(&region);
        Ok(file)
    }
}

fn live_variables(file: &[u8], region: std::ops::Range<usize>) -> Result<Vec<Variable>, Error> {
    let mut variables: Vec<(u8, Variable)> = Vec::new();
    let mut at = region.start;
    while at + VARIABLE_HEADER <= region.end && file[at..at + 2] == VARIABLE_START.to_le_bytes() {
        let broken = |why| Error::Variable { at, why };
        let header = &file[at..at + VARIABLE_HEADER];
        let (name_size, data_size) = (number(header, 36), number(header, 40));
        let end = name_size
            .checked_add(data_size)
            .and_then(|n| n.checked_add(at + VARIABLE_HEADER))
            .filter(|end| *end <= region.end)
            .ok_or_else(|| broken("it is longer than the store"))?;
        let state = header[2];
        if state == STATE_ADDED || state == STATE_IN_DELETED_TRANSITION {
            let name = &file[at + VARIABLE_HEADER..at + VARIABLE_HEADER + name_size];
            let variable = Variable {
                vendor: guid(header, 44),
                name: text(name).ok_or_else(|| broken("its name is not UTF-16 that ends in a zero"))?,
                attributes: number(header, 4) as u32,
                time: Time::from_bytes(&header[16..32]),
                data: file[at + VARIABLE_HEADER + name_size..end].to_vec(),
            };
            let same = |v: &&mut (u8, Variable)| v.1.vendor == variable.vendor && v.1.name == variable.name;
            match variables.iter_mut().find(same) {
                // A value in transition counts only while there is no newer one.
                Some(found) if found.0 == STATE_IN_DELETED_TRANSITION => *found = (state, variable),
                Some(_) if state == STATE_IN_DELETED_TRANSITION => {}
                Some(_) => return Err(broken("the store has it twice")),
                None => variables.push((state, variable)),
            }
        }
        at = end.next_multiple_of(4);
    }
    Ok(variables.into_iter().map(|(_, v)| v).collect())
}

fn part<'a>(file: &'a [u8], at: usize, len: usize, part: &'static str) -> Result<&'a [u8], Error> {
    let need = at.saturating_add(len);
    file.get(at..need).ok_or(Error::Short { part, need, have: file.len() })
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
}

fn guid(bytes: &[u8], at: usize) -> Uuid {
    let mut guid = [0; 16];
    guid.copy_from_slice(&bytes[at..at + 16]);
    Uuid::from_bytes_le(guid)
}

fn text(name: &[u8]) -> Option<String> {
    let units: Vec<u16> = name.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
    let (last, units) = units.split_last()?;
    (*last == 0 && name.len().is_multiple_of(2)).then(|| String::from_utf16(units).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::efi_keys::signature_list;

    const REGION: usize = 2048;

    /// A blank store as OVMF ships it, smaller: volume header with its block map, store header, erased flash, and
    /// a block after the store that is nobody's business.
    fn blank() -> Vec<u8> {
        let mut file = vec![0; 16];
        file.extend(NV_DATA_VOLUME.to_bytes_le());
        file.extend(8192u64.to_le_bytes());
        file.extend(VOLUME_SIGNATURE);
        file.extend(0x0004_feffu32.to_le_bytes());
        file.extend(72u16.to_le_bytes());
        file.extend([0xaf, 0xb8, 0, 0, 0, 2]);
        file.extend([2u32, 4096, 0, 0].into_iter().flat_map(u32::to_le_bytes));
        assert_eq!(file.len(), 72);
        file.extend(AUTHENTICATED_STORE.to_bytes_le());
        file.extend(((STORE_HEADER + REGION) as u32).to_le_bytes());
        file.extend([STORE_FORMATTED, STORE_HEALTHY, 0, 0, 0, 0, 0, 0]);
        file.resize(72 + STORE_HEADER + REGION, ERASED);
        file.extend(b"working block");
        file
    }

    fn keys() -> VariableStore {
        let mut store = VariableStore::parse(&blank()).unwrap();
        let time = Time { year: 2026, month: 11, day: 23, hour: 1, minute: 2, second: 3 };
        for name in ["PK", "KEK", "db"] {
            store.set(Variable::key_database(name, time, signature_list(Uuid::from_u128(7), b"certificate")));
        }
        store.set(Variable::secure_boot_enable());
        store
    }

    #[test]
    fn a_boot_entry_is_a_load_option_over_a_uri() {
        let entry = Variable::boot_from_uri(0x1a, "net", "http://10.0.2.2/n");
        assert_eq!((entry.name.as_str(), entry.vendor), ("Boot001A", GLOBAL));
        let wanted =
            [&[1, 0, 0, 0, 25, 0][..], b"n\0e\0t\0\0\0", &[3, 24, 21, 0], b"http://10.0.2.2/n", &[0x7f, 0xff, 4, 0]];
        assert_eq!(entry.data, wanted.concat());
        assert_eq!(Variable::boot_order(&[0x1a, 1]).data, [0x1a, 0, 1, 0]);
    }

    #[test]
    fn what_is_written_is_read_back_and_the_rest_is_untouched() {
        let (blank, store) = (blank(), keys());
        let file = store.to_bytes().unwrap();
        let again = VariableStore::parse(&file).unwrap();
        assert_eq!(again.variables(), store.variables());
        assert_eq!(again.get(IMAGE_SECURITY_DATABASE, "db").unwrap().attributes, 0x27);
        assert_eq!(again.get(GLOBAL, "db"), None);
        assert_eq!(file.len(), blank.len());
        assert_eq!(file[..100], blank[..100]);
        assert_eq!(file[100 + REGION..], blank[100 + REGION..]);
        assert!(VariableStore::parse(&blank).unwrap().variables().is_empty());
    }

    #[test]
    fn a_variable_is_laid_out_as_the_firmware_reads_it() {
        let file = keys().to_bytes().unwrap();
        let pk = &file[100..];
        assert_eq!(pk[..8], [0xaa, 0x55, 0x3f, 0, 0x27, 0, 0, 0]);
        assert_eq!(pk[16..23], [0xea, 0x07, 11, 23, 1, 2, 3]);
        assert_eq!(pk[36..44], [6, 0, 0, 0, 55, 0, 0, 0]);
        assert_eq!(pk[44..48], [0x61, 0xdf, 0xe4, 0x8b]);
        assert_eq!(pk[60..66], *b"P\0K\0\0\0");
        // The next one begins at a multiple of four from here.
        assert_eq!(pk[124..126], [0xaa, 0x55]);
    }

    #[test]
    fn setting_a_variable_again_replaces_it() {
        let mut store = keys();
        store.set(Variable { data: vec![0], ..Variable::secure_boot_enable() });
        let again = VariableStore::parse(&store.to_bytes().unwrap()).unwrap();
        assert_eq!(again.variables().len(), 4);
        assert_eq!(again.get(SECURE_BOOT_ENABLE, "SecureBootEnable").unwrap().data, [0]);
    }

    #[test]
    fn deleted_variables_are_skipped_and_a_cut_write_keeps_the_old_value() {
        let mut file = keys().to_bytes().unwrap();
        file[102] = 0x3c; // PK: deleted
        file[100 + 124 + 2] = STATE_IN_DELETED_TRANSITION; // KEK: being replaced when power went
        let store = VariableStore::parse(&file).unwrap();
        assert_eq!(store.get(GLOBAL, "PK"), None);
        assert!(store.get(GLOBAL, "KEK").is_some());
    }

    #[test]
    fn too_many_variables_are_an_error() {
        let mut store = keys();
        store.set(Variable::key_database("dbx", Time::default(), vec![0; REGION]));
        assert!(matches!(store.to_bytes(), Err(Error::Full { have: REGION, .. })));
    }

    #[test]
    fn other_bytes_are_refused_and_never_panic() {
        assert!(matches!(VariableStore::parse(&[]), Err(Error::Short { .. })));
        assert!(matches!(VariableStore::parse(&[0; 4096]), Err(Error::Kind(_))));
        let good = keys().to_bytes().unwrap();
        for cut in 0..good.len() - b"working block".len() {
            assert!(VariableStore::parse(&good[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..600 {
            for value in [0, 1, 0x3f, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                if let Ok(store) = VariableStore::parse(&bad) {
                    let _ = store.to_bytes();
                }
            }
        }
    }
}
