//! The rules of a segment, one a test. Where Linux's vxlan device has a rule it is the kernel's, as observed on 6.18;
//! where ours is another one on purpose, the test's name or a comment says so.

mod bench;
mod control;
mod frames;
mod guards;
mod health;
mod paths;
mod workers;
