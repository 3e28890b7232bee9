//! The TAP device with a virtio header in front of each frame (linux/if_tun.h, linux/virtio_net.h).
//!
//! With [`Offload`] granted, a read or a write moves a superframe: more than one segment in one buffer,
//! described by the header. The plain device of [`crate::plain_tap`] serves kernels that refuse the header.

mod error;
mod offload;
mod queues;

pub use error::TapError;
pub(crate) use error::{check_name, explain_attach, explain_open};
pub use offload::Offload;
pub use queues::QUEUES_MAX;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{Mode, OFlags};

use crate::call;
use crate::interface::{self, Call, Request};

/// Octets of `struct virtio_net_hdr` (linux/virtio_net.h) in front of every frame: flags, gso_type, hdr_len,
/// gso_size, csum_start, csum_offset. The 16-bit fields are little-endian on every host.
pub const VNET_HEADER_OCTETS: usize = 10;

/// Where the kernel offers TAP devices (Documentation/networking/tuntap.rst).
const DEVICE_FILE: &str = "/dev/net/tun";

/// What to open.
#[derive(Clone, Copy, Debug)]
pub struct TapOptions<'a> {
    /// The interface's name: 1 to 15 octets; one `%d` in it becomes the first number that is free.
    pub name: &'a str,
    /// What to ask the kernel for; [`Tap::offload`] says what it granted.
    pub offload: Offload,
    /// Refuse a name that exists already, even if it is a persistent TAP device that we could attach to
    /// (`IFF_TUN_EXCL`). True by default.
    pub exclusive: bool,
}

impl<'a> TapOptions<'a> {
    /// No offload, exclusive.
    #[must_use]
    pub fn new(name: &'a str) -> TapOptions<'a> {
        TapOptions { name, offload: Offload::NONE, exclusive: true }
    }
}

/// A TAP device with a virtio header. The interface disappears with the last reference to it unless it is
/// persistent.
///
/// Shared between threads as it is: a read or write moves one whole frame.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    /// What frames are written by, where that is another descriptor: see [`Tap::open_queues`].
    writer: Option<OwnedFd>,
    name: String,
    /// Asks the namespace in which the device was made.
    namespace: OwnedFd,
    offload: AtomicU32,
    write_offload: Offload,
}

impl Tap {
    /// Makes the device, or attaches to it where `exclusive` is off. It is down and has no address.
    ///
    /// An offload that the kernel does not know, as USO before Linux 6.2, is left out, and no other with it.
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

    /// Takes over a descriptor that something else opened and attached, with no offload until
    /// [`Tap::set_offload`].
    ///
    /// # Errors
    ///
    /// `Io` of kind `InvalidInput` when it is not an attached TAP device without packet information;
    /// `FlagsRefused` when it has no virtio header.
    pub fn from_fd(fd: OwnedFd) -> Result<Tap, TapError> {
        Tap::from_fd_with(fd, Offload::NONE)
    }

    /// As [`Tap::from_fd`], asking for these offloads; what the kernel does not know is left out.
    ///
    /// # Errors
    ///
    /// As [`Tap::from_fd`].
    pub fn from_fd_with(fd: OwnedFd, offload: Offload) -> Result<Tap, TapError> {
        let (name, flags) = describe(fd.as_fd()).map_err(|_| not_a_tap())?;
        if flags & libc::IFF_TAP == 0 || flags & libc::IFF_NO_PI == 0 {
            return Err(not_a_tap());
        }
        if flags & libc::IFF_VNET_HDR == 0 {
            return Err(TapError::FlagsRefused);
        }
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).map_err(io::Error::from)?;
        rustix::io::ioctl_fionbio(&fd, true).map_err(io::Error::from)?;
        Tap::configure(fd, name, offload)
    }

    fn configure(fd: OwnedFd, name: String, offload: Offload) -> Result<Tap, TapError> {
        set_header(fd.as_fd()).map_err(|_| TapError::FlagsRefused)?;
        // The mask belongs to the device and outlives a descriptor of a persistent one: set it even when it
        // is empty.
        let set = |mask| set_offload(fd.as_fd(), mask);
        let uso_beside = !offload.has_uso() && set(Offload::USO).is_ok();
        let granted = offload::negotiate(offload, set).map_err(|_| TapError::FlagsRefused)?;
        let uso = uso_beside || granted.has_uso();
        let write_offload = Offload::CSUM | Offload::TSO4 | Offload::TSO6 | Offload::TSO_ECN;
        let write_offload = if uso { write_offload | Offload::USO } else { write_offload };
        Ok(Tap {
            fd,
            writer: None,
            name,
            namespace: interface::socket()?,
            offload: AtomicU32::new(granted.0),
            write_offload,
        })
    }

    /// The interface's name at open, with `%d` resolved.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the kernel may leave to us in frames that we read. An administrator can narrow it further
    /// (`ethtool -K`), which does not show here.
    #[must_use]
    pub fn offload(&self) -> Offload {
        Offload(self.offload.load(Ordering::Relaxed))
    }

    /// What we may leave to the kernel in frames that we write, whatever [`Tap::offload`] is.
    ///
    /// Writing does not look at the mask: `tun_get_user` of drivers/net/tun.c hands every header to
    /// `virtio_net_hdr_to_skb` of linux/virtio_net.h, which takes a partial checksum and TCP superframes on each
    /// kernel that has the header, and UDP superframes since Linux 6.2, the release that also knows
    /// [`Offload::USO`]. Such a one must have a partial checksum, and at most as many segments as
    /// [`crate::udp::UdpSocket::segments_max`] tells.
    #[must_use]
    pub fn write_offload(&self) -> Offload {
        self.write_offload
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

    /// Reads one frame, [`VNET_HEADER_OCTETS`] of header first, and returns the octets of both; `None` when
    /// none is queued. A frame that is longer than the buffer is cut without a sign.
    ///
    /// A frame has at most 65,535 octets and its VLAN tags, superframe or not. The device's MTU ends at 65,521
    /// octets, which an Ethernet header makes 65,535. A superframe that reaches the device's `gso_max_size` is cut
    /// by the kernel (`gso_features_check` of net/core/dev.c), and a TAP device has 65,536 there and refuses more:
    /// its `tso_max_size` stays at `GSO_LEGACY_MAX_SIZE` of linux/netdevice.h. So BIG TCP ends in front of a TAP:
    /// what another device joined to more than that, and the host forwards, comes in segments.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when a frame is queued and the buffer shorter than the header, which loses the frame;
    /// `EBADFD` when the interface was deleted.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        call::read(self.fd.as_fd(), buffer)
    }

    /// Writes one frame, header first, and returns the octets taken; `None` when the kernel has no room for
    /// it now. The stack receives the frame before this returns.
    ///
    /// A superframe is to have more than one segment. Of TCP with options, one that fills a single segment or nearly so
    /// is taken here and lost wherever the kernel has to cut it: `virtio_net_hdr_to_skb` counts the options as payload,
    /// and `tcp_gso_segment` of net/ipv4/tcp_offload.c then finds nothing to cut.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a frame shorter than an Ethernet header, a virtio header that contradicts its frame, or
    /// a superframe that is not in [`Tap::write_offload`]; `EIO` while the interface is down; `EBADFD` when it
    /// was deleted.
    pub fn write(&self, frame: &[u8]) -> io::Result<Option<usize>> {
        call::write(self.writer.as_ref().unwrap_or(&self.fd).as_fd(), frame)
    }

    /// Has the device, with its addresses and routes, outlive its last descriptor (`TUNSETPERSIST`), or not.
    ///
    /// Whoever may open /dev/net/tun could attach to a device that outlives us; so it is given to this process's user
    /// (`TUNSETOWNER`) first, and the others need CAP_NET_ADMIN.
    ///
    /// # Errors
    ///
    /// When the interface was deleted.
    pub fn set_persistent(&self, persistent: bool) -> io::Result<()> {
        set_persistent(self.fd.as_fd(), persistent)
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
    /// `EADDRNOTAVAIL` for a group or all-zero address; when the interface was deleted; without
    /// CAP_NET_ADMIN.
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

/// Looks whether TAP devices can be asked for here, and makes none: the device file opens and is what it should be. Whether this process
/// may make one depends on its capabilities, too.
///
/// # Errors
///
/// [`TapError::NoDevice`] or [`TapError::NoPermission`]; [`TapError::Io`] when the file is something else.
pub fn check_device_file() -> Result<(), TapError> {
    match describe(open_device_file()?.as_fd()) {
        // No device is attached to a new descriptor: that the kernel knows what is meant is the answer.
        Err(error) if error.raw_os_error() == Some(libc::EBADFD) => Ok(()),
        Err(error) => Err(TapError::Io(error)),
        Ok(_) => Ok(()),
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

/// As [`Tap::set_persistent`], for any device.
pub(crate) fn set_persistent(fd: BorrowedFd<'_>, persistent: bool) -> io::Result<()> {
    if persistent {
        set_value(fd, ValueCall::Owner, rustix::process::geteuid().as_raw().into())?;
    }
    set_value(fd, ValueCall::Persist, persistent.into())
}

/// The calls of linux/if_tun.h that take one number by value.
#[derive(Clone, Copy)]
enum ValueCall {
    Owner,
    Persist,
    Offload,
}

fn set_value(fd: BorrowedFd<'_>, call: ValueCall, value: libc::c_ulong) -> io::Result<()> {
    let number = match call {
        ValueCall::Owner => libc::TUNSETOWNER,
        ValueCall::Persist => libc::TUNSETPERSIST,
        ValueCall::Offload => libc::TUNSETOFFLOAD,
    };
    call::retry(|| {
        // SAFETY: `fd` is open for the length of the borrow; each number of `ValueCall` takes an integer and follows no pointer.
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), number, value) };
        result as isize
    })?;
    Ok(())
}

/// The current name and the flags of the device behind `fd`.
pub(crate) fn describe(fd: BorrowedFd<'_>) -> io::Result<(String, libc::c_int)> {
    let mut request = Request::new("")?;
    request.call(fd, Call::TapDescribe)?;
    Ok((request.name(), libc::c_int::from(u16::from_ne_bytes(request.value()))))
}

pub(crate) fn not_a_tap() -> TapError {
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
        // SAFETY: `fd` is open for the length of the borrow; each number of `IntCall` reads one int at the
        // pointer.
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), number, &raw const value) };
        result as isize
    })?;
    Ok(())
}

/// `TUNSETOFFLOAD` takes its mask by value. Also used to clear the mask of a plain device.
pub(crate) fn set_offload(fd: BorrowedFd<'_>, offload: Offload) -> io::Result<()> {
    set_value(fd, ValueCall::Offload, libc::c_ulong::from(offload.0))
}

#[cfg(test)]
mod tests;
