//! What only the system and the server know of the process; INFO and the metrics show it.

/// What the system and the server know of this process. The server writes it before it runs INFO or answers a scrape.
#[derive(Clone, Debug, Default)]
pub struct ProcessStats {
    pub connected_clients: u64,
    /// Bytes of buffers that clients hold.
    pub buffer_bytes: u64,
    /// Commands executed a second, over the last second or since the last turn of an idle server.
    pub commands_per_second: u64,
    /// Resident memory of the process in bytes, and the most it has been.
    pub resident_bytes: u64,
    pub resident_peak_bytes: u64,
    /// Processor time of the process in microseconds: user, system.
    pub cpu_user_us: u64,
    pub cpu_system_us: u64,
    pub process_id: u32,
    /// Ports that are listened on; 0: none.
    pub tcp_port: u16,
    pub udp_port: u16,
    /// Since start.
    pub uptime_ms: u64,
    /// When the process started, Unix time.
    pub started_unix_ms: u64,
    /// Descriptors that the process has open, and may have; 0: not known.
    pub open_descriptors: u64,
    pub max_descriptors: u64,
    /// Turns of the loop over the sockets, the time spent in them, and the slowest of the last half to whole minute.
    pub turns: u64,
    pub busy_us: u64,
    pub slowest_turn_us: u64,
    /// Receives from the datagram socket that failed, and replies that it did not take.
    pub udp_receive_errors: u64,
    pub udp_send_errors: u64,
    /// Channels, patterns and sharded channels with a subscriber; clients that are subscribed to something.
    pub pubsub_channels: u64,
    pub pubsub_patterns: u64,
    pub pubsub_shard_channels: u64,
    pub pubsub_clients: u64,
    /// Clients whose next command a pause, or a disk that is behind, holds.
    pub held_clients: u64,
    /// Clients that track keys, what is noted of their reads, how much may be, and their prefixes.
    pub tracking_clients: u64,
    pub tracking_items: u64,
    pub tracking_items_max: u64,
    pub tracking_prefixes: u64,
    /// Subscriptions, how many there may be, and the bytes that they take.
    pub subscriptions: u64,
    pub subscriptions_max: u64,
    pub subscription_bytes: u64,
    /// Clients whose writes over frames are remembered; sessions ever opened, and dropped.
    pub frame_sessions: u64,
    pub frame_sessions_opened: u64,
    pub frame_sessions_dropped: u64,
}
