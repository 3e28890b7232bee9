//! How many datagrams one send may become: a property of the running kernel that only a send shows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use super::{Message, SEGMENTS_CEILING, SEGMENTS_FLOOR, SendBatch, UdpOptions, bind, send_batch};

/// As [`super::UdpSocket::segments_max`].
pub(super) fn max() -> usize {
    static MEASURED: OnceLock<usize> = OnceLock::new();
    if let Some(segments) = MEASURED.get() {
        return *segments;
    }
    // An answer holds for as long as the kernel runs. That there was none may be due to this namespace, so the
    // next caller asks again.
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    match loopback.into_iter().find_map(measure) {
        Some(segments) => *MEASURED.get_or_init(|| segments),
        None => SEGMENTS_FLOOR,
    }
}

/// Sends the ceiling's number of segments of one octet from a socket to itself; `None` where nothing can be
/// sent to that address, which says nothing about segments.
fn measure(loopback: IpAddr) -> Option<usize> {
    // It receives nothing: what is sent is dropped before it is queued.
    let socket = bind(&UdpOptions { only_send: true, ..UdpOptions::new((loopback, 0).into()) }).ok()?;
    let message = Message::new(socket.local_addr().ok()?, &[0; SEGMENTS_CEILING]);
    let mut scratch = SendBatch::new(1);
    let most = Message { segment_octets: Some(1), ..message };
    let outcome = send_batch(&socket, &mut scratch, [most]);
    match outcome.error.and_then(|error| error.raw_os_error()) {
        None if outcome.sent == 1 => Some(SEGMENTS_CEILING),
        // Too many segments, or a kernel without them, which is for `supports_segment` to tell.
        Some(libc::EINVAL) => Some(SEGMENTS_FLOOR),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::isolated;

    #[test]
    fn an_address_that_cannot_be_sent_to_gives_no_answer() {
        isolated(|| assert_eq!(measure(Ipv4Addr::new(192, 0, 2, 1).into()), None));
    }

    #[test]
    fn both_families_give_the_answer_that_is_kept() {
        isolated(|| {
            let v4 = measure(Ipv4Addr::LOCALHOST.into());
            assert_eq!(v4, Some(max()));
            if bind(&UdpOptions::new((Ipv6Addr::LOCALHOST, 0).into())).is_ok() {
                assert_eq!(measure(Ipv6Addr::LOCALHOST.into()), v4);
            }
        });
    }
}
