//! Features of a network device, as `ethtool -k` shows and `ethtool -K` switches them (linux/ethtool.h), in the
//! calling thread's network namespace.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::call;
use crate::interface::{self, NAME_OCTETS_MAX};

/// Commands of linux/ethtool.h.
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_SFEATURES: u32 = 0x3b;
/// `ETH_SS_FEATURES` of linux/ethtool.h: the set of strings that names the features.
const FEATURE_NAMES: u32 = 4;
/// `ETH_GSTRING_LEN` of linux/ethtool.h.
const NAME_OCTETS: usize = 32;

/// One feature of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// As the kernel names it (net/ethtool/common.c): `tx-tcp-segmentation`, `rx-gro`, ...
    pub name: String,
    /// It is in force.
    pub active: bool,
    /// It can be switched.
    pub changeable: bool,
}

/// The features of a device, in the kernel's order.
///
/// # Errors
///
/// `ENODEV` when there is no device of that name, `InvalidInput` when the name is too long.
pub fn features(device: &str) -> io::Result<Vec<Feature>> {
    let socket = interface::socket()?;
    let names = feature_names(socket.as_fd(), device)?;
    let blocks = blocks_of(names.len());
    // `struct ethtool_gfeatures`: command, number of blocks, and in each available, requested, active, never changed.
    let mut words = vec![0; 2 + blocks * 4];
    words[..2].copy_from_slice(&[ETHTOOL_GFEATURES, count(blocks)]);
    Exchange { words: &mut words }.call(socket.as_fd(), device)?;
    let features = names.into_iter().enumerate().map(|(index, name)| {
        let block = 2 + index / 32 * 4;
        let has = |word: usize| words[block + word] & (1 << (index % 32)) != 0;
        Feature { name, active: has(2), changeable: has(0) }
    });
    // A number that no feature has any more has no name.
    Ok(features.filter(|feature| !feature.name.is_empty()).collect())
}

/// Switches features on or off; those not named stay as they are.
///
/// # Errors
///
/// As [`features`]; `PermissionDenied` without CAP_NET_ADMIN; `Unsupported`, with the names, for features that the
/// device does not have or does not let be switched to what is wanted: the others are switched then.
pub fn set_features(device: &str, wanted: &[(&str, bool)]) -> io::Result<()> {
    let socket = interface::socket()?;
    let names = feature_names(socket.as_fd(), device)?;
    let blocks = blocks_of(names.len());
    // `struct ethtool_sfeatures`: command, number of blocks, and in each valid, requested.
    let mut words = vec![0; 2 + blocks * 2];
    words[..2].copy_from_slice(&[ETHTOOL_SFEATURES, count(blocks)]);
    for (name, on) in wanted {
        if let Some(index) = names.iter().position(|known| known == name) {
            let (block, bit) = (2 + index / 32 * 2, 1 << (index % 32));
            words[block] |= bit;
            words[block + 1] |= if *on { bit } else { 0 };
        }
    }
    // What the kernel answers says that something was refused, not what: the features themselves tell.
    Exchange { words: &mut words }.call(socket.as_fd(), device)?;
    let now = features(device)?;
    let refused: Vec<&str> = wanted
        .iter()
        .filter(|(name, on)| !now.iter().any(|feature| feature.name == *name && feature.active == *on))
        .map(|(name, _)| *name)
        .collect();
    if refused.is_empty() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("not switched: {}", refused.join(", "))))
    }
}

/// The names of all features, each at its number.
fn feature_names(fd: BorrowedFd<'_>, device: &str) -> io::Result<Vec<String>> {
    // `struct ethtool_sset_info`: command, reserved, a mask of 64 bits, and a number for each of its bits.
    let mask = u64::to_ne_bytes(1 << FEATURE_NAMES);
    let [low, high] = [[mask[0], mask[1], mask[2], mask[3]], [mask[4], mask[5], mask[6], mask[7]]];
    let mut info = [ETHTOOL_GSSET_INFO, 0, u32::from_ne_bytes(low), u32::from_ne_bytes(high), 0];
    Exchange { words: &mut info }.call(fd, device)?;
    let names = info[4] as usize;
    // `struct ethtool_gstrings`: command, set, number, and 32 octets for each.
    let mut words = vec![0; 3 + names * NAME_OCTETS / 4];
    words[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, FEATURE_NAMES, info[4]]);
    Exchange { words: &mut words }.call(fd, device)?;
    let octets: Vec<u8> = words[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let text = |name: &[u8]| {
        let name = name.split(|octet| *octet == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    };
    Ok(octets.chunks_exact(NAME_OCTETS).map(text).collect())
}

/// Blocks of 32 features.
fn blocks_of(features: usize) -> usize {
    features.div_ceil(32)
}

fn count(blocks: usize) -> u32 {
    u32::try_from(blocks).expect("a device has some dozens of features")
}

/// One command with its answer, as long as the structure that the kernel knows it by.
struct Exchange<'a> {
    words: &'a mut [u32],
}

/// `struct ifreq` (linux/if.h) with `ifr_data` in its union, which is 24 octets on 64-bit hosts.
#[repr(C, align(8))]
struct Request {
    name: [u8; NAME_OCTETS_MAX + 1],
    data: *mut u32,
    rest: [u8; 16],
}

impl Exchange<'_> {
    fn call(self, fd: BorrowedFd<'_>, device: &str) -> io::Result<()> {
        let name = interface::Request::new(device)?.name_octets();
        let mut request = Request { name, data: self.words.as_mut_ptr(), rest: [0; 16] };
        call::retry(|| {
            // SAFETY: `fd` is open for the length of the borrow. SIOCETHTOOL takes a `struct ifreq`, which `Request`
            // is at least as long as and aligned for, and follows `ifr_data` to the structure of the command in its
            // first word. That memory is borrowed exclusively by `self` for the length of the call, and each caller
            // in this file makes it as long as its command's structure with as many elements as the header in it
            // says; the number of names is the one that the kernel gave, and fixed while it runs.
            let result =
                unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCETHTOOL as libc::Ioctl, &raw mut request) };
            result as isize
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::TapOptions;
    use crate::test_support::{isolated, tap};

    fn state(device: &str, name: &str) -> Option<(bool, bool)> {
        let features = features(device).unwrap();
        features
            .iter()
            .find(|feature| feature.name == name)
            .map(|feature| (feature.active, feature.changeable))
    }

    #[test]
    fn a_request_is_as_long_as_the_kernel_s() {
        assert!(size_of::<Request>() >= size_of::<libc::ifreq>());
        assert!(align_of::<Request>() >= align_of::<libc::ifreq>());
        assert_eq!(std::mem::offset_of!(Request, data), std::mem::offset_of!(libc::ifreq, ifr_ifru));
    }

    #[test]
    fn the_loopback_device_segments_and_cannot_be_told_to_leave_its_namespace() {
        assert_eq!(state("lo", "tx-tcp-segmentation"), Some((true, true)));
        let local = state("lo", "netns-local").or(state("lo", "netns-immutable")).map(|(_, change)| change);
        assert!(local.is_none_or(|changeable| !changeable), "a fixed feature is told as one");
        assert_eq!(state("lo", "no-such-feature"), None);
    }

    #[test]
    fn a_feature_is_switched_off_and_on_again_and_the_others_stay() {
        isolated(|| {
            let Some(tap) = tap(&TapOptions::new("tap%d")) else { return };
            let device = tap.name();
            let before = features(device).unwrap();
            set_features(device, &[("tx-generic-segmentation", false)]).unwrap();
            assert_eq!(state(device, "tx-generic-segmentation"), Some((false, true)));
            set_features(device, &[("tx-generic-segmentation", true)]).unwrap();
            assert_eq!(features(device).unwrap(), before);
        });
    }

    #[test]
    fn what_cannot_be_switched_is_named() {
        isolated(|| {
            let Some(tap) = tap(&TapOptions::new("tap%d")) else { return };
            let device = tap.name();
            let wanted = [("no-such-feature", true), ("tx-generic-segmentation", false)];
            let error = set_features(device, &wanted).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            assert_eq!(error.to_string(), "not switched: no-such-feature");
            assert_eq!(state(device, "tx-generic-segmentation"), Some((false, true)), "the rest is switched");
        });
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        assert_eq!(features("no-such-device").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert_eq!(features("sixteen-octets-x").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
