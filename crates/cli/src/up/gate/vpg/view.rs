//! The Gate for one who only looks: what the API says, and what `up` would stop at, all of it and not the first of it.

use std::net::IpAddr;
use std::time::Duration;

use vxgate_codec::Vni;
use vxgate_gate::api::VpgId;
use vxgate_gate::setup::{self, Local};
use vxgate_gate::{Own, SetupError};

use super::{Here, Request};
use crate::args::up::UpOptions;
use crate::config::UpConfig;
use crate::up::gate::api::Api;
use crate::up::gate::complete::{Said, complete};
use crate::up::gate::error::GateError;

/// What the API says of the Gate and of this host.
#[derive(Debug)]
pub(crate) struct View {
    /// The VPG.
    pub(crate) vpg: VpgId,
    /// Its VNI, where the Gate was ever open.
    pub(crate) vni: Option<Vni>,
    /// The outer addresses of its peers.
    pub(crate) peers: Vec<IpAddr>,
    /// How this host is registered.
    pub(crate) own: Option<Own>,
    /// What `up` would stop at or change.
    pub(crate) troubles: Vec<Trouble>,
    /// What else is worth a word.
    pub(crate) notices: Vec<String>,
    /// The options with what the Gate says put in where they say nothing.
    pub(crate) options: UpOptions,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Which kind it is.
    pub(crate) kind: Kind,
    /// What is there.
    pub(crate) found: String,
    /// What to do.
    pub(crate) next_step: String,
}

/// What kind of trouble there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The Gate is closed; `--open-gate` opens it.
    Closed,
    /// This host is not registered; `up` registers it.
    NotRegistered,
    /// The list makes no tunnel.
    List,
}

/// Why there is nothing to see, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blind {
    pub(crate) why: String,
    pub(crate) hint: Option<String>,
}

impl Request {
    /// Looks, and changes nothing. Each call has up to `attempt`, and all of them together `total`.
    pub(crate) async fn view(self, attempt: Duration, total: Duration) -> Result<View, Blind> {
        let vpg = self.vpg.clone();
        let late = || Blind {
            why: format!("the API does not answer within {:.1} s", total.as_secs_f32()),
            hint: Some(
                "see that this host reaches the internet; where a proxy is needed, set HTTPS_PROXY"
                    .to_owned(),
            ),
        };
        let looked = tokio::time::timeout(total, self.seen(attempt)).await.map_err(|_| late())?;
        looked.map_err(|error| Blind { why: crate::up::chain(&error), hint: error.hint(&vpg) })
    }

    async fn seen(self, attempt: Duration) -> Result<View, GateError> {
        let api = Api::hasty(self.client_config().await?, self.vpg.clone(), attempt);
        let (answer, notices) = api.look().await?;
        let here = Here::look(&answer).await?;
        let mut troubles = Vec::new();
        let mut trouble = |kind, error: &GateError| {
            let next_step = error.hint(&self.vpg).unwrap_or_default();
            troubles.push(Trouble { kind, found: crate::up::chain(error), next_step });
        };
        if !answer.gate_opened {
            trouble(Kind::Closed, &GateError::Closed);
        }
        let of_vpg = setup::vpg_side(&answer.peers).unwrap_or_else(|error| {
            trouble(Kind::List, &error.into());
            Vec::new()
        });
        let local = self.options.local.map_or(Local::AnyOf(&here.addresses), Local::Given);
        let own = match setup::own(&answer.peers, local) {
            Ok(own) => Some(own),
            Err(error) => {
                let kind = match error {
                    SetupError::NotRegistered { .. } => Kind::NotRegistered,
                    SetupError::NoVpgPeers { .. }
                    | SetupError::VpgPeerTwice { .. }
                    | SetupError::LocalIsVpgs { .. }
                    | SetupError::OwnTwice { .. }
                    | SetupError::SeveralOwn { .. }
                    | SetupError::BeyondDevices { .. }
                    | SetupError::NoNetmask { .. }
                    | SetupError::NetmaskTooLong { .. } => Kind::List,
                };
                trouble(kind, &error.into());
                None
            }
        };
        let said = Said { who: "the VPG", vni: answer.vni, peers: &of_vpg, own };
        let (mut options, differences) = complete(self.options.clone(), &said);
        if let (Some(own), true) = (own, options.route.is_empty()) {
            options.route = answer.routes(own.address).into_iter().collect();
        }
        if let Err(error) = UpConfig::new(options.clone()) {
            trouble(Kind::List, &error.into());
            options = self.options;
        }
        // That there is no entry is a trouble above.
        let differences = if own.is_some() { differences } else { Vec::new() };
        Ok(View {
            vpg: self.vpg,
            vni: answer.vni,
            peers: of_vpg.iter().map(|peer| peer.outer).collect(),
            own,
            troubles,
            notices: [notices, differences].concat(),
            options,
        })
    }
}
