//! A tunnel that sets itself up from the Gate: from a list of its peers, or from the API.
//!
//! ```text
//!   --gate-peers ─► list ──────────────────────────┐
//!                                                  ├─► complete ─► UpConfig ─► tunnel
//!   --vpg-id ─► look ─► intend ─► register, open ──┘                             ▲
//!                │  API, or where it is away: kept                               │ peers, routes
//!                └────────────────► follow: every few minutes ─► differences ────┘
//! ```
//!
//! What the API is asked is asked on threads of its own ([`api`]), so that the daemon ends at once whatever the network
//! does. Nothing is made on this host before all of it is known, and nothing is changed at the API before it is known that the
//! tunnel can come up: a Gate that is closed is told before this host is registered.

mod answer;
mod api;
mod complete;
mod error;
pub(crate) mod follow;
mod intend;
mod kept;
pub(crate) mod list;
pub(crate) mod vpg;

use std::time::SystemTime;

pub(super) use kept::write as keep_answer;

/// The time of day, for the age of what is kept.
#[expect(clippy::disallowed_methods, reason = "the daemon is an edge where time enters")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
