//! The kernel's device events.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket, sockopt,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A socket on which the kernel announces devices.
#[derive(Debug)]
pub struct Events {
    socket: OwnedFd,
}

impl Events {
    /// Listens from now on.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn open() -> nix::Result<Events> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkKObjectUEvent,
        )?;
        // Coldplug of a full machine sends thousands of events at once.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20));
        // Group 1 is the kernel's own; udev repeats them in group 2.
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 1))?;
        Ok(Events { socket })
    }

    /// Waits for an event, at most so long, and takes all that are there.
    pub fn wait(&self, limit: Duration) {
        if !self.take(limit).is_empty() {
            while !self.take(Duration::ZERO).is_empty() {}
        }
    }

    /// Waits for one event, at most so long. Empty when there was none, or the kernel had to drop some.
    #[must_use]
    pub fn take(&self, limit: Duration) -> Vec<u8> {
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        if !matches!(poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout), Ok(1..)) {
            return Vec::new();
        }
        let mut message = vec![0; 8192];
        let length = recv(self.socket.as_raw_fd(), &mut message, MsgFlags::empty()).unwrap_or(0);
        message.truncate(length);
        message
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The value of a key in an event: `KEY=value` between NULs.
#[must_use]
pub fn value<'a>(event: &'a [u8], key: &str) -> Option<&'a str> {
    event.split(|b| *b == 0).find_map(|field| std::str::from_utf8(field).ok()?.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_whole_keys() {
        let event = b"change@/devices/virtual/block/dm-0\0ACTION=change\0DEVNAME=dm-0\0DM_VERITY_ERR_BLOCK_NR=1,77\0";
        assert_eq!(value(event, "DM_VERITY_ERR_BLOCK_NR"), Some("1,77"));
        assert_eq!(value(event, "DEV"), None);
    }
}
