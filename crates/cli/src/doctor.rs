//! `vxgate doctor`: looks this host over for a tunnel, before it runs and while it runs, and says what to do.
//!
//! ```text
//! options ─► gate: the API or the list ─► subject: the tunnel that is meant ◄── control socket of one that runs
//!               │
//!            host: links, addresses, routes ─────────────────────┐
//!               │                                                │
//!            window, one second: datagrams and pings to peers,   ├─► checks: facts to findings ─► print
//!               │  a look at the underlay, a question in the     │
//!               │  overlay; all at once                          │
//!            host and tunnel again: neighbours, counters ────────┘
//! ```
//!
//! What probes and what judges are apart: everything in `checks` that says good or bad takes values and returns findings. The rules that
//! `up` has are not written twice: they are those of `up::plan`, in its own words.
//!
//! Nothing is changed: no device made, no setting written, and every wait has a limit, so that dead peers and a daemon that hangs cost
//! no more than seconds.

pub(crate) mod check;
mod checks;
pub(crate) mod finding;
mod gate;
mod host;
mod probes;
mod subject;
mod window;

use std::io::Write;
use std::time::Instant;

use vxgate_netlink::Netlink;

use self::finding::{Finding, Verdict};
use self::host::Host;
use self::subject::Subject;
use self::window::{Place, Window};
use crate::config::layers::Layers;
use crate::failure::Failure;
use crate::print::{self, Format};

/// Looks and prints; a failed check is a failure without a word more.
pub(crate) fn run(layers: &Layers, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    let findings = look(layers)?;
    print::doctor::write(out, format, &findings).map_err(|error| Failure::output(&error))?;
    if findings.iter().any(|finding| finding.verdict == Verdict::Fail) {
        return Err(Failure::printed());
    }
    Ok(())
}

/// Everything that there is to find, in the order of the checks.
fn look(layers: &Layers) -> Result<Vec<Finding>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed("doctor", error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    let netlink = runtime.block_on(async { Netlink::open() }).map_err(|error| failed(&error))?;

    let (completed, gate) = gate::ask(layers.options(), &runtime);
    let mut subject = Subject::of(layers, completed)?;
    let host = runtime.block_on(Host::look(&netlink)).map_err(|error| failed(&error))?;
    subject.take_from_device(&host);

    let mut findings = checks::options::check(&subject);
    findings.extend(checks::tunnel::check(&subject));
    findings.extend(checks::gate::check(&subject, &gate));
    findings.extend(checks::tun::check(&subject));
    findings.extend(runtime.block_on(checks::privilege::check(&subject, &netlink)));
    findings.extend(checks::name::check(&subject, &host));
    let ways = runtime.block_on(checks::route::ways(&subject, &netlink));
    let carrier = checks::underlay::carrier(&subject, &host, &ways);
    findings.extend(checks::underlay::check(&subject, &host, carrier));
    let (local, about_local) = checks::local::check(&subject, &host, &ways);
    findings.extend(about_local);
    findings.extend(runtime.block_on(checks::port::check(&subject, &netlink, local)));
    findings.extend(runtime.block_on(checks::kernel_vxlan::check(&subject, &host, &netlink)));
    findings.extend(checks::route::check_loops(&subject, &host));
    findings.extend(checks::route::check(&subject, &host, &ways));

    let (mtu, about_mtu) = checks::mtu::check(&subject, &host, carrier, &ways);
    let peers = ways.iter().filter(|(_, way)| way.is_ok()).map(|(peer, _)| *peer).collect();
    let arrival = checks::underlay::arrival(&host, local, carrier);
    let window = Window::open(&subject, &host, &Place { local, peers, carrier, arrival, mtu });
    let neighbours = runtime.block_on(netlink.neighbours()).unwrap_or_default();
    let later = subject.running.as_mut().and_then(|running| running.again());

    findings.extend(checks::next_hop::check(&ways, &host, &neighbours));
    findings.extend(checks::peer::check(&subject, later.as_ref(), &window.paths));
    findings.extend(checks::path_mtu::check(&subject, &window.paths));
    findings.extend(about_mtu);
    findings.extend(checks::address::check(&subject, &host));
    findings.extend(checks::ipv6::check(&subject));
    findings.extend(checks::rp_filter::check(&subject, &host, arrival, &ways));
    findings.extend(checks::firewall::check(&subject, later.as_ref(), &window));
    findings.extend(checks::arrivals::check(&subject, &host, &neighbours, later.as_ref()));
    findings.extend(checks::vni::check(&subject, later.as_ref(), &window));
    findings.extend(checks::strangers::check(&subject, later.as_ref(), &window));
    findings.extend(checks::duplicate::check(&subject, &host, &window));
    findings.extend(runtime.block_on(checks::forwarding::check(&subject, &host, &netlink, local, carrier)));
    findings.extend(checks::buffers::check(&subject));
    findings.extend(checks::limits::check());
    findings.extend(checks::offload::check(&subject));
    findings.extend(checks::clock::check());
    Ok(findings)
}

/// The edge where time enters.
#[expect(clippy::disallowed_methods, reason = "the doctor looks at a real network for a real second")]
fn now() -> Instant {
    Instant::now()
}
