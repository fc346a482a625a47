//! The TCG side of a drive: SECURITY PROTOCOL IN and OUT, Level 0 Discovery, and of the Admin SP a session by the PSID and Revert
//! (TCG Storage Architecture Core Specification 2.01; TCG Storage SSC Opal 2.01). One session at a time.

use super::{Answer, Speaks, State, illegal};

const COM_ID: usize = 0x1004;
/// So many wrong PSIDs are listened to.
const TRIES: u8 = 3;
/// ComPacket, packet and subpacket.
const HEADERS: usize = 56;

/// Method status codes.
const NOT_AUTHORIZED: u8 = 0x01;
const NO_SESSIONS: u8 = 0x07;
const INVALID_PARAMETER: u8 = 0x0c;
const LOCKED_OUT: u8 = 0x12;
const FAIL: u8 = 0x3f;

/// What a drive keeps of it.
#[derive(Debug, Default)]
pub struct Tcg {
    /// Somebody has turned locking on; what is stored is then erased by a revert, and not otherwise.
    pub locking: bool,
    /// It gives nothing back and takes nothing.
    pub locked: bool,
    /// How many wrong PSIDs it was told since it had no power.
    pub wrong: u8,
    session: Option<u32>,
    sessions: u32,
    /// Its answer, and whether it was asked for already.
    answer: Option<(Vec<u8>, bool)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Number(u64),
    Bytes(Vec<u8>),
    Control(u8),
}
use Token::{Bytes, Control, Number};

const SESSION_MANAGER: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 0xff];
const ADMIN_SP: [u8; 8] = [0, 0, 2, 5, 0, 0, 0, 1];
const PSID: [u8; 8] = [0, 0, 0, 9, 0, 1, 0xff, 1];
const START_SESSION: [u8; 8] = [0, 0, 0, 0, 0, 0, 0xff, 2];
const REVERT: [u8; 8] = [0, 0, 0, 6, 0, 0, 2, 2];

impl State {
    fn psid(&self) -> Option<&'static str> {
        match self.make.speaks {
            Speaks::Opal(psid) => Some(psid),
            Speaks::Ata(_) | Speaks::Scsi(_) => None,
        }
    }

    /// SECURITY PROTOCOL IN.
    pub(super) fn security_in(&mut self, protocol: u8, specific: usize) -> Answer {
        if self.psid().is_none() {
            return Err(illegal());
        }
        match (protocol, specific) {
            // Which protocols there are.
            (0, 0) => Ok(vec![0, 0, 0, 0, 0, 0, 0, 2, 0, 1]),
            (1, 1) => Ok(self.discovery()),
            (1, COM_ID) => Ok(match self.tcg.answer.take() {
                Some((answer, true)) => answer,
                // It wants to be asked twice: there is something outstanding, of which nothing can be had.
                Some((answer, false)) => {
                    self.tcg.answer = Some((answer, true));
                    packet(0, 0, &[], 1)
                }
                None => packet(0, 0, &[], 0),
            }),
            _ => Err(illegal()),
        }
    }

    /// SECURITY PROTOCOL OUT. That all goes well is what a caller says that it expects.
    pub(super) fn security_out(&mut self, protocol: u8, specific: usize, sent: &[u8]) -> Answer {
        let (Some(psid), (1, COM_ID)) = (self.psid(), (protocol, specific)) else { return Err(illegal()) };
        let Some((drives, ours, tokens)) = read(sent) else { return Err(illegal()) };
        let of_session = self.tcg.session.is_some_and(|session| session == drives);
        let tokens = match tokens.strip_suffix(&EXPECTED).unwrap_or(&tokens) {
            [Control(0xfa)] if of_session => {
                self.tcg.session = None;
                vec![0xfa]
            }
            [Control(0xf8), Bytes(object), Bytes(method), Control(0xf0), parameters @ .., Control(0xf1)] => {
                match (object[..].try_into(), method[..].try_into()) {
                    (Ok(SESSION_MANAGER), Ok(START_SESSION)) if (drives, ours) == (0, 0) => {
                        self.start_session(parameters, psid)
                    }
                    (Ok(ADMIN_SP), Ok(REVERT)) if of_session && parameters.is_empty() => self.revert(),
                    _ => ended(&[0xf0, 0xf1], INVALID_PARAMETER),
                }
            }
            _ => return Err(illegal()),
        };
        self.tcg.answer = Some((packet(drives, ours, &tokens, 0), false));
        Ok(Vec::new())
    }

    fn start_session(&mut self, parameters: &[Token], psid: &str) -> Vec<u8> {
        let refused = |status| ended(&[&sync_session()[..], &[0xf0, 0xf1]].concat(), status);
        let [
            Number(host),
            Bytes(sp),
            Number(1),
            Control(0xf2),
            Number(0),
            Bytes(challenge),
            Control(0xf3),
            Control(0xf2),
            Number(3),
            Bytes(authority),
            Control(0xf3),
        ] = parameters
        else {
            return refused(INVALID_PARAMETER);
        };
        let host = u8::try_from(*host).ok().filter(|host| *host >= 0x40);
        let (Some(host), true) = (host, sp[..] == ADMIN_SP && authority[..] == PSID) else {
            return refused(INVALID_PARAMETER);
        };
        if self.tcg.session.is_some() {
            return refused(NO_SESSIONS);
        }
        if self.tcg.wrong >= TRIES {
            return refused(LOCKED_OUT);
        }
        if challenge != psid.as_bytes() {
            self.tcg.wrong += 1;
            return refused(NOT_AUTHORIZED);
        }
        (self.tcg.wrong, self.tcg.sessions) = (0, self.tcg.sessions + 1);
        let session = 0x1000 + self.tcg.sessions;
        self.tcg.session = Some(session);
        let [.., high, low] = session.to_be_bytes();
        ended(&[&sync_session()[..], &[0xf0, 0x81, host, 0x82, high, low, 0xf1]].concat(), 0)
    }

    fn revert(&mut self) -> Vec<u8> {
        if self.broken {
            return ended(&[0xf0, 0xf1], FAIL);
        }
        self.told.push("Revert".into());
        if self.tcg.locking {
            self.erase();
        }
        (self.tcg.locking, self.tcg.locked, self.tcg.session) = (false, false, None);
        ended(&[0xf0, 0xf1], 0)
    }

    /// TPer, locking and Opal 2.
    fn discovery(&self) -> Vec<u8> {
        let bits = 0b1001 | u8::from(self.tcg.locking) << 1 | u8::from(self.tcg.locked) << 2;
        let mut told = vec![0, 0, 0, 96, 0, 0, 0, 1];
        told.resize(48, 0);
        for (code, length, data) in
            [(1_u16, 12, &[0x11][..]), (2, 12, &[bits]), (0x0203, 16, &[0x10, 0x04, 0, 1, 0, 0, 4, 0, 9])]
        {
            told.extend(code.to_be_bytes());
            told.extend([0x10, length]);
            let end = told.len() + usize::from(length);
            told.extend(data);
            told.resize(end, 0);
        }
        told
    }
}

const EXPECTED: [Token; 6] = [Control(0xf9), Control(0xf0), Number(0), Number(0), Number(0), Control(0xf1)];

/// The beginning of a call of SyncSession.
fn sync_session() -> Vec<u8> {
    [&[0xf8, 0xa8][..], &SESSION_MANAGER, &[0xa8, 0, 0, 0, 0, 0, 0, 0xff, 3]].concat()
}

fn ended(tokens: &[u8], status: u8) -> Vec<u8> {
    [tokens, &[0xf9, 0xf0, status, 0, 0, 0xf1]].concat()
}

fn packet(drives: u32, ours: u32, tokens: &[u8], outstanding: u32) -> Vec<u8> {
    let padded = tokens.len().next_multiple_of(4);
    let (inner, outer) = if tokens.is_empty() { (0, 0) } else { (12 + padded, 36 + padded) };
    let words = [0, (COM_ID as u32) << 16, outstanding, 0, outer as u32, drives, ours, 0, 0, 0, inner as u32, 0, 0];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.extend((tokens.len() as u32).to_be_bytes());
    bytes.extend(tokens);
    bytes.resize(HEADERS + padded, 0);
    bytes
}

/// The session and the tokens of what was sent; nothing unless its lengths are right.
fn read(sent: &[u8]) -> Option<(u32, u32, Vec<Token>)> {
    let word = |at: usize| Some(u32::from_be_bytes(sent.get(at..at + 4)?.try_into().ok()?));
    let length = word(52)? as usize;
    let padded = length.next_multiple_of(4);
    let is_right = word(4)? == (COM_ID as u32) << 16
        && word(16)? as usize == 36 + padded
        && word(40)? as usize == 12 + padded
        && sent.len().is_multiple_of(512);
    let tokens = tokens(sent.get(HEADERS..HEADERS + length)?)?;
    is_right.then_some((word(20)?, word(24)?, tokens))
}

fn tokens(mut rest: &[u8]) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    while let [first, after @ ..] = rest {
        let (token, length) = match first {
            0..=0x3f => (Number(u64::from(*first)), 0),
            // Short atoms: numbers and bytes.
            0x80..=0x8f | 0xa0..=0xaf => {
                let length = usize::from(first & 0xf);
                let data = after.get(..length)?;
                let number = || data.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
                (if *first < 0xa0 { Number(number()) } else { Bytes(data.to_vec()) }, length)
            }
            // Medium atoms of bytes.
            0xd0..=0xd7 => {
                let length = usize::from(first & 7) << 8 | usize::from(*after.first()?);
                (Bytes(after.get(1..=length)?.to_vec()), 1 + length)
            }
            0xf0.. => (Control(*first), 0),
            _ => return None,
        };
        tokens.push(token);
        rest = &after[length..];
    }
    Some(tokens)
}
