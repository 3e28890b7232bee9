//! What failed, on which object, and the kernel's errno.

use std::borrow::Cow;
use std::io;

/// A request that the kernel refused, or that could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The netlink socket could not be opened.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// The kernel refused the request.
    #[error("cannot {operation} {object}: {}{}", io::Error::from_raw_os_error(*errno), suffix(.reason))]
    Refused {
        /// What was asked, as a verb phrase: `set the MTU of`.
        operation: Cow<'static, str>,
        /// On what: `link vxlan0`.
        object: String,
        /// The kernel's error number (errno(3)).
        errno: i32,
        /// The kernel's own sentence, where it gives one (`NLMSGERR_ATTR_MSG` of linux/netlink.h).
        reason: Option<String>,
    },
    /// The kernel's answer did not come or could not be understood.
    #[error("cannot {operation} {object}: no usable answer from the kernel")]
    NoAnswer {
        /// What was asked.
        operation: &'static str,
        /// On what.
        object: String,
    },
}

fn suffix(reason: &Option<String>) -> String {
    reason.as_ref().map(|text| format!(": {text}")).unwrap_or_default()
}

impl Error {
    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Open(error) => error.raw_os_error(),
            Error::Refused { errno, .. } => Some(*errno),
            Error::NoAnswer { .. } => None,
        }
    }

    /// The object is there already (`EEXIST`).
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }

    /// The caller lacks `CAP_NET_ADMIN` here (`EPERM`, `EACCES`).
    pub fn is_denied(&self) -> bool {
        matches!(self.errno(), Some(libc::EPERM | libc::EACCES))
    }

    /// The link, address, route or entry is not there (`ENODEV`, `ENOENT`, `ESRCH`, `EADDRNOTAVAIL`).
    pub fn is_missing(&self) -> bool {
        matches!(self.errno(), Some(libc::ENODEV | libc::ENOENT | libc::ESRCH | libc::EADDRNOTAVAIL))
    }

    /// This kernel does not know that kind of object or setting (`EOPNOTSUPP`, `EAFNOSUPPORT`, `EPROTONOSUPPORT`).
    pub fn is_unsupported(&self) -> bool {
        matches!(self.errno(), Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT))
    }

    /// There is no way to the destination (`ENETUNREACH`, `EHOSTUNREACH`).
    pub fn is_unreachable(&self) -> bool {
        matches!(self.errno(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH))
    }
}

/// What a request does and to what, for the error that it may become.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) operation: &'static str,
    pub(crate) object: String,
}

impl Task {
    pub(crate) fn new(operation: &'static str, object: impl Into<String>) -> Task {
        Task { operation, object: object.into() }
    }

    pub(crate) fn refused(self, errno: i32, reason: Option<String>) -> Error {
        Error::Refused { operation: self.operation.into(), object: self.object, errno, reason }
    }

    pub(crate) fn no_answer(self) -> Error {
        Error::NoAnswer { operation: self.operation, object: self.object }
    }
}

/// The kernel's sentence in the attributes behind an error message, if there is one.
///
/// With `NETLINK_CAP_ACK` the message holds the request's 16-octet header and then the attributes (linux/netlink.h).
pub(crate) fn kernel_sentence(after_code: &[u8]) -> Option<String> {
    const REQUEST_HEADER_OCTETS: usize = 16;
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let mut rest = after_code.get(REQUEST_HEADER_OCTETS..)?;
    while let Some((head, _)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]);
        let value = rest.get(4..length)?;
        if kind == NLMSGERR_ATTR_MSG {
            let text = String::from_utf8_lossy(value);
            return Some(text.trim_end_matches('\0').to_owned());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_failed_on_what_and_why() {
        let error =
            Task::new("set the MTU of", "link vxlan0").refused(libc::EINVAL, Some("too large".into()));
        assert_eq!(
            error.to_string(),
            "cannot set the MTU of link vxlan0: Invalid argument (os error 22): too large"
        );
        assert_eq!(error.errno(), Some(libc::EINVAL));
    }

    #[test]
    fn the_kernels_sentence_is_found_behind_other_attributes() {
        let mut octets = vec![0; 16];
        octets.extend([8, 0, 2, 0, 1, 2, 3, 4]);
        octets.extend([9, 0, 1, 0, b'o', b'h', b'n', b'o', 0, 0, 0, 0]);
        if cfg!(target_endian = "little") {
            assert_eq!(kernel_sentence(&octets).as_deref(), Some("ohno"));
        }
        assert_eq!(kernel_sentence(&octets[..16]), None);
        assert_eq!(kernel_sentence(&octets[..22]), None);
        assert_eq!(kernel_sentence(&[0; 32]), None, "a zero length must not loop");
    }
}
