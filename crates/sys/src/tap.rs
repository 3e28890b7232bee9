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
         one %d"
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

/// The rules of the kernel's `dev_valid_name`, so that EINVAL later means the flags.
pub(crate) fn check_name(name: &str) -> Result<(), TapError> {
    let bad_octet = |octet: u8| {
        octet == b'/' || octet == b':' || octet == 0 || octet.is_ascii_whitespace() || octet == 0x0b
    };
    let percent = name.bytes().filter(|octet| *octet == b'%').count();
    let bad = name.is_empty()
        || name.len() > NAME_OCTETS_MAX
        || name == "."
        || name == ".."
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
