//! A guest as data, and the argument list that makes it.

use super::{Accelerator, Bus, Disk, tpm};
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The fw_cfg file the agent looks for its configuration in.
pub const CONFIG_FW_CFG: &str = "opt/io.bedplate/config";
/// The one in which it looks for a recovery key.
pub const RECOVERY_FW_CFG: &str = "opt/io.bedplate/recovery";

/// Everything there is to a guest. [`Guest::new`] gives one without firmware, disks or network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Memory in MiB.
    pub memory: u32,
    /// Processors.
    pub cpus: u32,
    /// What runs its instructions.
    pub accelerator: Accelerator,
    /// UEFI firmware; without it SeaBIOS.
    pub firmware: Option<Firmware>,
    /// A kernel started by QEMU itself, past the disks.
    pub kernel: Option<KernelBoot>,
    /// Disks, in order; the firmware tries them in this order too.
    pub disks: Vec<Disk>,
    /// fw_cfg files: name, and the file whose bytes they are.
    pub fw_cfg: Vec<(String, PathBuf)>,
    /// What the SMBIOS tables say.
    pub smbios: Smbios,
    /// Where each serial port leads, from `ttyS0` on.
    pub serial: Vec<Serial>,
    /// Network.
    pub network: Network,
    /// Video.
    pub display: Display,
    /// A TPM 2.0, whose state lies in this folder.
    pub tpm: Option<PathBuf>,
    /// A USB controller, for sticks that are plugged in later.
    pub usb: bool,
    /// Ends instead of starting again when the guest resets.
    pub no_reboot: bool,
}

/// UEFI firmware in flash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// Its code, read-only.
    pub code: PathBuf,
    /// Its variables; the guest's own file, written by it.
    pub vars: PathBuf,
}

/// A kernel started without firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct KernelBoot {
    pub kernel: PathBuf,
    pub initrd: Option<PathBuf>,
    pub arguments: String,
}

/// Identity of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Smbios {
    /// System serial number.
    pub serial: Option<String>,
    /// System UUID.
    pub uuid: Option<Uuid>,
    /// Files whose text becomes an OEM string (type 11) each.
    pub oem_strings: Vec<PathBuf>,
}

/// Where a serial port leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serial {
    /// QEMU's own standard streams; Ctrl-C there ends the guest. At most one.
    Stdio,
    /// Appended to this file.
    File(PathBuf),
    /// Appended to `log`, and to whoever listens at the socket `path` and can type there.
    Socket {
        /// The socket QEMU makes.
        path: PathBuf,
        /// The file.
        log: PathBuf,
    },
}

/// Network of the guest: one virtio card, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// None.
    None,
    /// QEMU's own NAT: the guest is 10.0.2.15, the host 10.0.2.2.
    User {
        /// Ports of the host's loopback interface that lead into the guest.
        forwards: Vec<Forward>,
    },
    /// As `User` without forwards, and the firmware is offered a file by DHCP and TFTP (PXE).
    Pxe {
        /// Folder that TFTP serves.
        folder: PathBuf,
        /// The file in it that is to be started.
        file: String,
    },
    /// A port of a switch that listens on this socket ([`Guest::switch_arguments`]).
    Switch {
        /// The switch's socket for this guest.
        socket: PathBuf,
        /// The guest's address on it.
        mac: String,
    },
}

/// A TCP port of 127.0.0.1 that leads to one of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Forward {
    pub host: u16,
    pub guest: u16,
}

/// Video of the guest; nothing is shown on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    /// No card.
    None,
    /// A VGA card, for screenshots.
    Vga,
}

/// How a configuration reaches a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ConfigBy {
    /// QEMU's fw_cfg device.
    FwCfg,
    /// A volume labelled BEDPLATE.
    Volume,
    /// An SMBIOS OEM string.
    Smbios,
}

impl Guest {
    /// A guest of this much memory (MiB) and this many processors, and nothing else.
    pub fn new(memory: u32, cpus: u32, accelerator: Accelerator) -> Guest {
        Guest {
            memory,
            cpus,
            accelerator,
            firmware: None,
            kernel: None,
            disks: Vec::new(),
            fw_cfg: Vec::new(),
            smbios: Smbios::default(),
            serial: Vec::new(),
            network: Network::None,
            display: Display::None,
            tpm: None,
            usb: false,
            no_reboot: false,
        }
    }

    /// QEMU's arguments, with its control socket at `qmp`.
    pub fn arguments(&self, qmp: &Path) -> Vec<OsString> {
        let mut to = Arguments::default();
        to.words("-nodefaults -no-user-config -display none");
        to.words(match self.accelerator {
            Accelerator::Kvm => "-accel kvm -cpu host",
            // One thread per processor; `max` has what distributions' baselines ask for. Without the two that promise
            // fast string moves, the guest copies by words: an emulated `rep movsb` goes byte by byte.
            Accelerator::Tcg => "-accel tcg,thread=multi -cpu max,-erms,-fsrm",
        });
        to.words(&format!("-m {} -smp {}", self.memory, self.cpus));
        // Secure Boot needs system management mode: only the firmware may write its variables.
        to.words(if self.firmware.is_some() { "-machine q35,smm=on" } else { "-machine q35" });
        if let Some(Firmware { code, vars }) = &self.firmware {
            to.words("-global driver=cfi.pflash01,property=secure,value=on -global ICH9-LPC.disable_s3=1");
            to.option("-drive", "if=pflash,unit=0,format=raw,readonly=on,file=", code);
            to.option("-drive", "if=pflash,unit=1,format=raw,file=", vars);
        }
        if let Some(KernelBoot { kernel, initrd, arguments }) = &self.kernel {
            to.0.extend(["-kernel".into(), kernel.into()]);
            if let Some(initrd) = initrd {
                to.0.extend(["-initrd".into(), initrd.into()]);
            }
            to.0.extend(["-append".into(), arguments.into()]);
        }
        if self.usb || self.disks.iter().any(|d| d.bus == Bus::Usb) {
            to.words("-device qemu-xhci,id=usb");
        }
        if self.disks.iter().any(|d| d.bus == Bus::VirtioScsi) {
            to.words("-device virtio-scsi-pci,id=scsi");
        }
        // A kernel started by QEMU itself takes the first place.
        let first = usize::from(self.kernel.is_some());
        for (index, disk) in self.disks.iter().enumerate() {
            disk.arguments(index, first + index, &mut to);
        }
        for (name, file) in &self.fw_cfg {
            to.option("-fw_cfg", &format!("name={name},file="), file);
        }
        self.smbios.arguments(&mut to);
        for (index, serial) in self.serial.iter().enumerate() {
            match serial {
                Serial::Stdio => to.words(&format!("-chardev stdio,id=serial{index},signal=on")),
                Serial::File(file) => {
                    to.option("-chardev", &format!("file,id=serial{index},append=on,path="), file);
                }
                Serial::Socket { path, log } => {
                    let log = doubled(&log.to_string_lossy());
                    let options =
                        format!("socket,id=serial{index},server=on,wait=off,logappend=on,logfile={log},path=");
                    to.option("-chardev", &options, path);
                }
            }
            to.words(&format!("-serial chardev:serial{index}"));
        }
        self.network.arguments(&mut to);
        // Recent OVMF brings up no network without a source of entropy, and a node's first keys want one.
        to.words("-object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng");
        if self.display == Display::Vga {
            to.words("-device VGA");
        }
        if let Some(folder) = &self.tpm {
            to.option("-chardev", "socket,id=tpm,path=", &tpm::socket(folder));
            to.words("-tpmdev emulator,id=tpm0,chardev=tpm -device tpm-crb,tpmdev=tpm0");
        }
        if self.no_reboot {
            to.words("-no-reboot");
        }
        to.option("-chardev", "socket,id=qmp,server=on,wait=off,path=", qmp);
        to.words("-mon chardev=qmp,mode=control");
        to.0
    }

    /// Arguments of a QEMU that is no guest but the switch between guests: one socket for each, and NAT to the
    /// host. Addresses are given out from 10.0.2.15 on.
    pub fn switch_arguments(ports: &[PathBuf], qmp: &Path) -> Vec<OsString> {
        let mut to = Arguments::default();
        to.words("-nodefaults -no-user-config -display none -machine none");
        to.words("-netdev user,id=nat -netdev hubport,id=hub-nat,hubid=0,netdev=nat");
        for (index, port) in ports.iter().enumerate() {
            to.option("-netdev", &format!("stream,id=port{index},server=on,addr.type=unix,addr.path="), port);
            to.words(&format!("-netdev hubport,id=hub{index},hubid=0,netdev=port{index}"));
        }
        to.option("-chardev", "socket,id=qmp,server=on,wait=off,path=", qmp);
        to.words("-mon chardev=qmp,mode=control");
        to.0
    }
}

impl Smbios {
    fn arguments(&self, to: &mut Arguments) {
        let mut system = String::from("type=1,manufacturer=Bedplate,product=Guest");
        if let Some(serial) = &self.serial {
            system.push_str(&format!(",serial={}", doubled(serial)));
        }
        if let Some(uuid) = &self.uuid {
            system.push_str(&format!(",uuid={uuid}"));
        }
        to.0.extend(["-smbios".into(), system.into()]);
        for file in &self.oem_strings {
            to.option("-smbios", "type=11,path=", file);
        }
    }
}

impl Network {
    fn arguments(&self, to: &mut Arguments) {
        match self {
            Network::None => {}
            Network::User { forwards } => {
                let mut user = String::from("user,id=net");
                for Forward { host, guest } in forwards {
                    user.push_str(&format!(",hostfwd=tcp:{}:{host}-:{guest}", Ipv4Addr::LOCALHOST));
                }
                to.0.extend(["-netdev".into(), user.into()]);
                to.words("-device virtio-net-pci,netdev=net,romfile=");
            }
            Network::Pxe { folder, file } => {
                to.option("-netdev", &format!("user,id=net,bootfile={},tftp=", doubled(file)), folder);
                to.words("-device virtio-net-pci,netdev=net,romfile=,bootindex=100");
            }
            Network::Switch { socket, mac } => {
                to.option("-netdev", "stream,id=net,server=off,addr.type=unix,addr.path=", socket);
                to.words(&format!("-device virtio-net-pci,netdev=net,romfile=,mac={mac}"));
            }
        }
    }
}

/// Arguments in the making.
#[derive(Debug, Default)]
pub(super) struct Arguments(pub(super) Vec<OsString>);

impl Arguments {
    /// Adds words that hold no space and no comma of a caller's.
    pub(super) fn words(&mut self, words: &str) {
        self.0.extend(words.split(' ').map(OsString::from));
    }

    /// Adds an option that ends in a path. QEMU reads a doubled comma as a plain one.
    pub(super) fn option(&mut self, name: &str, value: &str, path: &Path) {
        let mut value = OsString::from(value);
        value.push(doubled(&path.to_string_lossy()));
        self.0.extend([name.into(), value]);
    }
}

pub(super) fn doubled(text: &str) -> String {
    text.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(guest: &Guest) -> String {
        let words: Vec<_> = guest.arguments(Path::new("/run/q")).iter().map(|a| a.to_string_lossy().into()).collect();
        let words: Vec<String> = words;
        words.join(" ")
    }

    #[test]
    fn secure_boot_needs_smm_and_flash_that_only_the_firmware_writes() {
        let mut guest = Guest::new(2048, 2, Accelerator::Tcg);
        guest.firmware = Some(Firmware { code: "/fw/code".into(), vars: "/g/vars".into() });
        let text = text(&guest);
        assert!(text.contains("-machine q35,smm=on"), "{text}");
        assert!(text.contains("driver=cfi.pflash01,property=secure,value=on"), "{text}");
        assert!(text.contains("unit=0,format=raw,readonly=on,file=/fw/code"), "{text}");
        assert!(text.contains("unit=1,format=raw,file=/g/vars"), "{text}");
    }

    #[test]
    fn a_configuration_is_named_by_its_file_and_never_spelt_out() {
        let mut guest = Guest::new(512, 1, Accelerator::Tcg);
        guest.fw_cfg.push((CONFIG_FW_CFG.into(), "/g/config".into()));
        guest.smbios.oem_strings.push("/g/oem".into());
        let text = text(&guest);
        assert!(text.contains("-fw_cfg name=opt/io.bedplate/config,file=/g/config"), "{text}");
        assert!(text.contains("-smbios type=11,path=/g/oem"), "{text}");
    }

    #[test]
    fn discs_sticks_and_pxe_are_boot_devices() {
        let mut guest = Guest::new(512, 1, Accelerator::Tcg);
        guest.disks = vec![
            Disk { bus: Bus::Disc, read_only: true, ..Disk::raw("/iso") },
            Disk { bus: Bus::Usb, throw_away: true, ..Disk::raw("/stick") },
        ];
        guest.network = Network::Pxe { folder: "/t,f".into(), file: "node.efi".into() };
        let text = text(&guest);
        assert!(text.contains("readonly=on,media=cdrom,file=/iso"), "{text}");
        assert!(text.contains("ide-cd,bus=ide.0,drive=disk0,id=dev0,bootindex=0"), "{text}");
        assert!(text.contains("readonly=off,snapshot=on,file=/stick"), "{text}");
        let controller = text.find("qemu-xhci,id=usb").unwrap();
        assert!(controller < text.find("usb-storage,bus=usb.0,drive=disk1").unwrap(), "{text}");
        assert!(text.contains("user,id=net,bootfile=node.efi,tftp=/t,,f"), "{text}");
    }

    #[test]
    fn commas_in_paths_and_serials_stay_part_of_them() {
        let mut guest = Guest::new(512, 1, Accelerator::Tcg);
        guest.serial.push(Serial::File("/a,b/serial".into()));
        guest.smbios.serial = Some("X,uuid=1".into());
        let text = text(&guest);
        assert!(text.contains("path=/a,,b/serial"), "{text}");
        assert!(text.contains("serial=X,,uuid=1"), "{text}");
    }

    #[test]
    fn forwards_listen_on_the_loopback_interface_alone() {
        let mut guest = Guest::new(512, 1, Accelerator::Kvm);
        guest.network = Network::User { forwards: vec![Forward { host: 40001, guest: 10250 }] };
        let text = text(&guest);
        assert!(text.contains("hostfwd=tcp:127.0.0.1:40001-:10250"), "{text}");
        assert!(text.contains("-accel kvm -cpu host"), "{text}");
    }

    #[test]
    fn the_first_disk_is_tried_first() {
        let mut guest = Guest::new(512, 1, Accelerator::Tcg);
        guest.disks = vec![Disk::raw("/a"), Disk { bus: Bus::Nvme, serial: Some("N1".into()), ..Disk::raw("/b") }];
        let text = text(&guest);
        assert!(text.contains("virtio-blk-pci,drive=disk0,id=dev0,bootindex=0"), "{text}");
        assert!(text.contains("nvme,drive=disk1,id=dev1,bootindex=1,serial=N1"), "{text}");
        guest.kernel = Some(KernelBoot { kernel: "/k".into(), initrd: None, arguments: String::new() });
        let text = self::text(&guest);
        assert!(text.contains("id=dev0,bootindex=1") && text.contains("id=dev1,bootindex=2"), "{text}");
    }
}
