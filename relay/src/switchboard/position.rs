//! Position: where a packet stands on the stream that it came by.

/// Where a packet of the other party comes from on its own stream.
#[derive(Clone, Copy)]
pub(super) struct Position {
    /// Its synchronisation source.
    pub(super) ssrc: u32,
    /// Its sequence number.
    pub(super) sequence: u16,
    /// Its timestamp.
    pub(super) timestamp: u32,
    /// Samples the packet spans.
    pub(super) samples: u32,
    /// Its marker.
    pub(super) marker: bool,
}
