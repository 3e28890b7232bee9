//! What the kernel says of a network interface by its name (netdevice(7)), in the calling thread's network
//! namespace. Changes to links are netlink's task; only a TAP device's own descriptor sets its hardware
//! address here.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::call;

/// Longest interface name in octets: `IFNAMSIZ` of linux/if.h less the NUL.
pub const NAME_OCTETS_MAX: usize = 15;

/// The interface's index.
///
/// # Errors
///
/// `ENODEV` when there is no interface of that name, `InvalidInput` when the name is too long.
pub fn index(name: &str) -> io::Result<u32> {
    index_on(socket()?.as_fd(), name)
}

/// The interface's MTU in octets: of an Ethernet device, without the Ethernet header.
///
/// # Errors
///
/// As [`index`].
pub fn mtu(name: &str) -> io::Result<u32> {
    mtu_on(socket()?.as_fd(), name)
}

/// The interface's MAC address.
///
/// # Errors
///
/// As [`index`]; `Unsupported` when the interface is not an Ethernet one.
pub fn hardware_address(name: &str) -> io::Result<[u8; 6]> {
    hardware_address_on(socket()?.as_fd(), name)
}

/// A socket that stands for the network namespace in which it was made, from whatever thread it is asked.
pub(crate) fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?)
}

pub(crate) fn index_on(fd: BorrowedFd<'_>, name: &str) -> io::Result<u32> {
    let mut request = Request::new(name)?;
    request.call(fd, Call::Index)?;
    Ok(u32::from_ne_bytes(request.value()))
}

pub(crate) fn mtu_on(fd: BorrowedFd<'_>, name: &str) -> io::Result<u32> {
    let mut request = Request::new(name)?;
    request.call(fd, Call::Mtu)?;
    Ok(u32::from_ne_bytes(request.value()))
}

/// `fd` is a socket in the interface's namespace, or the descriptor of the TAP device itself (`name` is
/// ignored then).
pub(crate) fn hardware_address_on(fd: BorrowedFd<'_>, name: &str) -> io::Result<[u8; 6]> {
    let mut request = Request::new(name)?;
    request.call(fd, Call::HardwareAddress)?;
    let [family_0, family_1, address @ ..]: [u8; 8] = request.value();
    if u16::from_ne_bytes([family_0, family_1]) == libc::ARPHRD_ETHER {
        Ok(address)
    } else {
        Err(io::Error::new(io::ErrorKind::Unsupported, "not an Ethernet interface"))
    }
}

/// The system calls that take a [`Request`] and keep no pointer of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    Index,
    Mtu,
    HardwareAddress,
    SetHardwareAddress,
    /// `TUNSETIFF`: make or attach the TAP device that the request names.
    TapAttach,
    /// `TUNSETQUEUE`: take the descriptor's queue out of use, or back into it.
    TapQueue,
    /// `TUNGETIFF`: the name and flags of the descriptor's device.
    TapDescribe,
}

impl Call {
    fn number(self) -> libc::Ioctl {
        match self {
            Call::Index => libc::SIOCGIFINDEX,
            Call::Mtu => libc::SIOCGIFMTU,
            Call::HardwareAddress => libc::SIOCGIFHWADDR,
            Call::SetHardwareAddress => libc::SIOCSIFHWADDR,
            Call::TapAttach => libc::TUNSETIFF,
            Call::TapQueue => libc::TUNSETQUEUE,
            Call::TapDescribe => libc::TUNGETIFF,
        }
    }
}

/// `struct ifreq` (linux/if.h): a name and a union, here as octets. The union is 24 octets on 64-bit hosts
/// and 16 on 32-bit ones, where the rest stays unused.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Request {
    name: [u8; NAME_OCTETS_MAX + 1],
    union: [u8; 24],
}

impl Request {
    /// # Errors
    ///
    /// `InvalidInput` when the name does not fit or holds a NUL.
    pub(crate) fn new(name: &str) -> io::Result<Request> {
        if name.len() > NAME_OCTETS_MAX || name.contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an interface name has at most 15 octets and no NUL",
            ));
        }
        let mut request = Request { name: [0; NAME_OCTETS_MAX + 1], union: [0; 24] };
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        Ok(request)
    }

    /// The name as the kernel takes it, padded with NUL.
    pub(crate) fn name_octets(&self) -> [u8; NAME_OCTETS_MAX + 1] {
        self.name
    }

    /// The name that the kernel wrote.
    pub(crate) fn name(&self) -> String {
        let octets = self.name.split(|octet| *octet == 0).next().unwrap_or_default();
        String::from_utf8_lossy(octets).into_owned()
    }

    /// The first octets of the union.
    pub(crate) fn value<const N: usize>(&self) -> [u8; N] {
        *self.union.first_chunk().expect("the union is longer than any value of it")
    }

    pub(crate) fn set_value<const N: usize>(&mut self, value: [u8; N]) {
        self.union[..N].copy_from_slice(&value);
    }

    /// # Errors
    ///
    /// What the kernel says of `call` on `fd`.
    pub(crate) fn call(&mut self, fd: BorrowedFd<'_>, call: Call) -> io::Result<()> {
        call::retry(|| {
            // SAFETY: `fd` is open for the length of the borrow. Each number that `Call` has takes a `struct
            // ifreq`, which `Request` is at least as long as and aligned for; the kernel reads and writes no
            // further, treats every octet as data (none of these calls follows `ifr_data`), and every octet
            // is initialised before and after.
            let result =
                unsafe { libc::ioctl(fd.as_raw_fd(), call.number(), std::ptr::from_mut(&mut *self)) };
            result as isize
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_long_as_the_kernel_s() {
        assert!(size_of::<Request>() >= size_of::<libc::ifreq>());
        assert!(align_of::<Request>() >= align_of::<libc::ifreq>());
    }

    #[test]
    fn the_loopback_interface_has_an_index_and_an_mtu_but_is_not_ethernet() {
        assert_eq!(index("lo").unwrap(), 1);
        assert!(mtu("lo").unwrap() >= 1280);
        assert_eq!(hardware_address("lo").unwrap_err().kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error_and_a_long_name_another() {
        assert_eq!(index("no-such-device").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert_eq!(index("sixteen-octets-x").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(index("nul\0").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
