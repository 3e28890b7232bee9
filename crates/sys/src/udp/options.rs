//! What a UDP socket is asked to do before it is bound.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::UdpSocket;
use crate::call::set_option;

/// `SO_NO_CHECK` of asm-generic/socket.h: IPv4 datagrams leave with checksum 0.
const SO_NO_CHECK: libc::c_int = 11;
/// `IP_MULTICAST_ALL` of linux/in.h and `IPV6_MULTICAST_ALL` of linux/in6.h: take groups that other sockets
/// joined.
const IP_MULTICAST_ALL: libc::c_int = 49;
const IPV6_MULTICAST_ALL: libc::c_int = 29;
/// `BPF_RET | BPF_K` of linux/bpf_common.h: return the constant.
const BPF_RETURN_CONSTANT: u16 = 0x06;

/// What becomes of a datagram that does not fit the path. It is never cut into fragments here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DontFragment {
    /// IPv4: the DF bit is set and path MTU discovery obeyed; beyond the path's MTU a send gives `EMSGSIZE`
    /// (`IP_PMTUDISC_DO`).
    Set,
    /// IPv4: the DF bit is clear, so routers may fragment; beyond the interface's MTU a send gives `EMSGSIZE`
    /// (`IP_PMTUDISC_INTERFACE`). The default. IPv6 has no such bit, and is treated as `Probe`.
    #[default]
    Unset,
    /// IPv4: the DF bit is set, and of path MTU discovery only the interface's MTU is obeyed, for both families: what is longer than
    /// the path is still sent, so that the network says so anew (`IP_PMTUDISC_PROBE`).
    Probe,
}

/// Which control messages come with each datagram. None by default; each costs a little time per datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Want {
    /// The TOS octet or traffic class.
    pub tos: bool,
    /// The TTL or hop limit.
    pub ttl: bool,
    /// The address that it was sent to, and the index of the interface that it came by.
    pub destination: bool,
}

/// How to make a UDP socket.
#[derive(Clone, Debug)]
pub struct UdpOptions {
    /// The address and port to bind; port 0 lets the kernel choose.
    pub local: SocketAddr,
    /// The interface that it is confined to, in both directions (`SO_BINDTODEVICE`).
    pub device: Option<String>,
    /// Share the address with other sockets that ask for the same (`SO_REUSEADDR`). The last one bound
    /// receives. Off by default.
    pub reuse_address: bool,
    /// Share the address and port with sockets that do so, too, of the same user (`SO_REUSEPORT`): each datagram goes to one of
    /// them, by a hash of its addresses and ports. Off by default; see [`UdpSocket::share_port`] for the first of them.
    pub reuse_port: bool,
    /// Bind an address that the host does not have yet (`IP_FREEBIND`). Off by default.
    pub freebind: bool,
    /// Octets to queue for receiving. The kernel's default where `None`; beyond net.core.rmem_max it takes
    /// CAP_NET_ADMIN, and the limit applies without it.
    pub receive_buffer_octets: Option<usize>,
    /// Octets to queue for sending; as above with net.core.wmem_max.
    pub send_buffer_octets: Option<usize>,
    /// Send UDP checksums. True by default. Off: IPv4 sends 0 (and accepts 0 anyway), IPv6 sends and accepts
    /// 0 (RFC 6935). Without them the kernel refuses [`super::Message::segment_octets`].
    pub checksum: bool,
    /// What becomes of datagrams that do not fit. Unset by default.
    pub dont_fragment: DontFragment,
    /// TTL or hop limit, 1 to 255. `None`: the kernel's default, 64 for unicast and 1 for multicast.
    pub ttl: Option<u8>,
    /// TOS octet or traffic class. `None`: 0.
    pub tos: Option<u8>,
    /// Control messages on receipt.
    pub want: Want,
    /// Queue what the network says of our datagrams for [`UdpSocket::error_queue_read`] (`IP_RECVERR`). Off
    /// by default.
    pub errors: bool,
    /// Receive nothing: a filter drops every datagram before it is queued. Errors are still queued. Off by
    /// default.
    pub only_send: bool,
}

impl UdpOptions {
    /// Everything at its default.
    #[must_use]
    pub fn new(local: SocketAddr) -> UdpOptions {
        UdpOptions {
            local,
            device: None,
            reuse_address: false,
            reuse_port: false,
            freebind: false,
            receive_buffer_octets: None,
            send_buffer_octets: None,
            checksum: true,
            dont_fragment: DontFragment::Unset,
            ttl: None,
            tos: None,
            want: Want::default(),
            errors: false,
            only_send: false,
        }
    }
}

/// Makes a socket and binds it. Multicast that it sends is not looped back to this host, and it receives only
/// groups that it joined itself.
///
/// # Errors
///
/// What the kernel says of the first option that it refuses: `AddrInUse`, `AddrNotAvailable`,
/// `PermissionDenied` for a port below net.ipv4.ip_unprivileged_port_start, `ENODEV` for an unknown device,
/// `InvalidInput` for a TTL of 0.
pub fn bind(options: &UdpOptions) -> io::Result<UdpSocket> {
    let v6 = options.local.is_ipv6();
    let socket = Socket::new(
        Domain::for_address(options.local),
        Type::DGRAM.nonblocking().cloexec(),
        Some(Protocol::UDP),
    )?;
    if options.only_send {
        // Before anything can arrive.
        socket.attach_filter(&[SockFilter::new(BPF_RETURN_CONSTANT, 0, 0, 0)])?;
    }
    if let Some(device) = &options.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    socket.set_reuse_address(options.reuse_address)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    set_buffers(&socket, options)?;
    if v6 {
        configure_v6(&socket, options)?
    } else {
        configure_v4(&socket, options)?
    }
    set_dont_fragment(socket.as_fd(), v6, options.dont_fragment)?;
    socket.bind(&options.local.into())?;
    Ok(UdpSocket { fd: OwnedFd::from(socket), v6, errors: options.errors })
}

fn set_buffers(socket: &Socket, options: &UdpOptions) -> io::Result<()> {
    if let Some(octets) = options.receive_buffer_octets
        && sockopt::set_socket_recv_buffer_size_force(socket, octets).is_err()
    {
        socket.set_recv_buffer_size(octets)?;
    }
    if let Some(octets) = options.send_buffer_octets
        && set_send_buffer_size_force(socket, octets).is_err()
    {
        socket.set_send_buffer_size(octets)?;
    }
    Ok(())
}

fn set_send_buffer_size_force(socket: &Socket, octets: usize) -> io::Result<()> {
    let octets = libc::c_int::try_from(octets).map_err(|_| io::ErrorKind::InvalidInput)?;
    set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, octets)
}

fn configure_v4(socket: &Socket, options: &UdpOptions) -> io::Result<()> {
    let fd = socket.as_fd();
    if options.freebind {
        socket.set_freebind_v4(true)?;
    }
    if !options.checksum {
        set_option(fd, libc::SOL_SOCKET, SO_NO_CHECK, 1)?;
    }
    if let Some(ttl) = options.ttl {
        socket.set_ttl_v4(u32::from(ttl))?;
        socket.set_multicast_ttl_v4(u32::from(ttl))?;
    }
    if let Some(tos) = options.tos {
        socket.set_tos_v4(u32::from(tos))?;
    }
    socket.set_multicast_loop_v4(false)?;
    set_option(fd, libc::IPPROTO_IP, IP_MULTICAST_ALL, 0)?;
    set_flag(fd, libc::IPPROTO_IP, libc::IP_RECVTOS, options.want.tos)?;
    set_flag(fd, libc::IPPROTO_IP, libc::IP_RECVTTL, options.want.ttl)?;
    set_flag(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, options.want.destination)?;
    if options.errors { set_errors(fd, false, true) } else { Ok(()) }
}

fn configure_v6(socket: &Socket, options: &UdpOptions) -> io::Result<()> {
    let fd = socket.as_fd();
    socket.set_only_v6(true)?;
    if options.freebind {
        socket.set_freebind_v6(true)?;
    }
    if !options.checksum {
        set_option(fd, libc::SOL_UDP, libc::UDP_NO_CHECK6_TX, 1)?;
        set_option(fd, libc::SOL_UDP, libc::UDP_NO_CHECK6_RX, 1)?;
    }
    if let Some(ttl) = options.ttl {
        if ttl == 0 {
            // The kernel takes 0 for IPv6; no datagram with it leaves the host.
            return Err(io::ErrorKind::InvalidInput.into());
        }
        socket.set_unicast_hops_v6(u32::from(ttl))?;
        socket.set_multicast_hops_v6(u32::from(ttl))?;
    }
    if let Some(tos) = options.tos {
        socket.set_tclass_v6(u32::from(tos))?;
    }
    socket.set_multicast_loop_v6(false)?;
    // Linux 4.20 and later; before it the option is unknown and groups of other sockets come too.
    let _ = set_option(fd, libc::IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
    set_flag(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, options.want.tos)?;
    set_flag(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, options.want.ttl)?;
    set_flag(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, options.want.destination)?;
    if options.errors { set_errors(fd, true, true) } else { Ok(()) }
}

pub(super) fn set_errors(fd: BorrowedFd<'_>, v6: bool, on: bool) -> io::Result<()> {
    if v6 {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, libc::c_int::from(on))
    } else {
        set_option(fd, libc::IPPROTO_IP, libc::IP_RECVERR, libc::c_int::from(on))
    }
}

/// Sets what is wanted, and leaves the rest at the default of off.
fn set_flag(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, on: bool) -> io::Result<()> {
    if on { set_option(fd, level, name, 1) } else { Ok(()) }
}

pub(crate) fn set_dont_fragment(fd: BorrowedFd<'_>, v6: bool, dont_fragment: DontFragment) -> io::Result<()> {
    match (v6, dont_fragment) {
        (true, DontFragment::Set) => {
            set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)
        }
        // Of `IPV6_PMTUDISC_INTERFACE` the error queue hears no "packet too big" (`__udp6_lib_err` of net/ipv6/udp.c).
        (true, DontFragment::Probe | DontFragment::Unset) => {
            set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)
        }
        (false, DontFragment::Probe) => {
            set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)
        }
        (false, DontFragment::Set) => {
            set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)
        }
        (false, DontFragment::Unset) => {
            set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_INTERFACE)
        }
    }
}

pub(super) fn set_multicast_interface(fd: BorrowedFd<'_>, v6: bool, interface: u32) -> io::Result<()> {
    if v6 {
        socket2::SockRef::from(&fd).set_multicast_if_v6(interface)
    } else {
        let index = libc::c_int::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?;
        let any = libc::in_addr { s_addr: 0 };
        let request = libc::ip_mreqn { imr_multiaddr: any, imr_address: any, imr_ifindex: index };
        set_option(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, request)
    }
}
