//! The HTTP API of SORACOM, as far as a Gate needs it: a blocking client.
//!
//! ```text
//!  ClientConfig ──► Client ──► session (POST /auth, once a day, and once after a 401)
//!  environment,       │            │
//!  profile,           │            ▼
//!  command line       └──► call ──► send_until ──► send, on a thread of its own ──► transport ──► TLS
//!                                   waits between attempts (Patience)                   │
//!                          Vpg, [GatePeer] ◄── parsed by hand ◄── status judged ◄───────┘
//! ```
//!
//! The order of events of one call. Without a session it logs in first. A network error, 429 or 5xx is tried again after the
//! waits of [`Patience`]; a 401 makes one new session and one more attempt; any other refusal ends the call. A change
//! that is refused because it is made already, or whose answer was lost, is looked up and is then no error.
//!
//! Redirects are not followed, so the credentials reach the endpoint's host and no other. What a server says is shown
//! without them, on one line and cut. Secrets are kept in [`Secret`], which is overwritten when it goes; the copies that the
//! HTTP and TLS libraries make for a moment are not.
//!
//! Another thread ends everything by [`Cancellation`]: a daemon stops at once, whatever the network does.

mod cancel;
mod client;
mod clock;
mod credentials;
mod date;
mod endpoint;
mod error;
mod patience;
mod profile;
mod proxy;
mod secret;
mod settings;
mod transport;
mod vpg;
mod vpg_id;

pub use cancel::Cancellation;
pub use client::Client;
pub use credentials::Credentials;
pub use date::Utc;
pub use endpoint::{Coverage, Endpoint, InvalidCoverage, InvalidEndpoint};
pub use error::{ApiError, Refusal, Skew, Stage, Validity};
pub use patience::Patience;
pub use proxy::{InvalidProxy, ProxyUrl};
pub use secret::Secret;
pub use settings::{ClientConfig, ClientConfigError, Overrides, RetryNotice};
pub use vpg::{Vpg, VpgError};
pub use vpg_id::{InvalidVpgId, VpgId};
