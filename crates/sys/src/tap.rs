//! The TAP device with a virtio header in front of each frame (linux/if_tun.h, linux/virtio_net.h).
//!
//! With [`Offload`] granted, a read or a write moves a superframe: more than one segment in one buffer, described by the
//! header. The plain device of [`crate::plain_tap`] serves kernels that refuse the header.

use std::fmt;
use std::io;
use std::ops::BitOr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{Mode, OFlags};

use crate::call;
use crate::interface::{self, Call, NAME_OCTETS_MAX, Request};

/// Octets of `struct virtio_net_hdr` (linux/virtio_net.h) in front of every frame: flags, gso_type, hdr_len, gso_size,
/// csum_start, csum_offset. The 16-bit fields are little-endian on every host.
pub const VNET_HEADER_OCTETS: usize = 10;

/// Where the kernel offers TAP devices (Documentation/networking/tuntap.rst).
const DEVICE_FILE: &str = "/dev/net/tun";

/// Which work on a frame the kernel may leave to us when we read it (`TUN_F_*` of linux/if_tun.h). None by default.
///
/// A write may use any of these whatever was granted: the mask concerns reads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Offload(u32);

impl Offload {
    /// Whole frames of at most the MTU, checksums filled in.
    pub const NONE: Offload = Offload(0);
    /// Frames whose TCP or UDP checksum is partial.
    pub const CSUM: Offload = Offload(libc::TUN_F_CSUM);
    /// TCP superframes over IPv4. Brings [`Offload::CSUM`] along, without which the kernel refuses it.
    pub const TSO4: Offload = Offload(libc::TUN_F_CSUM | libc::TUN_F_TSO4);
    /// TCP superframes over IPv6. Brings [`Offload::CSUM`] along.
    pub const TSO6: Offload = Offload(libc::TUN_F_CSUM | libc::TUN_F_TSO6);
    /// TCP superframes with the CWR bit set. Only beside [`Offload::TSO4`] or [`Offload::TSO6`].
    pub const TSO_ECN: Offload = Offload(libc::TUN_F_CSUM | libc::TUN_F_TSO_ECN);
    /// UDP superframes over IPv4 and IPv6: the kernel (6.2 and later) takes both or neither. Brings [`Offload::CSUM`] along.
    pub const USO: Offload = Offload(libc::TUN_F_CSUM | libc::TUN_F_USO4 | libc::TUN_F_USO6);

    /// The bits of `TUNSETOFFLOAD`.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// True if everything in `other` is in `self`.
    #[must_use]
    pub const fn contains(self, other: Offload) -> bool {
        self.0 & other.0 == other.0
    }

    const fn without_uso(self) -> Offload {
        Offload(self.0 & !(libc::TUN_F_USO4 | libc::TUN_F_USO6))
    }
}

impl BitOr for Offload {
    type Output = Offload;

    fn bitor(self, other: Offload) -> Offload {
        Offload(self.0 | other.0)
    }
}

impl fmt::Debug for Offload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (libc::TUN_F_CSUM, "csum"),
            (libc::TUN_F_TSO4, "tso4"),
            (libc::TUN_F_TSO6, "tso6"),
            (libc::TUN_F_TSO_ECN, "tso-ecn"),
            (libc::TUN_F_USO4, "uso4"),
            (libc::TUN_F_USO6, "uso6"),
        ];
        formatter
            .debug_set()
            .entries(names.iter().filter(|(bit, _)| self.0 & bit != 0).map(|(_, name)| name))
            .finish()
    }
}

/// What to open.
#[derive(Clone, Copy, Debug)]
pub struct TapOptions<'a> {
    /// The interface's name: 1 to 15 octets; one `%d` in it becomes the first number that is free.
    pub name: &'a str,
    /// What to ask the kernel for; [`Tap::offload`] says what it granted.
    pub offload: Offload,
    /// Refuse a name that exists already, even if it is a persistent TAP device that we could attach to (`IFF_TUN_EXCL`).
    /// True by default.
    pub exclusive: bool,
}

impl<'a> TapOptions<'a> {
    /// No offload, exclusive.
    #[must_use]
    pub fn new(name: &'a str) -> TapOptions<'a> {
        TapOptions { name, offload: Offload::NONE, exclusive: true }
    }
}

/// Why there is no TAP device. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapError {
    /// The kernel or the container has no /dev/net/tun.
    #[error(
        "there is no /dev/net/tun: load the kernel's tun module (modprobe tun), or give the container the device \
         (docker run --device /dev/net/tun)"
    )]
    NoDevice,
    /// The process may not use /dev/net/tun, or may not create a network interface.
    #[error(
        "no permission to {action}: run as root, or grant CAP_NET_ADMIN (docker run --cap-add NET_ADMIN \
         --device /dev/net/tun) or attach as its owner to a device made by \"ip tuntap add\""
    )]
    NoPermission {
        /// What was refused.
        action: &'static str,
    },
    /// An interface of that name exists, or another process holds the TAP device.
    #[error(
        "an interface named {name} exists already: choose another name, or remove it (ip link del {name})"
    )]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The kernel cannot use the name.
    #[error(
        "{name:?} cannot name an interface: it takes 1 to 15 octets without white space, '/', ':' or a '%' other than \
         one %d, and is not \"all\" or \"default\""
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// The kernel refuses a TAP device with a virtio header, as gVisor does.
    #[error("the kernel refuses a TAP device with a virtio header (IFF_VNET_HDR): use the plain TAP device")]
    FlagsRefused,
    /// Anything else.
    #[error("the TAP device cannot be used")]
    Io(#[from] io::Error),
}

/// A TAP device with a virtio header. The interface disappears with the last reference to it unless it is persistent.
///
/// Shared between threads as it is: a read or write moves one whole frame.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    name: String,
    /// Asks the namespace in which the device was made.
    namespace: OwnedFd,
    offload: AtomicU32,
}

impl Tap {
    /// Makes the device, or attaches to it where `exclusive` is off. It is down and has no address.
    ///
    /// Offloads that the kernel does not know are left out: first USO (Linux before 6.2), then all.
    ///
    /// # Errors
    ///
    /// [`TapError`], by what the operator can do about it.
    pub fn open(options: &TapOptions<'_>) -> Result<Tap, TapError> {
        check_name(options.name)?;
        let fd = open_device_file()?;
        let exclusive = if options.exclusive { libc::IFF_TUN_EXCL } else { 0 };
        let name =
            attach(&fd, options.name, libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | exclusive)?;
        Tap::configure(fd, name, options.offload)
    }

    /// Takes over a descriptor that something else opened and attached, with no offload until [`Tap::set_offload`].
    ///
    /// # Errors
    ///
    /// `Io` of kind `InvalidInput` when it is not an attached TAP device without packet information; `FlagsRefused` when it
    /// has no virtio header.
    pub fn from_fd(fd: OwnedFd) -> Result<Tap, TapError> {
        let (name, flags) = describe(fd.as_fd()).map_err(|_| not_a_tap())?;
        if flags & libc::IFF_TAP == 0 || flags & libc::IFF_NO_PI == 0 {
            return Err(not_a_tap());
        }
        if flags & libc::IFF_VNET_HDR == 0 {
            return Err(TapError::FlagsRefused);
        }
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).map_err(io::Error::from)?;
        rustix::io::ioctl_fionbio(&fd, true).map_err(io::Error::from)?;
        Tap::configure(fd, name, Offload::NONE)
    }

    fn configure(fd: OwnedFd, name: String, offload: Offload) -> Result<Tap, TapError> {
        set_header(fd.as_fd()).map_err(|_| TapError::FlagsRefused)?;
        let tap = Tap { fd, name, namespace: interface::socket()?, offload: AtomicU32::new(0) };
        // The mask belongs to the device and outlives a descriptor of a persistent one: set it even when it is empty.
        tap.set_offload(offload)
            .or_else(|_| tap.set_offload(offload.without_uso()))
            .or_else(|_| tap.set_offload(Offload::NONE))
            .map_err(|_| TapError::FlagsRefused)?;
        Ok(tap)
    }

    /// The interface's name at open, with `%d` resolved.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the kernel may leave to us in frames that we read.
    #[must_use]
    pub fn offload(&self) -> Offload {
        Offload(self.offload.load(Ordering::Relaxed))
    }

    /// Changes what the kernel may leave to us.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the kernel does not know one of them; nothing changes then.
    pub fn set_offload(&self, offload: Offload) -> io::Result<()> {
        set_offload(self.fd.as_fd(), offload)?;
        self.offload.store(offload.0, Ordering::Relaxed);
        Ok(())
    }

    /// Reads one frame, [`VNET_HEADER_OCTETS`] of header first, and returns the octets of both; `None` when none is queued.
    /// A frame that is longer than the buffer is cut without a sign.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the buffer is shorter than the header; `EBADFD` when the interface was deleted.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        call::read(self.fd.as_fd(), buffer)
    }

    /// Writes one frame, header first, and returns the octets taken; `None` when the kernel has no room for it now.
    /// The stack receives the frame before this returns.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a frame shorter than an Ethernet header or a virtio header that contradicts its frame; `EIO` while
    /// the interface is down; `EBADFD` when it was deleted.
    pub fn write(&self, frame: &[u8]) -> io::Result<Option<usize>> {
        call::write(self.fd.as_fd(), frame)
    }

    /// The interface's MAC address.
    ///
    /// # Errors
    ///
    /// When the interface was deleted.
    pub fn mac(&self) -> io::Result<[u8; 6]> {
        interface::hardware_address_on(self.fd.as_fd(), &self.name)
    }

    /// Sets the interface's MAC address, up or down.
    ///
    /// # Errors
    ///
    /// `EADDRNOTAVAIL` for a group or all-zero address; when the interface was deleted; without CAP_NET_ADMIN.
    pub fn set_mac(&self, mac: [u8; 6]) -> io::Result<()> {
        let mut request = Request::new(&self.name)?;
        let [family_0, family_1] = libc::ARPHRD_ETHER.to_ne_bytes();
        let [a, b, c, d, e, f] = mac;
        request.set_value([family_0, family_1, a, b, c, d, e, f]);
        request.call(self.fd.as_fd(), Call::SetHardwareAddress)
    }

    /// The interface's MTU in octets, without the Ethernet header.
    ///
    /// # Errors
    ///
    /// When the interface was deleted or moved to another network namespace.
    pub fn mtu(&self) -> io::Result<u32> {
        interface::mtu_on(self.namespace.as_fd(), &describe(self.fd.as_fd())?.0)
    }

    /// The interface's index.
    ///
    /// # Errors
    ///
    /// As [`Tap::mtu`].
    pub fn index(&self) -> io::Result<u32> {
        interface::index_on(self.namespace.as_fd(), &describe(self.fd.as_fd())?.0)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The rules of the kernel's `dev_valid_name` and `sysctl_dev_name_is_allowed`, so that EINVAL later means the flags.
pub(crate) fn check_name(name: &str) -> Result<(), TapError> {
    // 0xa0 is the kernel's idea of white space, whatever the encoding.
    let bad_octet = |octet: u8| matches!(octet, 0 | b'\t'..=b'\r' | b' ' | b'/' | b':' | 0xa0);
    let percent = name.bytes().filter(|octet| *octet == b'%').count();
    let bad = name.len() > NAME_OCTETS_MAX
        || ["", ".", "..", "all", "default"].contains(&name)
        || name.bytes().any(bad_octet)
        || percent > 1
        || (percent == 1 && !name.contains("%d"));
    if bad { Err(TapError::BadName { name: name.to_owned() }) } else { Ok(()) }
}

/// What a failure to open /dev/net/tun means.
pub(crate) fn explain_open(error: io::Error) -> TapError {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENXIO | libc::ENODEV | libc::ENOTDIR) => TapError::NoDevice,
        Some(libc::EACCES | libc::EPERM) => TapError::NoPermission { action: "open /dev/net/tun" },
        _ => TapError::Io(error),
    }
}

/// What a refusal of `TUNSETIFF` means.
pub(crate) fn explain_attach(error: io::Error, name: &str) -> TapError {
    match error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => TapError::NameTaken { name: name.to_owned() },
        // Without IFF_TUN_EXCL an interface that is no TAP device gives EINVAL, as a flag that is not known does.
        Some(libc::EINVAL) if interface::index(name).is_ok() => TapError::NameTaken { name: name.to_owned() },
        Some(libc::EINVAL) => TapError::FlagsRefused,
        Some(libc::EPERM | libc::EACCES) => {
            TapError::NoPermission { action: "create or attach a TAP device" }
        }
        _ => TapError::Io(error),
    }
}

fn open_device_file() -> Result<OwnedFd, TapError> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::io::retry_on_intr(|| rustix::fs::open(DEVICE_FILE, flags, Mode::empty()))
        .map_err(|errno| explain_open(errno.into()))
}

fn attach(fd: &OwnedFd, name: &str, flags: libc::c_int) -> Result<String, TapError> {
    let mut request = Request::new(name)?;
    // `ifr_flags` is a short whose highest bit is IFF_TUN_EXCL.
    let flags = u16::try_from(flags).expect("the flags of linux/if_tun.h have 16 bits");
    request.set_value(flags.to_ne_bytes());
    request.call(fd.as_fd(), Call::TapAttach).map_err(|error| explain_attach(error, name))?;
    Ok(request.name())
}

/// The current name and the flags of the device behind `fd`.
fn describe(fd: BorrowedFd<'_>) -> io::Result<(String, libc::c_int)> {
    let mut request = Request::new("")?;
    request.call(fd, Call::TapDescribe)?;
    Ok((request.name(), libc::c_int::from(u16::from_ne_bytes(request.value()))))
}

fn not_a_tap() -> TapError {
    TapError::Io(io::Error::new(
        io::ErrorKind::InvalidInput,
        "the descriptor is not a TAP device without packet information",
    ))
}

fn set_header(fd: BorrowedFd<'_>) -> io::Result<()> {
    let octets = libc::c_int::try_from(VNET_HEADER_OCTETS).expect("ten");
    set_int(fd, IntCall::HeaderOctets, octets)?;
    if cfg!(target_endian = "big") {
        set_int(fd, IntCall::HeaderLittleEndian, 1)?;
    }
    Ok(())
}

/// The calls of linux/if_tun.h that read one int through a pointer.
#[derive(Clone, Copy)]
enum IntCall {
    HeaderOctets,
    HeaderLittleEndian,
}

fn set_int(fd: BorrowedFd<'_>, call: IntCall, value: libc::c_int) -> io::Result<()> {
    let number = match call {
        IntCall::HeaderOctets => libc::TUNSETVNETHDRSZ,
        IntCall::HeaderLittleEndian => libc::TUNSETVNETLE,
    };
    call::retry(|| {
        // SAFETY: `fd` is open for the length of the borrow; each number of `IntCall` reads one int at the pointer.
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), number, &raw const value) };
        result as isize
    })?;
    Ok(())
}

/// `TUNSETOFFLOAD` takes its mask by value. Also used to clear the mask of a plain device.
pub(crate) fn set_offload(fd: BorrowedFd<'_>, offload: Offload) -> io::Result<()> {
    call::retry(|| {
        // SAFETY: `fd` is open for the length of the borrow; TUNSETOFFLOAD takes an integer and follows no pointer.
        let result =
            unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offload.0)) };
        result as isize
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::RawFd;
    use std::thread;

    use rustix::thread::CapabilitySet;

    use super::*;
    use crate::epoll::{Epoll, Events, Interest};
    use crate::packet::{PacketOptions, PacketSocket};
    use crate::plain_tap::PlainTap;
    use crate::test_support::{self, LONG, isolated, set_address, up};

    const ALL: [Offload; 5] = [Offload::CSUM, Offload::TSO4, Offload::TSO6, Offload::TSO_ECN, Offload::USO];

    /// 60 octets: broadcast, from 02:00:00:00:00:01, an ether type for experiments (IEEE 802).
    fn frame() -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
        frame.extend(0..46);
        frame
    }

    fn with_header(frame: &[u8]) -> Vec<u8> {
        let mut both = vec![0; VNET_HEADER_OCTETS];
        both.extend_from_slice(frame);
        both
    }

    fn read_soon(tap: &Tap, buffer: &mut [u8]) -> usize {
        let epoll = Epoll::new().unwrap();
        epoll.add(tap, 0, Interest::READABLE).unwrap();
        let mut events = Events::with_capacity(1);
        assert_eq!(epoll.wait(&mut events, LONG).unwrap(), 1, "nothing to read");
        tap.read(buffer).unwrap().unwrap()
    }

    fn persist(fd: RawFd, on: bool) {
        // SAFETY: TUNSETPERSIST takes an integer and follows no pointer.
        let result = unsafe { libc::ioctl(fd, libc::TUNSETPERSIST, libc::c_ulong::from(on)) };
        assert_eq!(result, 0);
    }

    #[test]
    fn a_name_of_15_octets_is_used_whole_and_one_of_16_refused() {
        isolated(|| {
            let Some(tap) = test_support::tap(&TapOptions::new("fifteen-octets-")) else { return };
            assert_eq!(tap.name(), "fifteen-octets-");
            let error = Tap::open(&TapOptions::new("sixteen-octets-x")).unwrap_err();
            assert!(matches!(error, TapError::BadName { .. }), "{error:?}");
        });
    }

    #[test]
    fn a_percent_d_becomes_the_first_free_number() {
        isolated(|| {
            let Some(first) = test_support::tap(&TapOptions::new("t%d-x")) else { return };
            let second = Tap::open(&TapOptions::new("t%d-x")).unwrap();
            assert_eq!((first.name(), second.name()), ("t0-x", "t1-x"));
        });
    }

    #[test]
    fn the_kernel_takes_each_name_that_the_check_passes_and_no_other() {
        isolated(|| {
            if test_support::tap(&TapOptions::new("probe")).is_none() {
                return;
            }
            let names = [
                "a", "a.b", "a-b_c", "\u{e9}", "a b", "a/b", "a:b", "", ".", "..", "...", "%s", "%", "%d%d",
                "%dx", "\t", "a\u{b}b", "a\u{c}b", "a\u{1f}b", "-", "\u{85}", "\u{a0}", "all", "default",
            ];
            for name in names {
                let mut request = Request::new(name).unwrap();
                let flags = u16::try_from(libc::IFF_TAP | libc::IFF_NO_PI).unwrap();
                request.set_value(flags.to_ne_bytes());
                let kernel = request.call(open_device_file().unwrap().as_fd(), Call::TapAttach).is_ok();
                // An empty name lets the kernel choose one, which nobody asks for.
                assert_eq!(check_name(name).is_ok(), kernel && !name.is_empty(), "{name:?}");
            }
        });
    }

    #[test]
    fn a_second_open_of_a_name_finds_it_taken() {
        isolated(|| {
            let Some(_first) = test_support::tap(&TapOptions::new("taken")) else { return };
            for exclusive in [true, false] {
                let error = Tap::open(&TapOptions { exclusive, ..TapOptions::new("taken") }).unwrap_err();
                assert!(matches!(&error, TapError::NameTaken { name } if name == "taken"), "{error:?}");
            }
            // An interface that is no TAP device.
            for exclusive in [true, false] {
                let error = Tap::open(&TapOptions { exclusive, ..TapOptions::new("lo") }).unwrap_err();
                assert!(matches!(&error, TapError::NameTaken { name } if name == "lo"), "{error:?}");
            }
        });
    }

    #[test]
    fn a_persistent_device_is_taken_unless_the_caller_wants_to_attach_and_then_loses_its_old_offloads() {
        isolated(|| {
            let options = TapOptions { offload: Offload::TSO4, ..TapOptions::new("stays") };
            let Some(first) = test_support::tap(&options) else { return };
            persist(first.as_fd().as_raw_fd(), true);
            set_address("stays", [192, 0, 2, 1]);
            up("stays");
            drop(first);
            let error = Tap::open(&TapOptions::new("stays")).unwrap_err();
            assert!(matches!(error, TapError::NameTaken { .. }), "{error:?}");
            let again = Tap::open(&TapOptions { exclusive: false, ..TapOptions::new("stays") }).unwrap();
            persist(again.as_fd().as_raw_fd(), false);
            let (header, _) = broadcast_through(&again, 100);
            assert_eq!(header[0], 0, "the checksum is left to us");
        });
    }

    #[test]
    fn the_interface_disappears_with_the_device() {
        isolated(|| {
            let Some(tap) = test_support::tap(&TapOptions::new("gone")) else { return };
            assert_eq!(interface::index("gone").unwrap(), tap.index().unwrap());
            drop(tap);
            assert_eq!(interface::index("gone").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        });
    }

    #[test]
    fn a_frame_crosses_each_way_behind_a_header_of_zeros() {
        isolated(|| {
            let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
            up("tap");
            let stack =
                PacketSocket::open("tap", &PacketOptions { ignore_outgoing: true, promiscuous: false })
                    .unwrap();
            let mut buffer = [0xaa; 2048];
            assert_eq!(tap.read(&mut buffer).unwrap(), None);

            stack.send(&frame()).unwrap().unwrap();
            let octets = read_soon(&tap, &mut buffer);
            assert_eq!(buffer[..octets], with_header(&frame()));
            assert_eq!(tap.read(&mut buffer).unwrap(), None);

            let octets = tap.write(&with_header(&frame())).unwrap();
            assert_eq!(octets, Some(VNET_HEADER_OCTETS + frame().len()));
            let octets = stack.recv(&mut buffer, LONG).unwrap().unwrap();
            assert_eq!(buffer[..octets], frame());
        });
    }

    #[test]
    fn what_cannot_be_a_frame_is_refused_by_name() {
        isolated(|| {
            let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
            let error = tap.write(&with_header(&frame())).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EIO), "the interface is down");
            up("tap");
            let runt = tap.write(&with_header(&frame()[..13])).unwrap_err();
            assert_eq!(runt.kind(), io::ErrorKind::InvalidInput);
            let mut contradiction = with_header(&frame());
            contradiction[0] = 1; // VIRTIO_NET_HDR_F_NEEDS_CSUM
            contradiction[6..8].copy_from_slice(&1000_u16.to_le_bytes()); // beyond the frame
            assert_eq!(tap.write(&contradiction).unwrap_err().kind(), io::ErrorKind::InvalidInput);
            assert_eq!(tap.write(&[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        });
    }

    #[test]
    fn every_offload_alone_and_all_together_are_granted_or_demoted_to_what_the_kernel_knows() {
        isolated(|| {
            let Some(tap) = test_support::tap(&TapOptions::new("none")) else { return };
            assert_eq!(tap.offload(), Offload::NONE);
            let all = ALL.into_iter().fold(Offload::NONE, |sum, one| sum | one);
            let tap = Tap::open(&TapOptions { offload: all, ..TapOptions::new("most") }).unwrap();
            assert!(tap.offload() == all || tap.offload() == all.without_uso(), "{:?}", tap.offload());
            for offload in [Offload::CSUM, Offload::TSO4, Offload::TSO6, Offload::TSO4 | Offload::TSO6] {
                tap.set_offload(offload).unwrap();
                assert_eq!(tap.offload(), offload);
            }
            let unknown = Offload(1 << 30);
            assert_eq!(tap.set_offload(unknown).unwrap_err().kind(), io::ErrorKind::InvalidInput);
            assert_eq!(tap.offload(), Offload::TSO4 | Offload::TSO6);
            let demoted =
                Tap::open(&TapOptions { offload: all | unknown, ..TapOptions::new("demoted") }).unwrap();
            assert_eq!(demoted.offload(), Offload::NONE);
        });
    }

    /// Sends a datagram of `octets` from the host out of the device and gives the header and frame that come out.
    fn broadcast_through(tap: &Tap, octets: usize) -> ([u8; VNET_HEADER_OCTETS], Vec<u8>) {
        let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
        socket.set_broadcast(true).unwrap();
        socket.send_to(&vec![7; octets], "192.0.2.255:9").unwrap();
        let mut buffer = vec![0; 70_000];
        let octets = read_soon(tap, &mut buffer);
        (*buffer.first_chunk().unwrap(), buffer[VNET_HEADER_OCTETS..octets].to_vec())
    }

    /// The ones-complement sum of a UDP datagram in an Ethernet frame without options, with its pseudo-header (RFC 768).
    fn udp_sum(frame: &[u8]) -> u16 {
        let (pseudo, datagram) = (&frame[26..34], &frame[34..]);
        let words = pseudo.chunks(2).chain(datagram.chunks(2));
        let sum: u32 =
            words.map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum();
        let sum = sum + 17 + u32::try_from(datagram.len()).unwrap();
        let folded = (sum & 0xffff) + (sum >> 16);
        u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
    }

    #[test]
    fn a_checksum_is_whole_without_offload_and_partial_with_it() {
        isolated(|| {
            let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
            set_address("tap", [192, 0, 2, 1]);
            up("tap");
            let (header, frame) = broadcast_through(&tap, 1000);
            assert_eq!((header, udp_sum(&frame)), ([0; VNET_HEADER_OCTETS], 0xffff));
            tap.set_offload(Offload::CSUM).unwrap();
            let (header, frame) = broadcast_through(&tap, 1000);
            // VIRTIO_NET_HDR_F_NEEDS_CSUM; the sum starts at the UDP header (14 + 20) and goes to octet 6 of it.
            assert_eq!((header[0], &header[6..]), (1, &[34, 0, 6, 0][..]));
            assert_ne!(udp_sum(&frame), 0xffff);
        });
    }

    #[test]
    fn a_udp_superframe_comes_whole_with_uso_and_in_pieces_without() {
        isolated(|| {
            let Some(tap) =
                test_support::tap(&TapOptions { offload: Offload::USO, ..TapOptions::new("tap") })
            else {
                return;
            };
            if !tap.offload().contains(Offload::USO) {
                return test_support::skip("a kernel with USO on TAP devices (Linux 6.2)");
            }
            set_address("tap", [192, 0, 2, 1]);
            up("tap");
            let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
            socket.set_broadcast(true).unwrap();
            call::set_option(socket.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, 1000).unwrap();
            let mut buffer = vec![0; 70_000];

            socket.send_to(&[7; 10_500], "192.0.2.255:9").unwrap();
            let octets = read_soon(&tap, &mut buffer);
            assert_eq!(octets, VNET_HEADER_OCTETS + 14 + 20 + 8 + 10_500);
            // gso_type VIRTIO_NET_HDR_GSO_UDP_L4, gso_size.
            assert_eq!((buffer[1], &buffer[4..6]), (5, &1000_u16.to_le_bytes()[..]));

            tap.set_offload(Offload::NONE).unwrap();
            socket.send_to(&[7; 10_500], "192.0.2.255:9").unwrap();
            let lengths: Vec<_> =
                (0..11).map(|_| read_soon(&tap, &mut buffer) - VNET_HEADER_OCTETS - 42).collect();
            assert_eq!(lengths, [[1000; 10].as_slice(), &[500]].concat());
        });
    }

    #[test]
    fn a_superframe_is_written_in_one_piece() {
        isolated(|| {
            let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
            set_address("tap", [192, 0, 2, 1]);
            up("tap");
            let receiver = UdpSocket::bind("192.0.2.1:9").unwrap();
            receiver.set_read_timeout(LONG).unwrap();
            // Three datagrams of 4 octets as one: 192.0.2.2 to .1, port 9, checksums left to the stack.
            let mac = tap.mac().unwrap();
            let mut superframe = vec![1, 5, 42, 0, 4, 0, 34, 0, 6, 0];
            superframe.extend(mac.iter().chain(&[2, 0, 0, 0, 0, 2, 8, 0]));
            superframe.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1]);
            let sum = internet_sum(&superframe[VNET_HEADER_OCTETS + 14..]);
            superframe[VNET_HEADER_OCTETS + 24..VNET_HEADER_OCTETS + 26]
                .copy_from_slice(&(!sum).to_be_bytes());
            let pseudo = internet_sum(&[192, 0, 2, 2, 192, 0, 2, 1, 0, 17, 0, 20]);
            superframe.extend([0, 9, 0, 9, 0, 20]);
            superframe.extend(pseudo.to_be_bytes());
            superframe.extend(*b"one.two.six.");
            assert_eq!(tap.write(&superframe).unwrap(), Some(superframe.len()));
            for expected in [b"one.", b"two.", b"six."] {
                let mut buffer = [0; 16];
                let (octets, _) = receiver.recv_from(&mut buffer).unwrap();
                assert_eq!(&buffer[..octets], expected);
            }
        });
    }

    fn internet_sum(octets: &[u8]) -> u16 {
        let sum: u32 = octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()
    }

    #[test]
    fn the_mac_address_can_be_read_and_set_while_the_device_is_up() {
        isolated(|| {
            let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
            assert_eq!(tap.mac().unwrap(), interface::hardware_address("tap").unwrap());
            up("tap");
            tap.set_mac([2, 1, 2, 3, 4, 5]).unwrap();
            assert_eq!(tap.mac().unwrap(), [2, 1, 2, 3, 4, 5]);
            assert_eq!(interface::hardware_address("tap").unwrap(), [2, 1, 2, 3, 4, 5]);
            for bad in [[0; 6], [1, 0, 0, 0, 0, 0]] {
                assert_eq!(tap.set_mac(bad).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
            }
        });
    }

    #[test]
    fn the_device_is_known_from_a_thread_in_another_namespace() {
        isolated(|| {
            let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
            let (mac, index) = (tap.mac().unwrap(), tap.index().unwrap());
            thread::scope(|scope| {
                scope.spawn(|| {
                    // SAFETY: NEWNET leaves the thread's file descriptors and memory shared as they are.
                    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
                    assert_eq!(tap.mac().unwrap(), mac);
                    assert_eq!((tap.index().unwrap(), tap.mtu().unwrap()), (index, 1500));
                    let _ = interface::index("tap").unwrap_err();
                });
            });
        });
    }

    #[test]
    fn a_descriptor_from_elsewhere_is_checked_and_made_ours() {
        isolated(|| {
            let Some(tap) =
                test_support::tap(&TapOptions { offload: Offload::TSO4, ..TapOptions::new("tap") })
            else {
                return;
            };
            let copy = rustix::io::dup(&tap).unwrap();
            rustix::io::ioctl_fionbio(&copy, false).unwrap();
            let ours = Tap::from_fd(copy).unwrap();
            assert_eq!((ours.name(), ours.offload()), ("tap", Offload::NONE));
            assert_eq!(rustix::io::fcntl_getfd(&ours).unwrap(), rustix::io::FdFlags::CLOEXEC);
            assert_eq!(ours.read(&mut [0; 64]).unwrap(), None);

            let plain = PlainTap::open("plain").unwrap();
            let error = Tap::from_fd(rustix::io::dup(&plain).unwrap()).unwrap_err();
            assert!(matches!(error, TapError::FlagsRefused), "{error:?}");
            for other in [open_device_file().unwrap(), interface::socket().unwrap()] {
                let error = Tap::from_fd(other).unwrap_err();
                assert!(
                    matches!(&error, TapError::Io(cause) if cause.kind() == io::ErrorKind::InvalidInput),
                    "{error:?}"
                );
            }
        });
    }

    #[test]
    fn without_the_capability_the_message_says_which() {
        isolated(|| {
            if test_support::tap(&TapOptions::new("probe")).is_none() {
                return;
            }
            test_support::drop_capability(CapabilitySet::NET_ADMIN);
            let error = Tap::open(&TapOptions::new("tap")).unwrap_err();
            assert!(matches!(error, TapError::NoPermission { .. }), "{error:?}");
            assert!(error.to_string().contains("CAP_NET_ADMIN"));
            let error = PlainTap::open("tap").unwrap_err();
            assert!(matches!(error, TapError::NoPermission { .. }), "{error:?}");
        });
    }

    #[test]
    fn each_refusal_has_its_own_name() {
        let open = |errno| explain_open(io::Error::from_raw_os_error(errno));
        for errno in [libc::ENOENT, libc::ENXIO, libc::ENODEV] {
            assert!(matches!(open(errno), TapError::NoDevice));
        }
        for errno in [libc::EACCES, libc::EPERM] {
            assert!(matches!(open(errno), TapError::NoPermission { .. }));
        }
        assert!(matches!(open(libc::EMFILE), TapError::Io(_)));
        let attach = |errno| explain_attach(io::Error::from_raw_os_error(errno), "no-such-device");
        assert!(matches!(attach(libc::EBUSY), TapError::NameTaken { .. }));
        assert!(matches!(attach(libc::EINVAL), TapError::FlagsRefused));
        assert!(matches!(attach(libc::EPERM), TapError::NoPermission { .. }));
        assert!(matches!(attach(libc::ENOMEM), TapError::Io(_)));
    }

    #[test]
    fn offloads_print_by_name() {
        assert_eq!(format!("{:?}", Offload::NONE), "{}");
        assert_eq!(format!("{:?}", Offload::TSO4 | Offload::USO), r#"{"csum", "tso4", "uso4", "uso6"}"#);
    }
}
