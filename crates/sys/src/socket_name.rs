//! `struct sockaddr_in` and `struct sockaddr_in6` (linux/in.h, linux/in6.h) as octets, so that no cast is
//! needed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// `sizeof(struct sockaddr_in6)`, the longer of the two.
pub(crate) const NAME_OCTETS: usize = 28;
/// `sizeof(struct sockaddr_in)`.
const NAME_V4_OCTETS: usize = 16;

/// Room for one address of either family, aligned as the kernel's structures are.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct SocketName([u8; NAME_OCTETS]);

impl SocketName {
    pub(crate) const fn new() -> SocketName {
        SocketName([0; NAME_OCTETS])
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    /// Writes `address` and returns how many octets of the name are in use.
    pub(crate) fn set(&mut self, address: &SocketAddr) -> usize {
        let name = &mut self.0;
        name[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                name[..2].copy_from_slice(&family(libc::AF_INET));
                name[4..8].copy_from_slice(&v4.ip().octets());
                name[8..NAME_V4_OCTETS].fill(0);
                NAME_V4_OCTETS
            }
            SocketAddr::V6(v6) => {
                name[..2].copy_from_slice(&family(libc::AF_INET6));
                name[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                name[8..24].copy_from_slice(&v6.ip().octets());
                name[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                NAME_OCTETS
            }
        }
    }

    /// The address that the kernel wrote.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        parse(&self.0)
    }
}

/// Reads a socket address from octets that the kernel wrote; `None` for another family or too few octets.
pub(crate) fn parse(name: &[u8]) -> Option<SocketAddr> {
    let family_octets: [u8; 2] = name.get(..2)?.try_into().ok()?;
    let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
    if family_octets == family(libc::AF_INET) {
        let octets: [u8; 4] = name.get(4..8)?.try_into().ok()?;
        Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(octets), port)))
    } else if family_octets == family(libc::AF_INET6) {
        let flow = u32::from_ne_bytes(name.get(4..8)?.try_into().ok()?);
        let octets: [u8; 16] = name.get(8..24)?.try_into().ok()?;
        let scope = u32::from_ne_bytes(name.get(24..28)?.try_into().ok()?);
        Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(octets), port, flow, scope)))
    } else {
        None
    }
}

/// The address without the port; `None` where the kernel left the name empty.
pub(crate) fn parse_ip(name: &[u8]) -> Option<IpAddr> {
    parse(name).map(|address| address.ip())
}

fn family(number: libc::c_int) -> [u8; 2] {
    libc::sa_family_t::try_from(number).expect("AF_INET and AF_INET6 are small").to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_way_to_the_kernel_and_back() {
        for text in ["192.0.2.7:4789", "[2001:db8::7]:4789", "[fe80::1%3]:1", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut name = SocketName::new();
            let octets = name.set(&address);
            assert_eq!(octets, if address.is_ipv4() { 16 } else { 28 });
            assert_eq!(name.address(), Some(address));
        }
    }

    #[test]
    fn an_ipv4_name_leaves_nothing_of_the_ipv6_name_before_it() {
        let mut name = SocketName::new();
        name.set(&"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1".parse().unwrap());
        name.set(&"192.0.2.7:1".parse().unwrap());
        assert_eq!(name.0[8..16], [0; 8]);
    }

    #[test]
    fn an_unknown_family_or_a_short_name_is_none() {
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[0xff; NAME_OCTETS]), None);
        assert_eq!(parse(&family(libc::AF_INET)), None);
        assert_eq!(parse_ip(&[0; NAME_OCTETS]), None);
    }
}
