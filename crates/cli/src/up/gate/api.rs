//! The API as the daemon asks it: each call on a thread of its own.
//!
//! The daemon's only thread must not wait for a network, and must end while a call hangs. A call that nobody waits for any
//! more is cancelled with the value, and its thread ends by itself.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use vxgate_gate::api::{ApiError, Client, ClientConfig, Patience, RetryNotice, VpgId};

use super::answer::Answer;
use super::error::GateError;

/// The longest that one attempt may take, as the vendor's command has it.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(120);

/// The shortest that one attempt is given, however little patience there is.
const SHORTEST_ATTEMPT: Duration = Duration::from_secs(1);

/// How long the name of the API's host may take to resolve where its addresses are only to be kept out of the tunnel.
const RESOLVING: Duration = Duration::from_secs(1);

/// One VPG's part of the API.
pub(super) struct Api {
    client: Arc<Client>,
    pub(super) vpg: VpgId,
    /// Whether attempts that fail are worth a line of the log.
    tells: Arc<AtomicBool>,
}

impl Api {
    /// `wait` is how long a call is tried again.
    pub(super) fn new(config: ClientConfig, vpg: VpgId, wait: Duration) -> Api {
        let patience = Patience::default();
        Api::with_patience(
            config,
            vpg,
            Patience {
                total: wait,
                per_attempt: wait.clamp(SHORTEST_ATTEMPT, LONGEST_ATTEMPT),
                connect: patience.connect.min(wait.max(SHORTEST_ATTEMPT)),
                ..patience
            },
        )
    }

    /// One attempt of each call, of up to this long.
    pub(super) fn hasty(config: ClientConfig, vpg: VpgId, attempt: Duration) -> Api {
        Api::with_patience(config, vpg, Patience::once(attempt))
    }

    fn with_patience(config: ClientConfig, vpg: VpgId, patience: Patience) -> Api {
        let tells = Arc::new(AtomicBool::new(true));
        let telling = Arc::clone(&tells);
        let on_retry = RetryNotice::new(move |error: &ApiError, wait| {
            let wait = wait.as_secs_f32();
            if telling.load(Ordering::Relaxed) {
                tracing::warn!("{error}; trying again in {wait:.0} s");
            } else {
                tracing::debug!("{error}; trying again in {wait:.0} s");
            }
        });
        let config = ClientConfig { patience, on_retry: Some(on_retry), ..config };
        Api { client: Arc::new(Client::new(config)), vpg, tells }
    }

    /// From now on somebody else tells of failures, once for all attempts.
    pub(super) fn be_quiet(&self) {
        self.tells.store(false, Ordering::Relaxed);
    }

    /// Asks on a thread of its own.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Client, &VpgId) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, GateError> {
        let (client, vpg) = (Arc::clone(&self.client), self.vpg.clone());
        let (answer, answered) = oneshot::channel();
        let thread = thread::Builder::new().name("gate-api".to_owned());
        let asking = thread.spawn(move || {
            // Who asked may have given up.
            let _ = answer.send(ask(&client, &vpg));
        });
        asking.map_err(GateError::Thread)?;
        Ok(answered.await.map_err(|_| ApiError::Cancelled)??)
    }

    /// The addresses of the API's host, or of the proxy that leads there; none where its name does not resolve just now.
    pub(super) async fn addresses(&self) -> Vec<IpAddr> {
        let resolved = self.call(|client, _| {
            let (host, port) = client.config().first_hop();
            // A name without addresses is asked by no way that could be cut off.
            let found = (host, port).to_socket_addrs().into_iter().flatten();
            Ok(found.map(|address| address.ip().to_canonical()).collect())
        });
        tokio::time::timeout(RESOLVING, resolved).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// All that a tunnel needs to know, with what is worth a word.
    pub(super) async fn look(&self) -> Result<(Answer, Vec<String>), GateError> {
        self.call(|client, id| {
            let vpg = client.vpg(id)?;
            let peers = client.peers(id)?;
            Ok((Answer::of(&vpg, peers), super::answer::notices(&vpg)))
        })
        .await
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.client.cancellation().cancel();
    }
}
