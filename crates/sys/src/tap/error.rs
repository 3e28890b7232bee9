//! Why there is no TAP device, in words that say what to do.

use std::io;

use crate::interface::{self, NAME_OCTETS_MAX};

/// Why there is no TAP device. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapError {
    /// The kernel or the container has no /dev/net/tun.
    #[error(
        "there is no /dev/net/tun: load the kernel's tun module (modprobe tun), or give the container the \
         device (docker run --device /dev/net/tun)"
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
        "{name:?} cannot name an interface: it takes 1 to 15 octets without white space, '/', ':' or a '%' \
         other than one %d, and is not \"all\" or \"default\""
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

/// The rules of the kernel's `dev_valid_name` and `sysctl_dev_name_is_allowed`, so that EINVAL later means
/// the flags.
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
        // Without IFF_TUN_EXCL an interface that is no TAP device gives EINVAL, as a flag that is not known
        // does.
        Some(libc::EINVAL) if interface::index(name).is_ok() => TapError::NameTaken { name: name.to_owned() },
        Some(libc::EINVAL) => TapError::FlagsRefused,
        Some(libc::EPERM | libc::EACCES) => {
            TapError::NoPermission { action: "create or attach a TAP device" }
        }
        _ => TapError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::interface::{Call, Request};
    use crate::tap::{TapOptions, open_device_file};
    use crate::test_support::{self, isolated};

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
}
