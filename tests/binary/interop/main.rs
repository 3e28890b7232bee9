//! vxgate beside the kernel's own vxlan device, against kernel peers and against scripted ones, in namespaces.
//!
//! Each scenario runs twice, with the kernel's device and with vxgate as the device under test, and answers a verdict:
//! what was seen on the wire, on the overlay and in the forwarding database. The verdicts must be equal and right. Where
//! vxgate decides otherwise on purpose, both verdicts are asserted and a comment names the row of "Differences from
//! Linux" in docs/rfc7348.md.
//!
//! This suite belongs to `crates/cli`, which alone is told the binary's path.

#[cfg(test)]
mod flooding;
#[cfg(test)]
mod learning;
#[cfg(test)]
mod outer;
#[cfg(test)]
mod receipt;
#[cfg(test)]
mod support;
#[cfg(test)]
mod too_big;
#[cfg(test)]
mod traffic;
