//! A TAP device with several queues, each for a thread of its own (`IFF_MULTI_QUEUE`).
//!
//! # Theory of operation
//!
//! ```text
//!                      tap0
//!   host's flows ──┬── queue 0 ──► Tap 0: read        Tap 0: write ──► writer 0 ──┐
//!     by hash      ├── queue 1 ──► Tap 1: read        Tap 1: write ──► writer 1 ──┼─► host
//!                  └── ...                             ...      (detached queues) ─┘
//! ```
//!
//! The kernel picks the queue of a frame by a hash of its flow, the same in both directions (`tun_select_queue`,
//! drivers/net/tun.c). But a frame that is *written* to a queue draws the frames that answer it there
//! (`tun_flow_update`), three seconds long: the flow goes to another queue in the middle, where it may overtake what is
//! left in the first one. The kernel's own comment there calls it a very small possibility. It is a certainty where the
//! thread that receives a flow from the network is not the one that sends its answers.
//!
//! So nothing is written to a queue that is read. Each [`Tap`] writes to a second descriptor whose queue is detached
//! (`TUNSETQUEUE`, `IFF_DETACH_QUEUE`): the device takes its frames as any, and a detached queue draws none. A flow
//! then stays on the queue that its hash names for as long as the device has that many queues, and the kernel is spared
//! the hash of each written frame.
//!
//! The writers are attached and detached one by one before the first queue that stays, so that each is queue 0: a
//! frame bears the number of its queue into the stack, which complains of numbers that the device does not have
//! (`get_rps_cpu`, net/core/dev.c).

use std::os::fd::{AsFd, OwnedFd};

use super::{Tap, TapError, TapOptions, attach, check_name, open_device_file};
use crate::interface::{Call, Request};

/// Most queues that a device is read by: half of `MAX_TAP_QUEUES` (drivers/net/tun.c), which counts writers, too.
pub const QUEUES_MAX: usize = 128;

impl Tap {
    /// Makes a device with this many queues, or adds them to one where `exclusive` is off, and returns one [`Tap`] for each.
    /// Each reads the flows of its queue only and writes any; a flow stays on one queue, whatever is written.
    ///
    /// With `exclusive`, the name was free; but whoever may attach to the device can add a queue of his own later
    /// and take a share of the frames: there is no exclusive device of this kind.
    ///
    /// # Errors
    ///
    /// As [`Tap::open`]; `Io` of kind `InvalidInput` for no queue or more than [`QUEUES_MAX`], `FlagsRefused` where the
    /// kernel knows no queues or the device has but one.
    pub fn open_queues(options: &TapOptions<'_>, queues: usize) -> Result<Vec<Tap>, TapError> {
        if queues == 0 || queues > QUEUES_MAX {
            return Err(TapError::Io(std::io::ErrorKind::InvalidInput.into()));
        }
        check_name(options.name)?;
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
        let mut name = options.name.to_owned();
        let mut exclusive = if options.exclusive { libc::IFF_TUN_EXCL } else { 0 };
        let mut open = || -> Result<(OwnedFd, String), TapError> {
            let fd = open_device_file()?;
            name = attach(&fd, &name, flags | exclusive)?;
            // From now on the name is ours.
            exclusive = 0;
            Ok((fd, name.clone()))
        };
        let mut writers = Vec::with_capacity(queues);
        for _ in 0..queues {
            let (writer, _) = open()?;
            detach(&writer)?;
            writers.push(writer);
        }
        let readers = writers.into_iter().map(|writer| {
            let (fd, name) = open()?;
            Ok(Tap { writer: Some(writer), ..Tap::configure(fd, name, options.offload)? })
        });
        readers.collect()
    }
}

/// Takes the queue out of use; what is written to it still arrives.
fn detach(queue: &OwnedFd) -> Result<(), TapError> {
    let mut request = Request::new("")?;
    let flags = u16::try_from(libc::IFF_DETACH_QUEUE).expect("the flags of linux/if_tun.h have 16 bits");
    request.set_value(flags.to_ne_bytes());
    request.call(queue.as_fd(), Call::TapQueue)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::UdpSocket;

    use super::*;
    use crate::packet::{PacketOptions, PacketSocket};
    use crate::tap::VNET_HEADER_OCTETS;
    use crate::test_support::{self, LONG, isolated, set_address, up};

    /// A device with queues that is up at 10.0.0.1/24.
    fn queues(count: usize) -> Option<Vec<Tap>> {
        // Says what is missing, if anything.
        test_support::tap(&TapOptions::new("probe"))?;
        let taps = Tap::open_queues(&TapOptions::new("mq%d"), count).unwrap();
        set_address(taps[0].name(), [10, 0, 0, 1]);
        up(taps[0].name());
        Some(taps)
    }

    /// UDP ports of the frames that wait, by queue.
    fn flows(taps: &[Tap]) -> BTreeMap<u16, usize> {
        let mut flows = BTreeMap::new();
        let mut buffer = [0; 2048];
        for (queue, tap) in taps.iter().enumerate() {
            while let Some(octets) = tap.read(&mut buffer).unwrap() {
                let frame = &buffer[VNET_HEADER_OCTETS..octets];
                // IPv4 and UDP; the source port behind both headers.
                if frame[12..14] == [8, 0] && frame[23] == 17 {
                    flows.insert(u16::from_be_bytes([frame[34], frame[35]]), queue);
                }
            }
        }
        flows
    }

    /// A frame from 10.0.0.255, port 9, to the host's port.
    fn answer(port: u16) -> Vec<u8> {
        let mut frame = vec![0; VNET_HEADER_OCTETS];
        frame.extend([0xff; 6]);
        frame.extend([2, 0, 0, 0, 0, 9, 8, 0]);
        frame.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 255, 10, 0, 0, 1]);
        frame.extend(9_u16.to_be_bytes());
        frame.extend(port.to_be_bytes());
        frame.extend([0, 8, 0, 0]);
        frame
    }

    #[test]
    fn a_flow_stays_on_its_queue_whatever_is_written_to_the_others() {
        isolated(|| {
            let Some(taps) = queues(4) else { return };
            let sockets: Vec<UdpSocket> = (0..64).map(|_| UdpSocket::bind("10.0.0.1:0").unwrap()).collect();
            let send_all = || {
                for socket in &sockets {
                    socket.set_broadcast(true).unwrap();
                    socket.send_to(b"to all", "10.0.0.255:9").unwrap();
                }
            };
            send_all();
            let before = flows(&taps);
            assert_eq!(before.len(), sockets.len());
            for queue in 0..4 {
                let share = before.values().filter(|own| **own == queue).count();
                assert!(share > 0, "queue {queue} has no flow of {before:?}");
            }
            for (&port, &queue) in &before {
                let other = &taps[(queue + 1) % taps.len()];
                assert!(other.write(&answer(port)).unwrap().is_some());
            }
            send_all();
            assert_eq!(flows(&taps), before);
        });
    }

    #[test]
    fn what_any_of_them_writes_reaches_the_host() {
        isolated(|| {
            let Some(taps) = queues(3) else { return };
            let options = PacketOptions { ignore_outgoing: true, ..PacketOptions::default() };
            let host = PacketSocket::open(taps[0].name(), &options).unwrap();
            for (port, tap) in (1..).zip(&taps) {
                let frame = answer(port);
                assert_eq!(tap.write(&frame).unwrap(), Some(frame.len()));
                let mut buffer = [0; 128];
                let octets = host.recv(&mut buffer, LONG).unwrap().unwrap();
                assert_eq!(buffer[..octets], frame[VNET_HEADER_OCTETS..]);
            }
        });
    }

    #[test]
    fn the_device_lives_as_long_as_one_of_them() {
        isolated(|| {
            let Some(mut taps) = queues(2) else { return };
            let name = taps[0].name().to_owned();
            assert!(taps.iter().all(|tap| tap.name() == name && tap.mac().is_ok()));
            taps.pop();
            assert!(crate::interface::index(&name).is_ok());
            taps.pop();
            assert!(crate::interface::index(&name).is_err());
        });
    }

    #[test]
    fn a_name_that_is_taken_and_a_number_that_is_not_possible_are_refused() {
        isolated(|| {
            let Some(taps) = queues(2) else { return };
            let options = TapOptions::new(taps[0].name());
            assert!(matches!(Tap::open_queues(&options, 2), Err(TapError::NameTaken { .. })));
            assert!(matches!(Tap::open(&options), Err(TapError::NameTaken { .. })));
            for queues in [0, QUEUES_MAX + 1] {
                assert!(matches!(Tap::open_queues(&options, queues), Err(TapError::Io(_))), "{queues}");
            }
            let many = Tap::open_queues(&TapOptions::new("many"), QUEUES_MAX).unwrap();
            assert_eq!(many.len(), QUEUES_MAX);
        });
    }
}
