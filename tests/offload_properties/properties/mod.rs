//! What must hold for any octets: shared by the plain tests and the fuzz targets (`fuzz/`), which choose the octets.
//!
//! Nothing here uses the crate's own sums: frames are built, and checked, by the slowest code that serves.

pub(crate) mod coalesce;
pub(crate) mod frames;
pub(crate) mod script;
pub(crate) mod split;
