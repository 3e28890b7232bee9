//! The TAP device without a virtio header, by the `tun-tap` crate: for kernels that refuse `IFF_VNET_HDR`.
//! Frames have at most the MTU and an Ethernet header, and full checksums.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use tun_tap::{Iface, Mode};

use crate::call;
use crate::interface;
use crate::tap::{self, Offload, TapError};

/// A plain TAP device. The interface disappears with it unless it is persistent.
pub struct PlainTap {
    iface: Iface,
    /// Asks the namespace in which the device was made.
    namespace: OwnedFd,
}

impl PlainTap {
    /// Makes the device: `name` has 1 to 15 octets, and one `%d` in it becomes the first number that is free.
    ///
    /// # Errors
    ///
    /// [`TapError`], by what the operator can do about it. `FlagsRefused` here means that the kernel has no TAP at all.
    pub fn open(name: &str) -> Result<PlainTap, TapError> {
        tap::check_name(name)?;
        // The kernel would attach to a persistent device of that name without a word.
        if interface::index(name).is_ok() {
            return Err(TapError::NameTaken { name: name.to_owned() });
        }
        let iface = Iface::without_packet_info(name, Mode::Tap).map_err(|error| explain(error, name))?;
        let tap = PlainTap { iface, namespace: interface::socket()? };
        rustix::io::ioctl_fionbio(&tap, true).map_err(io::Error::from)?;
        // Where offloads exist none must be on, and where they do not the call fails: either is what we need.
        let _ = tap::set_offload(tap.as_fd(), Offload::NONE);
        Ok(tap)
    }

    /// The interface's name at open, with `%d` resolved.
    #[must_use]
    pub fn name(&self) -> &str {
        self.iface.name()
    }

    /// Reads one frame and returns its octets; `None` when none is queued. A frame that is longer than the buffer is cut
    /// without a sign.
    ///
    /// # Errors
    ///
    /// `EBADFD` when the interface was deleted.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        call::read(self.as_fd(), buffer)
    }

    /// Writes one frame and returns the octets taken; `None` when the kernel has no room for it now.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a frame shorter than an Ethernet header; `EIO` while the interface is down; `EBADFD` when it was
    /// deleted.
    pub fn write(&self, frame: &[u8]) -> io::Result<Option<usize>> {
        call::write(self.as_fd(), frame)
    }

    /// The interface's MAC address.
    ///
    /// # Errors
    ///
    /// When the interface was deleted, renamed or moved to another network namespace.
    pub fn mac(&self) -> io::Result<[u8; 6]> {
        interface::hardware_address_on(self.namespace.as_fd(), self.name())
    }

    /// The interface's MTU in octets, without the Ethernet header.
    ///
    /// # Errors
    ///
    /// As [`PlainTap::mac`].
    pub fn mtu(&self) -> io::Result<u32> {
        interface::mtu_on(self.namespace.as_fd(), self.name())
    }

    /// The interface's index.
    ///
    /// # Errors
    ///
    /// As [`PlainTap::mac`].
    pub fn index(&self) -> io::Result<u32> {
        interface::index_on(self.namespace.as_fd(), self.name())
    }
}

impl AsFd for PlainTap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let fd = self.iface.as_raw_fd();
        // SAFETY: `iface` owns the descriptor, closes it only when dropped, and is borrowed as long as the result is.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }
}

impl std::fmt::Debug for PlainTap {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PlainTap").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// tun-tap gives one error for opening the file and for attaching the device; only errno tells them apart.
fn explain(error: io::Error, name: &str) -> TapError {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::ENOENT | libc::ENXIO | libc::ENODEV | libc::ENOTDIR) => {
            tap::explain_open(error)
        }
        _ => tap::explain_attach(error, name),
    }
}
