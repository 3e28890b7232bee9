//! What a monitor can be asked for, and what it answers: JSON, a line each.
//!
//! ```text
//!   ► {"grant":{"dev":"vxlan0","grant":{"link":7,"addresses":["10.225.194.171/9"],...}}}      ◄ "done"
//!   ► {"seal":{"quiet":false}}                                                                ◄ "done"
//!   ► {"order":{"dev":"vxlan0","order":{"set_mtu":{"octets":1400}}}}                          ◄ "done"
//!   ► {"order":{"dev":"vxlan0","order":{"add_route":"192.0.2.0/24"}}}                         ◄ {"refused":{"errno":1,...}}
//! ```
//!
//! This is the whole of what a process that carries frames can have done with privilege: there is no order that names another device, a
//! file or a program.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use vxgate_netlink::Error;

use crate::up::error::UpError;
use crate::up::forward::Way;
use crate::up::life::chain;

/// Longest line, in octets: an answer of the API for a thousand peers has room.
pub(super) const MAX_LINE_OCTETS: u64 = 1 << 20;

/// What a monitor is told.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// What the tunnel of this device may ask for from here on. Once for each, and not after [`Request::Seal`].
    Grant { dev: String, grant: Box<Grant> },
    /// All tunnels are up: nothing more is granted. `quiet` where nobody reads the log any longer.
    Seal { quiet: bool },
    /// The configuration file is to be read again; what it says is granted.
    Reread,
    /// Something is to be done for the tunnel of this device, by the name that it had at the start.
    Order { dev: String, order: Order },
}

/// What is to be done for a tunnel.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// The device's MTU, and superframes that fit it.
    SetMtu {
        octets: u32,
    },
    AddAddress(IpNet),
    DeleteAddress(IpNet),
    AddRoute(IpNet),
    DeleteRoute(IpNet),
    /// What a kept device was given is to be written down again.
    Remember,
    /// The granted way is to be forwarded by.
    Forward,
    /// It is to be forwarded by no longer.
    EndForwarding,
    /// The program of `--on-event` is to be told.
    Tell(Vec<(String, String)>),
    /// The API's answer is to be kept for a start without it.
    KeepAnswer(String),
    /// A kept device is to be taken away: the tunnel was taken down.
    RemoveDevice,
    /// The tunnel ends: its lock and its control socket are to be taken away.
    Leave,
}

/// What a tunnel may ask for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Grant {
    /// The device's number.
    pub(crate) link: u32,
    /// Whether the device outlives the tunnel.
    pub(crate) kept: bool,
    pub(crate) addresses: Vec<IpNet>,
    pub(crate) routes: Vec<IpNet>,
    /// Whether the API may name more routes: any that leaves `outside` outside.
    pub(crate) follows_api: bool,
    /// Peers, and this host's outer address.
    pub(crate) outside: Vec<IpAddr>,
    pub(crate) forward: Option<Way>,
    pub(crate) on_event: Option<PathBuf>,
    /// Where the API's answers are kept.
    pub(crate) answers: Option<PathBuf>,
}

/// What came of an order.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Done,
    /// The kernel refused, or the order was not granted.
    Refused {
        operation: String,
        object: String,
        errno: i32,
        reason: Option<String>,
    },
    /// It failed otherwise.
    Failed {
        why: String,
        hint: Option<String>,
    },
}

impl Answer {
    pub(super) fn of(outcome: Result<(), UpError>) -> Answer {
        match outcome {
            Ok(()) => Answer::Done,
            Err(UpError::Netlink(Error::Refused { operation, object, errno, reason })) => {
                Answer::Refused { operation: operation.into_owned(), object, errno, reason }
            }
            Err(error) => Answer::Failed { why: chain(&error), hint: error.hint() },
        }
    }

    pub(super) fn outcome(self) -> Result<(), UpError> {
        match self {
            Answer::Done => Ok(()),
            Answer::Refused { operation, object, errno, reason } => {
                Err(Error::Refused { operation: operation.into(), object, errno, reason }.into())
            }
            Answer::Failed { why, hint } => Err(UpError::Told { why, hint }),
        }
    }
}
