//! Why a tunnel does not set itself up from the API, and what the operator can do.

use std::io;

use thiserror::Error;
use vxgate_gate::SetupError;
use vxgate_gate::api::{ApiError, ClientConfigError, VpgId};
use vxgate_sys::tap::TapError;

use crate::config::ConfigError;

/// Why there is no set-up.
#[derive(Debug, Error)]
pub(super) enum GateError {
    /// Credentials or endpoint are missing or wrong.
    #[error(transparent)]
    Client(#[from] ClientConfigError),
    /// The API does not answer, or not so that it helps.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The peers do not make a tunnel.
    #[error("{0}")]
    Setup(#[from] SetupError),
    /// What the VPG has breaks a rule of the options. They were right without it, so that this is no error of the command line.
    #[error("what the VPG has makes no tunnel: {option}: {0}", option = .0.option())]
    Config(#[from] ConfigError),
    /// The Gate is closed, and nobody said to open it.
    #[error("the Gate of the VPG is closed: nothing would pass")]
    Closed,
    /// Nothing says which of this host's addresses to register.
    #[error(
        "this host is not among the Gate peers, and no route to the VPG's peers tells which address to register"
    )]
    NoLocal,
    /// The address to register is none of this host's.
    #[error("--local {local} is no address of this host, and is not registered")]
    LocalNotHere {
        /// The address.
        local: std::net::IpAddr,
    },
    /// The tunnel's device cannot be made here.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// The host cannot be looked at.
    #[error(transparent)]
    Netlink(#[from] vxgate_netlink::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

impl GateError {
    /// What the operator can do, where something can be said.
    pub(super) fn hint(&self, vpg: &VpgId) -> Option<String> {
        match self {
            GateError::Client(error) => error.hint(),
            GateError::Api(error) => error.hint(),
            GateError::Setup(error) => Some(error.hint(Some(vpg.as_str()))),
            GateError::Config(error) => Some(error.hint().unwrap_or_else(|| {
                format!("look at the VPG: `vxgate gate peers --vpg-id {vpg}`; options that are given win, as --{}", error.option())
            })),
            GateError::Closed => {
                let open = format!("open it: `vxgate gate open --vpg-id {vpg}`");
                Some(format!("{open}, or have the tunnel do it: `vxgate up --vpg-id {vpg} --open-gate`"))
            }
            GateError::NoLocal => Some(
                "say --local IP, this host's address in the VPC; and see that the VPG is joined to the VPC"
                    .to_owned(),
            ),
            GateError::LocalNotHere { .. } => Some(
                "--local is this host's own address on the underlay; leave it out to have it found"
                    .to_owned(),
            ),
            GateError::Tap(_) | GateError::Netlink(_) | GateError::Thread(_) => None,
        }
    }

    /// Whether an earlier answer of the API may serve in place of the one that did not come: nothing was said about the VPG, or
    /// this host's credentials are refused, which is no word about the tunnel.
    pub(super) fn leaves_the_last_answer(&self) -> bool {
        match self {
            GateError::Api(ApiError::NotFound { .. }) => false,
            GateError::Api(_) => true,
            GateError::Client(_)
            | GateError::Setup(_)
            | GateError::Config(_)
            | GateError::Closed
            | GateError::NoLocal
            | GateError::LocalNotHere { .. }
            | GateError::Tap(_)
            | GateError::Netlink(_)
            | GateError::Thread(_) => false,
        }
    }
}
