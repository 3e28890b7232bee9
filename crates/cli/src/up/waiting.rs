//! What the control socket answers while the tunnel is still being found out: that it is not there yet, and `down` all the
//! same.

use std::net::IpAddr;

use tokio::sync::Notify;
use vxgate_forwarder::Capture;

use crate::config::values::PeerSpec;
use crate::control::protocol::{
    CaptureWanted, Capturing, FdbNew, FdbPage, FdbTarget, FdbVerb, FlushFilter, PeerStatus, Refusal,
    Reloaded, TunnelStatus,
};
use crate::control::server::Handler;

/// A tunnel that is not there yet.
#[derive(Default)]
pub(super) struct Waiting {
    /// Told when a client wants the wait to end.
    pub(super) down: Notify,
}

fn not_yet<T>() -> Result<T, Refusal> {
    Err(Refusal::new("the tunnel is not up yet: the Gate's API is being asked")
        .with_hint("its log says what it waits for; `vxgate down` ends it"))
}

impl Handler for Waiting {
    async fn show(&self) -> Result<TunnelStatus, Refusal> {
        not_yet()
    }

    async fn fdb_page(&self, _: u64, _: usize) -> Result<FdbPage, Refusal> {
        not_yet()
    }

    async fn fdb_set(&self, _: FdbVerb, _: FdbNew) -> Result<(), Refusal> {
        not_yet()
    }

    async fn fdb_del(&self, _: FdbTarget) -> Result<(), Refusal> {
        not_yet()
    }

    async fn fdb_flush(&self, _: FlushFilter) -> Result<u64, Refusal> {
        not_yet()
    }

    async fn peer_list(&self) -> Result<Vec<PeerStatus>, Refusal> {
        not_yet()
    }

    async fn peer_add(&self, _: PeerSpec) -> Result<(), Refusal> {
        not_yet()
    }

    async fn peer_del(&self, _: IpAddr) -> Result<(), Refusal> {
        not_yet()
    }

    async fn reload(&self) -> Result<Reloaded, Refusal> {
        not_yet()
    }

    fn capture(&self, _: CaptureWanted) -> Result<(Capturing, Capture), Refusal> {
        not_yet()
    }

    fn down(&self) {
        self.down.notify_one();
    }
}
