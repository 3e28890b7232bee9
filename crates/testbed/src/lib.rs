//! Hosts in namespaces with links between them: the ground that the lab, the benches and the tests build on.
//! Never touches a device outside the namespaces it made.
#![forbid(unsafe_code)]
