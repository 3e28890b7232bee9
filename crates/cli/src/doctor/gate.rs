//! What the Gate says of the tunnel: the list of `--gate-peers`, or the API for `--vpg-id`. It is asked first, since all else is
//! looked at with what it says.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::args::up::UpOptions;
use crate::failure::Failure;
use crate::up::gate::list;
use crate::up::gate::vpg::{Blind, Request, View};

/// How long one call may take, and all of them: the whole run is to end in five seconds, whatever the API does.
const ATTEMPT: Duration = Duration::from_millis(1500);
const TOTAL: Duration = Duration::from_secs(2);

/// What it says.
pub(crate) enum Gate {
    /// Nobody asked.
    Unasked,
    /// The list: what there is to note, or why it makes no tunnel.
    List(Result<Vec<String>, Failure>),
    /// The API: what it says, or why it says nothing.
    Api(Result<Box<View>, Blind>),
}

/// Asks, and puts the answer into the options where they say nothing.
pub(crate) fn ask(mut options: UpOptions, runtime: &Runtime) -> (UpOptions, Gate) {
    if let Some(source) = options.gate.gate_peers.take() {
        return match list::complete_from(&source, options.clone()) {
            Ok((completed, notices)) => (completed, Gate::List(Ok(notices))),
            Err(failure) => (options, Gate::List(Err(failure))),
        };
    }
    let Some(request) = Request::of(options.clone()) else { return (options, Gate::Unasked) };
    match runtime.block_on(request.view(ATTEMPT, TOTAL)) {
        Ok(view) => (view.options.clone(), Gate::Api(Ok(Box::new(view)))),
        Err(blind) => (options, Gate::Api(Err(blind))),
    }
}
