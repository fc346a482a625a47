//! The bytes that a TCG drive is told and answers with: ComPackets (TCG Storage Architecture Core Specification 2.01, section 3.2),
//! and what a drive tells of itself (Level 0 Discovery, section 3.3.6; TCG Storage SSC Opal 2.01, section 3.1.1).

/// A packet to or from a drive has so many bytes at most, as the kernel's own have.
pub const LENGTH: usize = 2048;
/// The headers of ComPacket, packet and subpacket, which stand before the tokens.
const HEADERS: usize = 20 + 24 + 12;
/// The header of what a drive tells of itself.
const DISCOVERY: usize = 48;

/// Tokens that are no data.
const START_LIST: u8 = 0xf0;
const END_LIST: u8 = 0xf1;
const START_NAME: u8 = 0xf2;
const END_NAME: u8 = 0xf3;
const CALL: u8 = 0xf8;
const END_OF_DATA: u8 = 0xf9;
const END_OF_SESSION: u8 = 0xfa;
const EMPTY: u8 = 0xff;

/// Objects, and methods of them, by their UID (section 6.3; TCG Storage Opal SSC Feature Set: PSID 1.00).
const SESSION_MANAGER: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 0xff];
const ADMIN_SP: [u8; 8] = [0, 0, 2, 5, 0, 0, 0, 1];
const PSID: [u8; 8] = [0, 0, 0, 9, 0, 1, 0xff, 1];
const START_SESSION: [u8; 8] = [0, 0, 0, 0, 0, 0, 0xff, 2];
const REVERT: [u8; 8] = [0, 0, 0, 6, 0, 0, 2, 2];

/// What this side calls its session; whoever speaks TCG from Linux says the same.
const OUR_SESSION: u32 = 0x41;

/// A session, by the number that the drive gave it and by ours. Both are 0 outside of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Session {
    pub drives: u32,
    pub ours: u32,
}

/// One token of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Number(u64),
    Bytes,
    Control(u8),
}

/// What a drive tells of itself, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// The ComID that an Opal drive is spoken to by.
    pub opal: Option<u16>,
    /// What it says that it is otherwise.
    pub other: Option<&'static str>,
    /// Somebody has turned locking on.
    pub locking: bool,
    /// A part of it is locked, or its first sectors are the shadow MBR, from which it is unlocked.
    pub locked: bool,
    /// It still erases what a revert has made it erase.
    pub erasing: bool,
    /// That was interrupted, and it does not go on with it.
    pub interrupted: bool,
}

/// What a drive tells that is asked what it is; nothing of what is not in the bytes.
pub fn discovered(bytes: &[u8]) -> Discovered {
    let mut told = Discovered::default();
    let Some(length) = word(bytes, 0) else { return told };
    // Of what follows the length itself.
    let all = bytes.get(..length.saturating_add(4)).unwrap_or(bytes);
    let mut rest = all.get(DISCOVERY..).unwrap_or_default();
    while let [high, low, _, length, after @ ..] = rest {
        let Some((data, next)) = after.split_at_checked(usize::from(*length)) else { break };
        let at = |place: usize| data.get(place).copied().unwrap_or_default();
        let com_id = u16::from_be_bytes([at(0), at(1)]);
        match u16::from_be_bytes([*high, *low]) {
            // Bit 4: there is a shadow MBR; bit 5: it is not shown any more.
            0x0002 => {
                (told.locking, told.locked) = (at(0) & 0b10 != 0, at(0) & 0b100 != 0 || at(0) & 0b11_0000 == 0b1_0000)
            }
            0x0200 => told.opal = told.opal.or(Some(com_id)),
            0x0203 => told.opal = Some(com_id),
            0x0404 => (told.erasing, told.interrupted) = (at(1) & 0b1 != 0, at(1) & 0b10 != 0),
            0x0100 => told.other = Some("Enterprise"),
            0x0301 => told.other = Some("Opalite"),
            0x0302 | 0x0303 => told.other = Some("Pyrite"),
            0x0304 => told.other = Some("Ruby"),
            0x0305 => told.other = Some("Key per I/O"),
            _ => {}
        }
        rest = next;
    }
    told
}

/// Begins a session with the Admin SP, as who knows the PSID.
pub fn start_session(com_id: u16, psid: &[u8]) -> Vec<u8> {
    let mut parameters = number(OUR_SESSION);
    parameters.extend(bytes(&ADMIN_SP));
    // It may write.
    parameters.push(1);
    for (name, value) in [(0, bytes(psid)), (3, bytes(&PSID))] {
        parameters.extend([START_NAME, name]);
        parameters.extend(value);
        parameters.push(END_NAME);
    }
    packet(com_id, Session::default(), &call(&SESSION_MANAGER, &START_SESSION, &parameters))
}

/// Makes the drive what it was when it was made. That ends the session.
pub fn revert(com_id: u16, session: Session) -> Vec<u8> {
    packet(com_id, session, &call(&ADMIN_SP, &REVERT, &[]))
}

/// Ends a session.
pub fn end_session(com_id: u16, session: Session) -> Vec<u8> {
    packet(com_id, session, &[END_OF_SESSION])
}

fn call(object: &[u8], method: &[u8], parameters: &[u8]) -> Vec<u8> {
    let mut tokens = vec![CALL];
    tokens.extend(bytes(object));
    tokens.extend(bytes(method));
    tokens.push(START_LIST);
    tokens.extend(parameters);
    // The status that is expected, which is that all went well.
    tokens.extend([END_LIST, END_OF_DATA, START_LIST, 0, 0, 0, END_LIST]);
    tokens
}

/// A number as a short atom.
fn number(number: u32) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
    let length = (bytes.len() - first) as u8;
    [&[0x80 | length], &bytes[first..]].concat()
}

/// Bytes as a short atom, or a medium one if they are more than 15. They are 2,047 at most.
fn bytes(bytes: &[u8]) -> Vec<u8> {
    let [high, low] = (bytes.len() as u16).to_be_bytes();
    let header = if bytes.len() < 16 { vec![0xa0 | low] } else { vec![0xd0 | high, low] };
    [header.as_slice(), bytes].concat()
}

fn packet(com_id: u16, session: Session, tokens: &[u8]) -> Vec<u8> {
    let padded = tokens.len().next_multiple_of(4);
    let mut bytes = vec![0; LENGTH];
    bytes[4..6].copy_from_slice(&com_id.to_be_bytes());
    for (at, word) in [
        (16, (HEADERS - 20 + padded) as u32),
        (20, session.drives),
        (24, session.ours),
        (40, (HEADERS - 44 + padded) as u32),
        (52, tokens.len() as u32),
    ] {
        bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
    }
    bytes[HEADERS..HEADERS + tokens.len()].copy_from_slice(tokens);
    bytes
}

/// Whether the drive has no answer yet, and will have one.
pub fn is_to_come(answer: &[u8]) -> bool {
    // Outstanding data, of which nothing can be had now.
    word(answer, 8).is_some_and(|outstanding| outstanding != 0) && word(answer, 12) == Some(0)
}

/// The status of an answer: 0 if the drive has done what it was told. None if it is no answer.
pub fn status(answer: &[u8]) -> Option<u64> {
    let tokens = tokens(answer)?;
    match tokens[..] {
        [Token::Control(END_OF_SESSION), ..] => Some(0),
        [
            ..,
            Token::Control(START_LIST),
            Token::Number(status),
            Token::Number(_),
            Token::Number(_),
            Token::Control(END_LIST),
        ] => Some(status),
        _ => None,
    }
}

/// The session that an answer says has begun.
pub fn session(answer: &[u8]) -> Option<Session> {
    match tokens(answer)?[..] {
        [
            Token::Control(CALL),
            Token::Bytes,
            Token::Bytes,
            Token::Control(START_LIST),
            Token::Number(ours),
            Token::Number(drives),
            ..,
        ] if ours == u64::from(OUR_SESSION) => Some(Session { drives: u32::try_from(drives).ok()?, ours: OUR_SESSION }),
        _ => None,
    }
}

/// The tokens of an answer; none if it has none, or is cut off.
fn tokens(answer: &[u8]) -> Option<Vec<Token>> {
    let mut rest = answer.get(HEADERS..)?.get(..word(answer, 52)?)?;
    let mut tokens = Vec::new();
    while let [first, after @ ..] = rest {
        // How long its data are, and whether they are bytes; then the data.
        let (header, length, is_bytes) = match *first {
            0..0x80 => {
                tokens.push(Token::Number(u64::from(first & 0x3f)));
                rest = after;
                continue;
            }
            0x80..0xc0 => (0, usize::from(first & 0xf), first & 0x20 != 0),
            0xc0..0xe0 => (1, usize::from(first & 0x7) << 8 | usize::from(*after.first()?), first & 0x10 != 0),
            0xe0..0xe4 => (3, word(&[&[0], after.get(..3)?].concat(), 0)?, first & 0x2 != 0),
            control => {
                tokens.extend((control != EMPTY).then_some(Token::Control(control)));
                rest = after;
                continue;
            }
        };
        let (data, next) = after.get(header..)?.split_at_checked(length)?;
        tokens.push(if is_bytes {
            Token::Bytes
        } else {
            let wide = data.len() > 8;
            Token::Number(if wide { u64::MAX } else { data.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)) })
        });
        rest = next;
    }
    (!tokens.is_empty()).then_some(tokens)
}

/// Four bytes, highest first.
fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(word.iter().fold(0_u32, |n, byte| n << 8 | u32::from(*byte))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COM_ID: u16 = 0x1004;
    const PSID: &[u8] = b"0A1B2C3D4E5F6G7H8I9JKLMNOPQRSTUV";
    const BEGUN: Session = Session { drives: 0x1005, ours: 0x41 };

    /// The bytes of a dump, spaces aside.
    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// An answer with these tokens.
    fn answer(tokens: &str) -> Vec<u8> {
        packet(COM_ID, BEGUN, &hex(tokens))
    }

    const SYNC_SESSION: &str = "f8 a800000000000000ff a8000000000000ff03 f0 8141 821005 f1 f9 f0 00 00 00 f1";

    /// As block/sed-opal.c of Linux 6.12 sends them when it is told to revert a drive by this PSID.
    #[test]
    fn packets_are_those_that_the_kernel_sends() {
        let mut start = hex("00000000 1004 0000 00000000 00000000 0000007c 00000000 00000000 000000000000000000000000
             00000064 000000000000 0000 00000058 f8 a800000000000000ff a8000000000000ff02 f0 8141 a80000020500000001 01
             f2 00 d020 3041314232433344344535463647374838493 94a4b4c4d4e4f50515253545556 f3 f2 03 a8000000090001ff01 f3
             f1 f9 f0 00 00 00 f1");
        start.resize(LENGTH, 0);
        assert_eq!(start_session(COM_ID, PSID), start);
        let mut told = hex("00000000 1004 0000 00000000 00000000 00000040 00001005 00000041 000000000000000000000000
             00000028 000000000000 0000 0000001b f8 a80000020500000001 a80000000600000202 f0 f1 f9 f0 00 00 00 f1");
        told.resize(LENGTH, 0);
        assert_eq!(revert(COM_ID, BEGUN), told);
        assert_eq!(end_session(COM_ID, BEGUN)[52..60], [0, 0, 0, 1, 0xfa, 0, 0, 0]);
    }

    #[test]
    fn an_answer_tells_its_status_and_the_session() {
        assert_eq!((status(&answer(SYNC_SESSION)), session(&answer(SYNC_SESSION))), (Some(0), Some(BEGUN)));
        let refused = answer("f8 a800000000000000ff a8000000000000ff03 f0 f1 f9 f0 01 00 00 f1");
        assert_eq!((status(&refused), session(&refused)), (Some(1), None));
        assert_eq!(status(&answer("f0 f1 f9 f0 12 00 00 f1")), Some(0x12));
        assert_eq!(status(&answer("f0 f1 f9 f0 8110 00 00 f1")), Some(0x10), "as a short atom");
        assert_eq!(status(&answer("fa")), Some(0), "the session has ended");
        for none in ["", "f0 f1", "f9 f0 00 00 f1", "f0 f1 f9 f0 a100 00 00 f1", "f0 f1 f9 f0 00 00 00", "d8"] {
            assert_eq!(status(&answer(none)), None, "{none}");
        }
        let other = answer(&SYNC_SESSION.replace("8141", "8142"));
        assert_eq!(session(&other), None, "a session that is not ours");
    }

    #[test]
    fn an_answer_that_is_to_come_is_told_from_none() {
        let with = |outstanding: u8, least: u8| {
            let mut bytes = vec![0; LENGTH];
            (bytes[11], bytes[15]) = (outstanding, least);
            bytes
        };
        assert!(is_to_come(&with(1, 0)));
        assert!(!is_to_come(&with(0, 0)) && !is_to_come(&with(1, 1)) && !is_to_come(&answer("fa")) && !is_to_come(&[]));
    }

    const TPER: &str = "0001 10 0c 11 0000000000000000000000";
    const OPAL_2: &str = "0203 10 10 1004 0001 000000000000000000000000";

    fn told(features: &[&str]) -> Discovered {
        let features = hex(&features.concat());
        let mut bytes = vec![0; LENGTH];
        bytes[3] = 44 + features.len() as u8;
        bytes[DISCOVERY..DISCOVERY + features.len()].copy_from_slice(&features);
        discovered(&bytes)
    }

    #[test]
    fn what_a_drive_is_comes_from_its_features() {
        let locking = |bits: &str| format!("0002 10 0c {bits} 0000000000000000000000");
        let opal = Discovered { opal: Some(COM_ID), ..Discovered::default() };
        assert_eq!(told(&[TPER, &locking("09"), OPAL_2]), opal);
        assert_eq!(told(&[TPER, &locking("0b"), OPAL_2]), Discovered { locking: true, ..opal.clone() });
        assert_eq!(told(&[TPER, &locking("0f"), OPAL_2]), Discovered { locking: true, locked: true, ..opal.clone() });
        assert!(told(&[&locking("1b"), OPAL_2]).locked && !told(&[&locking("3b"), OPAL_2]).locked, "the shadow MBR");
        let older = "0200 10 10 0810 0001 000000000000000000000000";
        assert_eq!(told(&[older]).opal, Some(0x0810));
        assert_eq!((told(&[older, OPAL_2]).opal, told(&[OPAL_2, older]).opal), (Some(COM_ID), Some(COM_ID)));
        let removal = |bits: &str| format!("0404 10 20 00 {bits} {}", "00".repeat(30));
        assert_eq!(told(&[OPAL_2, &removal("01")]), Discovered { erasing: true, ..opal.clone() });
        assert_eq!(told(&[OPAL_2, &removal("02")]), Discovered { interrupted: true, ..opal });
        for (code, name) in [("0100", "Enterprise"), ("0302", "Pyrite"), ("0303", "Pyrite"), ("0304", "Ruby")] {
            let other = told(&[TPER, &OPAL_2.replace("0203", code)]);
            assert_eq!((other.opal, other.other), (None, Some(name)));
        }
        assert_eq!(told(&[TPER, "c001 10 02 ffff"]), Discovered::default(), "what a maker has added");
    }

    #[test]
    fn what_is_behind_the_end_is_not_told() {
        let mut bytes = vec![0; LENGTH];
        bytes[DISCOVERY..DISCOVERY + 20].copy_from_slice(&hex(OPAL_2));
        for (length, opal) in [(0, None), (44, None), (44 + 19, None), (44 + 20, Some(COM_ID)), (255, Some(COM_ID))] {
            bytes[3] = length;
            assert_eq!(discovered(&bytes).opal, opal, "{length}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let all = |bytes: &[u8]| {
            let _ = (discovered(bytes), is_to_come(bytes), status(bytes), session(bytes));
        };
        let mut told = vec![0; LENGTH];
        told[3] = 64;
        told[DISCOVERY..DISCOVERY + 20].copy_from_slice(&hex(OPAL_2));
        for bytes in [told, answer(SYNC_SESSION)] {
            (0..120).for_each(|length| all(&bytes[..length]));
            for (at, value) in (0..120).flat_map(|at| (0..=u8::MAX).map(move |value| (at, value))) {
                let mut altered = bytes.clone();
                altered[at] = value;
                all(&altered);
            }
        }
    }
}
