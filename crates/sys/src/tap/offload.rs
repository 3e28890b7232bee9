//! Which work on a frame a TAP device may leave to its reader, and which its writer may leave to it.

use std::fmt;
use std::io;
use std::ops::BitOr;

/// Which work on a frame the kernel may leave to us when we read it (`TUN_F_*` of linux/if_tun.h). None by
/// default.
///
/// What we may leave to the kernel when we write is another matter, which no such mask governs:
/// [`super::Tap::write_offload`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Offload(pub(super) u32);

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
    /// UDP superframes over IPv4 and IPv6: the kernel (6.2 and later) takes both or neither. Brings
    /// [`Offload::CSUM`] along.
    pub const USO: Offload = Offload(libc::TUN_F_CSUM | libc::TUN_F_USO4 | libc::TUN_F_USO6);

    /// All of them.
    pub const ALL: Offload = Offload(Offload::TSO4.0 | Offload::TSO6.0 | Offload::TSO_ECN.0 | Offload::USO.0);

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

    /// Frames whose TCP or UDP checksum is partial.
    #[must_use]
    pub const fn has_csum(self) -> bool {
        self.contains(Offload::CSUM)
    }

    /// TCP superframes over IPv4.
    #[must_use]
    pub const fn has_tso4(self) -> bool {
        self.contains(Offload::TSO4)
    }

    /// TCP superframes over IPv6.
    #[must_use]
    pub const fn has_tso6(self) -> bool {
        self.contains(Offload::TSO6)
    }

    /// TCP superframes with the CWR bit set.
    #[must_use]
    pub const fn has_tso_ecn(self) -> bool {
        self.contains(Offload::TSO_ECN)
    }

    /// UDP superframes over both IPv4 and IPv6.
    #[must_use]
    pub const fn has_uso(self) -> bool {
        self.contains(Offload::USO)
    }

    /// The names of what is in it, in this order: `csum`, `tso4`, `tso6`, `tso-ecn`, `uso`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        EACH.into_iter().filter(move |(one, _)| self.contains(*one)).map(|(_, name)| name)
    }
}

/// Every offload alone, in the order in which each finds beside it what it needs.
const EACH: [(Offload, &str); 5] = [
    (Offload::CSUM, "csum"),
    (Offload::TSO4, "tso4"),
    (Offload::TSO6, "tso6"),
    (Offload::TSO_ECN, "tso-ecn"),
    (Offload::USO, "uso"),
];

/// Asks for all that is `wanted`; where `set` (`TUNSETOFFLOAD`) refuses, for one after the other, so that what
/// the kernel does not know takes nothing else with it. Returns what is in force.
///
/// # Errors
///
/// When not even an empty mask is taken.
pub(super) fn negotiate(
    wanted: Offload,
    mut set: impl FnMut(Offload) -> io::Result<()>,
) -> io::Result<Offload> {
    if set(wanted).is_ok() {
        return Ok(wanted);
    }
    // The mask belongs to the device, and on a persistent one a program before us may have set it.
    set(Offload::NONE)?;
    let mut granted = Offload::NONE;
    for (one, _) in EACH.into_iter().filter(|(one, _)| wanted.contains(*one)) {
        if set(granted | one).is_ok() {
            granted = granted | one;
        }
    }
    Ok(granted)
}

impl BitOr for Offload {
    type Output = Offload;

    fn bitor(self, other: Offload) -> Offload {
        Offload(self.0 | other.0)
    }
}

impl fmt::Debug for Offload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Offload {
        EACH.into_iter().fold(Offload::NONE, |sum, (one, _)| sum | one)
    }

    /// A kernel that knows `known` and has the rules of `set_offload` in drivers/net/tun.c: whatever it does not
    /// know, and whatever lacks what it needs, is refused as a whole.
    struct Kernel {
        known: u32,
        mask: Offload,
    }

    impl Kernel {
        fn set(&mut self, offload: Offload) -> io::Result<()> {
            let bits = offload.bits();
            let tso = libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
            let uso = libc::TUN_F_USO4 | libc::TUN_F_USO6;
            let without_csum = bits != 0 && bits & libc::TUN_F_CSUM == 0;
            let ecn_alone = bits & libc::TUN_F_TSO_ECN != 0 && bits & tso & self.known == 0;
            let half_uso = bits & uso != 0 && bits & uso != uso;
            if bits & !self.known != 0 || without_csum || ecn_alone || half_uso {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            self.mask = offload;
            Ok(())
        }
    }

    #[test]
    fn what_the_kernel_refuses_takes_nothing_else_with_it() {
        let every = all().bits();
        let uso = libc::TUN_F_USO4 | libc::TUN_F_USO6;
        let tso = libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
        for (unknown, names) in [
            (0, &["csum", "tso4", "tso6", "tso-ecn", "uso"][..]),
            (uso, &["csum", "tso4", "tso6", "tso-ecn"]),
            (libc::TUN_F_USO6, &["csum", "tso4", "tso6", "tso-ecn"]),
            (libc::TUN_F_TSO4, &["csum", "tso6", "tso-ecn", "uso"]),
            (libc::TUN_F_TSO6, &["csum", "tso4", "tso-ecn", "uso"]),
            (libc::TUN_F_TSO_ECN, &["csum", "tso4", "tso6", "uso"]),
            (tso, &["csum", "uso"]),
            (tso | uso | libc::TUN_F_TSO_ECN, &["csum"]),
            (every, &[]),
        ] {
            // The mask of whoever had the device before.
            let mut kernel = Kernel { known: every & !unknown, mask: Offload(1 << 30) };
            let granted = negotiate(all(), |offload| kernel.set(offload)).unwrap();
            assert_eq!(granted.names().collect::<Vec<_>>(), names, "without {unknown:#x}");
            assert_eq!(kernel.mask, granted);
        }
    }

    #[test]
    fn only_what_is_wanted_is_asked_for() {
        let mut kernel = Kernel { known: all().bits(), mask: all() };
        let unknown = Offload(1 << 30);
        let granted = negotiate(Offload::TSO6 | unknown, |offload| kernel.set(offload)).unwrap();
        assert_eq!((granted, kernel.mask), (Offload::TSO6, Offload::TSO6));
        assert!(granted.has_csum() && granted.has_tso6());
        assert!(!granted.has_tso4() && !granted.has_tso_ecn() && !granted.has_uso());
    }

    #[test]
    fn a_kernel_without_the_call_is_an_error() {
        let _ = negotiate(all(), |_| Err(io::ErrorKind::Unsupported.into())).unwrap_err();
    }

    #[test]
    fn offloads_print_by_name() {
        assert_eq!(format!("{:?}", Offload::NONE), "{}");
        assert_eq!(format!("{:?}", Offload::TSO4 | Offload::USO), r#"{"csum", "tso4", "uso"}"#);
    }
}
