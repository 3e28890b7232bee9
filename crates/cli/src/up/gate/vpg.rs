//! `--vpg-id`: the whole set-up from the API.

mod view;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::oneshot;
use vxgate_gate::api::{ClientConfig, Overrides, VpgId};
use vxgate_gate::setup::{self, Local};
use vxgate_gate::{Own, VpgPeer};
use vxgate_netlink::Netlink;
use vxgate_sys::tap::{self, TapError};

use super::answer::Answer;
use super::api::Api;
use super::complete::{Said, complete};
use super::error::GateError;
use super::follow::Follower;
use super::intend::{self, Intent, Wanted, intend};
use super::kept::{Kept, KeptFile};
use super::wall_clock;
use crate::args::up::UpOptions;
use crate::args::up::gate::{DEFAULT_API_INTERVAL, DEFAULT_API_WAIT};
use crate::config::UpConfig;
use crate::failure::Failure;

pub(crate) use view::{Blind, Kind, View};

/// How long the API has for each call where an earlier answer is there to begin with.
const HASTE: Duration = Duration::from_secs(3);

/// A set-up to be made.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    vpg: VpgId,
    overrides: Overrides,
    open_gate: bool,
    interval: Duration,
    wait: Duration,
    /// All other options.
    options: UpOptions,
}

/// A tunnel to be brought up, and what follows the API behind it.
pub(crate) type Prepared = (UpConfig, Follower);

impl Request {
    /// What these options ask of the API, if they do.
    pub(crate) fn of(mut options: UpOptions) -> Option<Request> {
        let gate = std::mem::take(&mut options.gate);
        Some(Request {
            vpg: gate.vpg_id?,
            overrides: Overrides { endpoint: gate.endpoint, coverage: gate.coverage, profile: gate.profile },
            open_gate: gate.open_gate.unwrap_or(false),
            interval: gate.api_interval.unwrap_or(DEFAULT_API_INTERVAL),
            wait: gate.api_wait.unwrap_or(DEFAULT_API_WAIT),
            options,
        })
    }

    fn what(&self) -> String {
        format!("up: --vpg-id {}", self.vpg)
    }

    fn failure(&self, error: &GateError) -> Failure {
        Failure::failed(self.what(), crate::up::chain(error)).with_hint(error.hint(&self.vpg))
    }

    /// Looks, and does what has to be done at the API.
    ///
    /// # Errors
    /// The API does not answer and never did, or what it says makes no tunnel.
    pub(crate) async fn prepare(self) -> Result<Prepared, Failure> {
        let found = self.find().await.map_err(|error| self.failure(&error))?;
        let Found { api, kept, answer, own, stale, notices } = found;
        let config = self.config(&answer, Some(own)).map_err(|error| self.failure(&error))?;
        let (config, more) = config;
        let config = UpConfig { notices: [config.notices, more, notices].concat(), ..config };
        let peers = self
            .options
            .peer
            .is_empty()
            .then(|| config.peers.iter().filter_map(|peer| Some((peer.outer, peer.inner?))).collect());
        let mut follower = Follower {
            request: self.clone(),
            api,
            kept,
            interval: self.interval,
            own,
            said: answer,
            kept_at: None,
            stale,
            peers,
            routes: BTreeSet::new(),
            told: Vec::new(),
            told_peers: Vec::new(),
            told_routes: Vec::new(),
        };
        if !stale {
            follower.keep();
        }
        Ok((config, follower))
    }

    /// Looks, and says what would be done: a line each, and the tunnel where it is known.
    ///
    /// # Errors
    /// As [`Request::prepare`].
    pub(crate) async fn rehearse(self) -> Result<(Vec<String>, Option<UpConfig>), Failure> {
        let looked = async {
            let api = Api::new(self.client_config().await?, self.vpg.clone(), self.wait);
            let (answer, notices) = api.look().await?;
            // Whoever only looks leaves no session behind; where that fails, it ends by itself.
            let _ = api.call(|client, _| client.log_out()).await;
            let here = Here::look(&answer).await?;
            // Whether the Gate is closed is told below, and is no reason to stop here.
            let intent = intend(&answer, Wanted { open_gate: true, ..self.wanted(&here) })?;
            Ok::<_, GateError>((answer, notices, intent))
        };
        let (answer, notices, intent) = looked.await.map_err(|error| self.failure(&error))?;
        let mut lines = notices;
        let vni = |vni: Option<vxgate_codec::Vni>| vni.unwrap_or(vxgate_gate::GATE_VNI);
        match (&intent.open, self.open_gate) {
            (None, _) => lines.push(format!("VPG {}: the Gate is open, VNI {}", self.vpg, vni(answer.vni))),
            (Some(open), true) => {
                lines.push(format!("would open the Gate of VPG {}, VNI {}", self.vpg, vni(*open)));
            }
            (Some(_), false) => {
                lines.push(format!("VPG {}: would stop here, because {}", self.vpg, GateError::Closed));
                lines.extend(GateError::Closed.hint(&self.vpg).map(|hint| format!("hint: {hint}")));
                return Ok((lines, None));
            }
        }
        if let Some((outer, inner)) = intent.register {
            let inner = inner
                .map_or_else(|| "an inner address of the API's choice".to_owned(), |inner| inner.to_string());
            lines.push(format!("would register {outer} as a Gate peer, with {inner}"));
            let peers: Vec<IpAddr> = intent.peers.iter().map(|peer| peer.outer).collect();
            lines.push(format!("would bring up the tunnel from {outer} to {}", outer_list(&peers)));
            return Ok((lines, None));
        }
        let Some(own) = intent.own else { return Ok((lines, None)) };
        lines.push(format!("{} is registered, with {}", own.outer, own.address));
        lines.extend(
            answer.routes(own.address).iter().map(|network| format!("would route {network} into the tunnel")),
        );
        let (config, more) = self.config(&answer, Some(own)).map_err(|error| self.failure(&error))?;
        Ok((lines, Some(UpConfig { notices: [config.notices, more].concat(), ..config })))
    }

    /// The tunnel that the answer makes of the options; without an address where this host is not registered yet.
    pub(super) fn config(
        &self,
        answer: &Answer,
        own: Option<Own>,
    ) -> Result<(UpConfig, Vec<String>), GateError> {
        let peers: Vec<VpgPeer> = setup::vpg_side(&answer.peers)?;
        let said = Said { who: "the VPG", vni: answer.vni, peers: &peers, own };
        let (options, notices) = complete(self.options.clone(), &said);
        Ok((UpConfig::new(options)?, notices))
    }

    async fn client_config(&self) -> Result<ClientConfig, GateError> {
        let overrides = self.overrides.clone();
        // A profile may run a command, which takes its time.
        let (answer, answered) = oneshot::channel();
        let reading = std::thread::Builder::new().name("gate-profile".to_owned()).spawn(move || {
            // Who asked may have given up.
            let _ = answer.send(ClientConfig::from_environment(&overrides, &|name| std::env::var_os(name)));
        });
        reading.map_err(GateError::Thread)?;
        let read = answered.await.map_err(|_| GateError::Thread(io::ErrorKind::Interrupted.into()))?;
        Ok(read?)
    }

    fn wanted<'a>(&self, here: &'a Here) -> Wanted<'a> {
        Wanted {
            local: self.options.local,
            vni: self.options.vni,
            address: self.options.address.first().copied(),
            open_gate: self.open_gate,
            here: &here.addresses,
            towards_vpg: here.towards_vpg,
        }
    }

    async fn find(&self) -> Result<Found, GateError> {
        let kept = KeptFile::from_environment(&self.vpg);
        let earlier = kept.load(&self.vpg, wall_clock()).unwrap_or_else(|error| {
            tracing::warn!("the kept answer in {} is of no use: {error}", kept.path().display());
            None
        });
        let config = self.client_config().await?;
        let api = Api::new(config.clone(), self.vpg.clone(), self.wait);
        let looked = match &earlier {
            // Nobody waits for an API that is away, where the tunnel can be had without.
            Some(_) => {
                Api::hasty(config, self.vpg.clone(), HASTE.min(self.wait.max(Duration::from_secs(1))))
                    .look()
                    .await
            }
            None => api.look().await,
        };
        match (looked, earlier) {
            (Ok((answer, notices)), _) => {
                let here = Here::look(&answer).await?;
                let intent = intend(&answer, self.wanted(&here))?;
                // A tunnel that cannot be is no reason to change anything at the API.
                self.config(&answer, intent.own)?;
                if intent.register.is_some() || intent.open.is_some() {
                    can_make_device().await?;
                }
                let (answer, own) = act(&api, intent, answer, self.options.address.first().copied()).await?;
                Ok(Found { api, kept, answer, own, stale: false, notices })
            }
            (Err(error), Some(earlier)) if error.leaves_the_last_answer() => {
                let own = self.own_of(&earlier).await;
                let own = own.filter(|own| self.config(&earlier.answer, Some(*own)).is_ok());
                let Some(own) = own else { return Err(error) };
                tracing::warn!(
                    "{}; going on with the API's answer of {} ago, kept in {}",
                    crate::up::chain(&error),
                    rough(earlier.age),
                    kept.path().display()
                );
                let closed = (!earlier.answer.gate_opened)
                    .then(|| "the Gate was closed when the API last answered".to_owned());
                let notices = closed.into_iter().collect();
                Ok(Found { api, kept, answer: earlier.answer, own, stale: true, notices })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// This host's entry in an answer that was kept, if it makes a tunnel.
    async fn own_of(&self, kept: &Kept) -> Option<Own> {
        let here = Here::look(&kept.answer).await.ok()?;
        setup::vpg_side(&kept.answer.peers).ok()?;
        let local = self.options.local.map_or(Local::AnyOf(&here.addresses), Local::Given);
        intend::own(&kept.answer.peers, local, self.options.address.first().copied()).ok()
    }
}

/// What came of looking and acting.
struct Found {
    api: Api,
    kept: KeptFile,
    answer: Answer,
    own: Own,
    stale: bool,
    notices: Vec<String>,
}

/// What this host is.
struct Here {
    addresses: Vec<IpAddr>,
    /// The address that the route to the first of the VPG's peers uses.
    towards_vpg: Option<IpAddr>,
}

impl Here {
    async fn look(answer: &Answer) -> Result<Here, GateError> {
        let netlink = Netlink::open()?;
        let addresses = netlink.addresses().await?.iter().map(|address| address.ip.addr()).collect();
        let first = answer.peers.iter().find(|peer| !peer.owned_by_customer).map(|peer| peer.outer_ip);
        let route = match first {
            Some(peer) => netlink.route_lookup(peer).await.ok(),
            None => None,
        };
        Ok(Here { addresses, towards_vpg: route.and_then(|route| route.source) })
    }
}

/// Refuses where the kernel would refuse the device.
async fn can_make_device() -> Result<(), GateError> {
    tap::check_device_file()?;
    match Netlink::open()?.may_change().await? {
        true => Ok(()),
        false => Err(TapError::NoPermission { action: "make a device" }.into()),
    }
}

/// Registers and opens, as intended; the answer as it is then.
async fn act(
    api: &Api,
    intent: Intent,
    mut answer: Answer,
    address: Option<IpNet>,
) -> Result<(Answer, Own), GateError> {
    let own = match (intent.own, intent.register) {
        (Some(own), _) => own,
        (None, None) => return Err(GateError::NoLocal),
        (None, Some((outer, inner))) => {
            let peer = api.call(move |client, vpg| client.register(vpg, outer, inner)).await?;
            tracing::info!("registered {outer} as a Gate peer, with the inner address {}", peer.inner_ip);
            answer.peers.push(peer);
            intend::own(&answer.peers, Local::Given(outer), address)?
        }
    };
    if let Some(vni) = intent.open {
        let vpg = api.call(move |client, id| client.open(id, vni)).await?;
        answer.gate_opened = vpg.gate_opened;
        answer.vni = vpg.gate_vni;
        tracing::info!("opened the Gate, VNI {}", answer.vni.unwrap_or(vxgate_gate::GATE_VNI));
    }
    Ok((answer, own))
}

/// Addresses, as a sentence has them.
fn outer_list(peers: &[IpAddr]) -> String {
    peers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// A time as a person says it.
fn rough(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_own_unit() {
        let told = |seconds| rough(Duration::from_secs(seconds));
        assert_eq!(
            [told(0), told(119), told(180), told(7200), told(172_800)],
            ["0 s", "119 s", "3 min", "2 h", "2 days"]
        );
    }
}
