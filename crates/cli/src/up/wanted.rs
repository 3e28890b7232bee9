//! The tunnels that a process is asked for.

use std::path::Path;

use super::gate::vpg::Request;
use crate::config::UpConfig;
use crate::config::values::DeviceName;

/// A tunnel that is asked for.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// All of it is said.
    Said(UpConfig),
    /// The API knows the rest of it.
    Vpg {
        /// What the options say without the API.
        said: UpConfig,
        /// What to ask the API for.
        request: Box<Request>,
    },
}

impl Wanted {
    /// What is said of it.
    pub(super) fn said(&self) -> &UpConfig {
        match self {
            Wanted::Said(said) | Wanted::Vpg { said, .. } => said,
        }
    }

    /// The same for whoever has no more use for the rest.
    pub(crate) fn into_said(self) -> UpConfig {
        match self {
            Wanted::Said(said) | Wanted::Vpg { said, .. } => said,
        }
    }

    pub(super) fn dev(&self) -> &DeviceName {
        &self.said().dev
    }

    /// The program of `--on-event`.
    pub(super) fn program(&self) -> Option<&Path> {
        self.said().on_event.as_deref()
    }
}
