//! What each target does with its octets: the properties of the plain tests (`tests/offload_properties`).

#[path = "../../tests/offload_properties/properties/mod.rs"]
mod properties;

/// Frames that are joined are the frames that came.
pub fn coalesce(data: &[u8]) {
    properties::coalesce::check_script(data);
    properties::coalesce::check_octets(data);
}

/// A superframe is cut into what a host would have sent; one that lies is refused or keeps its payload.
pub fn split(data: &[u8]) {
    properties::split::check_superframe(data);
    properties::split::check_lie(data);
}

/// Any header in front of any octets is refused or keeps the payload.
pub fn work_from_virtio(data: &[u8]) {
    properties::split::check_virtio(data);
}
