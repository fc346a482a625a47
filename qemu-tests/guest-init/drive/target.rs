//! Plugs a drive in: a device of the kernel's own SCSI target that hands its commands to this program (`linux/target_core_user.h`),
//! on a bus within the machine (`tcm_loop`).

use super::Answer;
use nix::libc;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

const CONFIG: &str = "/sys/kernel/config";
/// CHECK CONDITION.
const CONDITION: u8 = 2;
/// Places in the mailbox, `struct tcmu_mailbox`: where the ring is and how long, where it is filled to and emptied to.
const RING_AT: usize = 4;
const RING_LENGTH: usize = 8;
const HEAD: usize = 12;
const TAIL: usize = 64;
/// Places in an entry, `struct tcmu_cmd_entry`: its length with the kind in the lowest bits, how many stretches of data there
/// are, where the command is, the stretches; then what it is answered with.
const STRETCHES: usize = 8;
const COMMAND: usize = 24;
const FIRST_STRETCH: usize = 48;
const STATUS: usize = 8;
const SENSE: usize = 16;

/// A drive's place in the machine.
pub struct Target {
    device: PathBuf,
    bus: PathBuf,
    serving: JoinHandle<()>,
}

impl Target {
    /// Plugs in a drive of `size` bytes that gives these answers to commands and what was sent with them.
    pub fn plug(name: &str, size: usize, answer: impl FnMut(&[u8], &[u8]) -> Answer + Send + 'static) -> Target {
        let config = Path::new(CONFIG);
        if !config.join("target").exists() {
            sys_mount::Mount::builder().fstype("configfs").mount("configfs", config).unwrap();
        }
        let device = config.join("target/core/user_0").join(name);
        fs::create_dir_all(&device).unwrap();
        fs::write(device.join("control"), format!("dev_size={size},hw_block_size=512")).unwrap();
        fs::write(device.join("enable"), "1").unwrap();
        let shared = Shared::of(name);
        let serving = std::thread::spawn(move || shared.serve(answer));

        // A name for the bus, and for who speaks on it.
        let number = name.bytes().fold(0_u64, |n, byte| n << 8 | u64::from(byte)) & 0xff_ffff;
        let bus = config.join("target/loopback").join(format!("naa.6001405000{number:06x}"));
        let port = bus.join("tpgt_1");
        fs::create_dir_all(&port).unwrap();
        fs::write(port.join("nexus"), format!("naa.6001405001{number:06x}")).unwrap();
        fs::create_dir(port.join("lun/lun_0")).unwrap();
        std::os::unix::fs::symlink(&device, port.join("lun/lun_0/drive")).unwrap();
        Target { device, bus, serving }
    }

    /// Takes it out again.
    pub fn pull(self) {
        let port = self.bus.join("tpgt_1");
        fs::remove_file(port.join("lun/lun_0/drive")).unwrap();
        for folder in [port.join("lun/lun_0"), port, self.bus, self.device] {
            fs::remove_dir(folder).unwrap();
        }
        self.serving.join().unwrap();
    }
}

/// The memory that the kernel and this program share, and how they wake each other.
struct Shared {
    wake: File,
    memory: *mut u8,
    length: usize,
}

// SAFETY: the memory is mapped for as long as the program runs, and one thread alone has it.
#[allow(unsafe_code, reason = "memory that is shared with the kernel")]
unsafe impl Send for Shared {}

#[allow(unsafe_code, reason = "memory that is shared with the kernel")]
impl Shared {
    fn of(name: &str) -> Shared {
        let mut found = fs::read_dir("/sys/class/uio").unwrap().flatten().map(|entry| entry.path());
        let is_it = |at: &PathBuf| {
            fs::read_to_string(at.join("name")).unwrap_or_default().split('/').any(|part| part.trim() == name)
        };
        let at = found.find(is_it).unwrap_or_else(|| panic!("the kernel hands over nothing of {name}"));
        let size = fs::read_to_string(at.join("maps/map0/size")).unwrap();
        let length = usize::from_str_radix(size.trim().trim_start_matches("0x"), 16).unwrap();
        let node = Path::new("/dev").join(at.file_name().unwrap());
        let wake = OpenOptions::new().read(true).write(true).open(node).unwrap();
        // SAFETY: a new mapping, of the length that the kernel says.
        let memory = unsafe {
            let how = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), length, how, libc::MAP_SHARED, wake.as_raw_fd(), 0)
        };
        assert!(memory != libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        Shared { wake, memory: memory.cast(), length }
    }

    fn read(&self, at: usize, length: usize) -> Vec<u8> {
        assert!(at + length <= self.length, "{at} and {length} bytes");
        let mut bytes = vec![0; length];
        // SAFETY: it is within the mapping.
        unsafe { std::ptr::copy_nonoverlapping(self.memory.add(at), bytes.as_mut_ptr(), length) };
        bytes
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.length, "{at} and {} bytes", bytes.len());
        // SAFETY: it is within the mapping.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory.add(at), bytes.len()) };
    }

    fn number(&self, at: usize) -> usize {
        u32::from_le_bytes(self.read(at, 4).try_into().unwrap()) as usize
    }

    fn long(&self, at: usize) -> usize {
        usize::try_from(u64::from_le_bytes(self.read(at, 8).try_into().unwrap())).unwrap()
    }

    fn shared(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && at + 4 <= self.length);
        // SAFETY: it is aligned and within the mapping, which lasts.
        unsafe { AtomicU32::from_ptr(self.memory.add(at).cast()) }
    }

    /// Answers commands until the drive is pulled.
    fn serve(mut self, mut answer: impl FnMut(&[u8], &[u8]) -> Answer) {
        let (ring, length) = (self.number(RING_AT), self.number(RING_LENGTH));
        loop {
            loop {
                let tail = self.shared(TAIL).load(Ordering::Acquire) as usize;
                if tail == self.shared(HEAD).load(Ordering::Acquire) as usize {
                    break;
                }
                let entry = ring + tail;
                let header = self.number(entry);
                // 0 only fills the ring up to its end.
                if header & 7 == 1 {
                    self.one(entry, &mut answer);
                }
                let next = u32::try_from((tail + (header & !7)) % length).unwrap();
                self.shared(TAIL).store(next, Ordering::Release);
            }
            let woken = self.wake.write_all(&[0; 4]).and_then(|()| self.wake.read_exact(&mut [0; 4]));
            if woken.is_err() {
                return;
            }
        }
    }

    fn one(&self, entry: usize, answer: &mut impl FnMut(&[u8], &[u8]) -> Answer) {
        let stretches: Vec<(usize, usize)> = (0..self.number(entry + STRETCHES))
            .map(|i| entry + FIRST_STRETCH + 16 * i)
            .map(|at| (self.long(at), self.long(at + 8)))
            .collect();
        let command = self.read(self.long(entry + COMMAND), 16);
        let mut sent = Vec::new();
        stretches.iter().for_each(|(at, length)| sent.extend(self.read(*at, *length)));
        let (status, sense) = match answer(&command, &sent) {
            Ok(given) => {
                let mut rest = given.as_slice();
                for (at, length) in stretches {
                    let (now, later) = rest.split_at(length.min(rest.len()));
                    self.write(at, now);
                    rest = later;
                }
                (0, Vec::new())
            }
            Err(sense) => (CONDITION, sense),
        };
        self.write(entry + STATUS, &[status, 0, 0, 0, 0, 0, 0, 0]);
        self.write(entry + SENSE, &sense);
    }
}
