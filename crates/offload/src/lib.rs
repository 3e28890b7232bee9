//! Superframes as pure functions: virtio_net_hdr, split, coalesce, checksums.
//! Never touches a device or a socket.
#![forbid(unsafe_code)]
