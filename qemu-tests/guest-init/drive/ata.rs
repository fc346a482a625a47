//! The ATA side of a drive: ATA PASS-THROUGH (16), what it tells of itself, the security commands and the sanitize commands.

use super::{Answer, Speaks, State};

/// Status with and without an error.
const READY: u8 = 0x50;
const ERROR: u8 = 0x51;

impl State {
    pub(super) fn ata(&mut self, command: &[u8], sent: &[u8]) -> Answer {
        let prepared = std::mem::take(&mut self.prepared);
        let password: Option<[u8; 32]> = sent.get(2..34).map(|bytes| bytes.try_into().unwrap());
        let is_right = password.is_some() && password == self.password && sent[0] & 1 == 0;
        match command[14] {
            0xec => return Ok(self.identify()),
            0xb4 => return self.sanitize_device(command),
            0xf1..=0xf6 if self.frozen || !self.has(82, 1) => return Err(answered(ERROR, 0, 0)),
            0xf1 if password.is_some() => {
                self.told.push("SECURITY SET PASSWORD".into());
                self.password = password;
            }
            0xf3 => {
                self.told.push("SECURITY ERASE PREPARE".into());
                self.prepared = true;
            }
            0xf4 if prepared && is_right && !self.broken => {
                let how = if sent[0] & 2 == 0 { "" } else { ", enhanced" };
                self.told.push(format!("SECURITY ERASE UNIT{how}"));
                self.erase();
                self.password = None;
            }
            0xf6 if is_right => {
                self.told.push("SECURITY DISABLE PASSWORD".into());
                self.password = None;
            }
            _ => return Err(answered(ERROR, 0, 0)),
        }
        // With data, nobody asked for the registers.
        if command[2] & 0x20 == 0 { Ok(Vec::new()) } else { Err(answered(READY, 0, 0)) }
    }

    fn words(&self) -> &'static [(usize, u16)] {
        match self.make.speaks {
            Speaks::Ata(words) => words,
            Speaks::Scsi(_) | Speaks::Opal(_) => &[],
        }
    }

    fn has(&self, word: usize, bit: u32) -> bool {
        self.words().iter().any(|(at, bits)| *at == word && bits & (1 << bit) != 0)
    }

    fn identify(&self) -> Vec<u8> {
        let mut told = vec![0; 512];
        let mut set = |word: usize, bits: u16| {
            let [low, high] = bits.to_le_bytes();
            told[2 * word] |= low;
            told[2 * word + 1] |= high;
        };
        self.words().iter().for_each(|(word, bits)| set(*word, *bits));
        if self.password.is_some() {
            set(85, 0b10);
            set(128, 0b10);
        }
        set(128, if self.frozen { 0b1000 } else { 0 });
        told[510] = 0xa5;
        told[511] = 0_u8.wrapping_sub(told.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)));
        told
    }

    fn sanitize_device(&mut self, command: &[u8]) -> Answer {
        let number = |places: &[usize]| places.iter().fold(0_u64, |n, at| n << 8 | u64::from(command[*at]));
        let (feature, count, lba) = (number(&[3, 4]), number(&[5, 6]), number(&[11, 9, 7, 12, 10, 8]));
        let (name, bit, meant) = match feature {
            0x00 => return Err(self.sanitize_status()),
            0x11 => ("CRYPTO SCRAMBLE EXT", 13, 0x4372_7970),
            0x12 => ("BLOCK ERASE EXT", 15, 0x426b_4572),
            0x14 => ("OVERWRITE EXT", 14, 0x4f57_0000_0000),
            _ => return Err(answered(ERROR, 0, 2)),
        };
        if self.frozen || !self.has(59, 12) || !self.has(59, bit) || lba != meant {
            return Err(answered(ERROR, 0, 2));
        }
        self.told.push(format!("{name} {count}"));
        self.begin();
        Err(self.sanitize_status())
    }

    fn sanitize_status(&mut self) -> Vec<u8> {
        let frozen = if self.frozen { 1 << 13 } else { 0 };
        if self.sanitizing > 0 {
            let parts = u64::from(self.parts());
            self.go_on();
            return answered(READY, 1 << 14 | frozen, parts);
        }
        answered(READY, if self.sanitized { 1 << 15 } else { 0 } | frozen, 0xffff)
    }
}

/// Sense data with the registers: recovered, ATA pass-through information available, or an aborted command.
fn answered(status: u8, count: u16, lba: u64) -> Vec<u8> {
    let (key, qualifier) = if status == READY { (1, 0x1d) } else { (0xb, 0) };
    let ([high, low], [_, _, l5, l4, l3, l2, l1, l0]) = (count.to_be_bytes(), lba.to_be_bytes());
    let error = if status == READY { 0 } else { 4 };
    let header = [0x72, key, 0, qualifier, 0, 0, 0, 14];
    let registers = [0x09, 12, 1, error, high, low, l3, l0, l4, l1, l5, l2, 0x40, status];
    [&header[..], &registers].concat()
}
