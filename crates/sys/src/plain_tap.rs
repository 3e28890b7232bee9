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
    handle: Handle,
    /// Asks the namespace in which the device was made.
    namespace: OwnedFd,
}

/// What the device is reached by.
enum Handle {
    /// We made it.
    Made(Iface),
    /// Something else opened and attached it; its name at that time.
    Given { fd: OwnedFd, name: String },
}

impl PlainTap {
    /// Makes the device: `name` has 1 to 15 octets, and one `%d` in it becomes the first number that is free.
    ///
    /// # Errors
    ///
    /// [`TapError`], by what the operator can do about it. `FlagsRefused` here means that the kernel has no
    /// TAP at all.
    pub fn open(name: &str) -> Result<PlainTap, TapError> {
        tap::check_name(name)?;
        // The kernel would attach to a persistent device of that name without a word.
        if interface::index(name).is_ok() {
            return Err(TapError::NameTaken { name: name.to_owned() });
        }
        let iface = Iface::without_packet_info(name, Mode::Tap).map_err(|error| explain(error, name))?;
        let tap = PlainTap { handle: Handle::Made(iface), namespace: interface::socket()? };
        rustix::io::ioctl_fionbio(&tap, true).map_err(io::Error::from)?;
        // Where offloads exist none must be on, and where they do not the call fails: either is what we need.
        let _ = tap::set_offload(tap.as_fd(), Offload::NONE);
        Ok(tap)
    }

    /// Takes over a descriptor that something else opened and attached.
    ///
    /// # Errors
    ///
    /// `Io` of kind `InvalidInput` when it is not an attached TAP device without packet information, or has a virtio header.
    pub fn from_fd(fd: OwnedFd) -> Result<PlainTap, TapError> {
        let (name, flags) = tap::describe(fd.as_fd()).map_err(|_| tap::not_a_tap())?;
        let is_plain = flags & libc::IFF_TAP != 0 && flags & libc::IFF_NO_PI != 0;
        if !is_plain || flags & libc::IFF_VNET_HDR != 0 {
            return Err(tap::not_a_tap());
        }
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).map_err(io::Error::from)?;
        rustix::io::ioctl_fionbio(&fd, true).map_err(io::Error::from)?;
        let _ = tap::set_offload(fd.as_fd(), Offload::NONE);
        Ok(PlainTap { handle: Handle::Given { fd, name }, namespace: interface::socket()? })
    }

    /// As [`tap::Tap::set_persistent`].
    ///
    /// # Errors
    ///
    /// When the interface was deleted.
    pub fn set_persistent(&self, persistent: bool) -> io::Result<()> {
        tap::set_persistent(self.as_fd(), persistent)
    }

    /// The interface's name at open, with `%d` resolved.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.handle {
            Handle::Made(iface) => iface.name(),
            Handle::Given { name, .. } => name,
        }
    }

    /// Reads one frame and returns its octets; `None` when none is queued. A frame that is longer than the
    /// buffer is cut without a sign.
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
    /// `InvalidInput` for a frame shorter than an Ethernet header; `EIO` while the interface is down;
    /// `EBADFD` when it was deleted.
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
        let fd = match &self.handle {
            Handle::Made(iface) => iface.as_raw_fd(),
            Handle::Given { fd, .. } => return fd.as_fd(),
        };
        // SAFETY: `iface` owns the descriptor, closes it only when dropped, and is borrowed as long as the
        // result is.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{PacketOptions, PacketSocket};
    use crate::poll;
    use crate::tap::TapOptions;
    use crate::test_support::{self, LONG, isolated, up};

    fn open_or_skip(name: &str) -> Option<PlainTap> {
        match PlainTap::open(name) {
            Ok(tap) => Some(tap),
            Err(error @ (TapError::NoDevice | TapError::NoPermission { .. })) => {
                test_support::skip(&error.to_string());
                None
            }
            Err(error) => panic!("{error}: {error:?}"),
        }
    }

    #[test]
    fn a_frame_crosses_each_way_as_it_is() {
        isolated(|| {
            let Some(tap) = open_or_skip("plain%d") else { return };
            assert_eq!(tap.name(), "plain0");
            up("plain0");
            assert_eq!(tap.mtu().unwrap(), 1500);
            assert_eq!(tap.index().unwrap(), interface::index("plain0").unwrap());
            assert_eq!(tap.mac().unwrap(), interface::hardware_address("plain0").unwrap());
            let stack =
                PacketSocket::open("plain0", &PacketOptions { ignore_outgoing: true, promiscuous: false })
                    .unwrap();
            let mut frame = vec![0xff; 12];
            frame.extend([0x88, 0xb5]);
            frame.extend(0..50);
            let mut buffer = [0; 2048];
            assert_eq!(tap.read(&mut buffer).unwrap(), None);

            stack.send(&frame).unwrap().unwrap();
            assert!(poll::readable(tap.as_fd(), LONG).unwrap());
            let octets = tap.read(&mut buffer).unwrap().unwrap();
            assert_eq!(buffer[..octets], frame);

            assert_eq!(tap.write(&frame).unwrap(), Some(frame.len()));
            let octets = stack.recv(&mut buffer, LONG).unwrap().unwrap();
            assert_eq!(buffer[..octets], frame);
            assert_eq!(tap.write(&frame[..13]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        });
    }

    #[test]
    fn a_name_in_use_or_out_of_bounds_is_refused() {
        isolated(|| {
            let Some(_first) = open_or_skip("plain") else { return };
            let _other = test_support::tap(&TapOptions::new("tap")).unwrap();
            // One that nobody holds, to which the kernel would attach.
            let persistent = PlainTap::open("stays").unwrap();
            test_support::persist(&persistent, true);
            drop(persistent);
            for name in ["plain", "tap", "lo", "stays"] {
                let error = PlainTap::open(name).unwrap_err();
                assert!(matches!(&error, TapError::NameTaken { .. }), "{name}: {error:?}");
            }
            for name in ["sixteen-octets-x", ""] {
                let error = PlainTap::open(name).unwrap_err();
                assert!(matches!(&error, TapError::BadName { .. }), "{name}: {error:?}");
            }
        });
    }

    #[test]
    fn its_descriptor_does_not_outlive_an_exec() {
        isolated(|| {
            let Some(tap) = open_or_skip("plain") else { return };
            assert_eq!(rustix::io::fcntl_getfd(&tap).unwrap(), rustix::io::FdFlags::CLOEXEC);
        });
    }
}
