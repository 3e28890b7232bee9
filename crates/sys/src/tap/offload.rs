//! Which work on a frame a TAP device may leave to its reader.

use std::fmt;
use std::ops::BitOr;

/// Which work on a frame the kernel may leave to us when we read it (`TUN_F_*` of linux/if_tun.h). None by
/// default.
///
/// A write may use any of these whatever was granted: the mask concerns reads.
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

    pub(super) const fn without_uso(self) -> Offload {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offloads_print_by_name() {
        assert_eq!(format!("{:?}", Offload::NONE), "{}");
        assert_eq!(format!("{:?}", Offload::TSO4 | Offload::USO), r#"{"csum", "tso4", "uso4", "uso6"}"#);
    }
}
