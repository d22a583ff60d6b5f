//! Limits: every bound of the media plane, with its reason.

use std::time::Duration;

/// Longest datagram read. RTP over G.711 at 60 ms is under 600 octets; an Ethernet MTU holds any
/// packet a well-behaved peer sends, and what is longer is truncated and then refused as malformed.
pub const MAX_DATAGRAM: usize = 1500;

/// Room kept behind a received datagram so that an SRTP tag can be appended in place
/// (16 octets for GCM; RFC 7714).
pub const TAG_ROOM: usize = 32;

/// Whole length of a packet buffer.
pub const BUFFER: usize = MAX_DATAGRAM + TAG_ROOM;

/// Packets read before commands are looked at again, so that a flip never waits for a flood.
pub const PACKETS_PER_TURN: usize = 64;

/// Commands obeyed before packets are looked at again, so that control traffic never stops media.
pub const COMMANDS_PER_TURN: usize = 64;

/// Requests waiting for one worker; beyond it the caller gets "busy" at once.
pub const COMMAND_QUEUE: usize = 256;

/// Events waiting to be told to the control plane; beyond it they are counted as lost. State is
/// always readable by snapshot, so nothing depends on an event arriving.
pub const EVENT_QUEUE: usize = 4096;

/// Accepted entries waiting to be delivered, each in a page of its own: more than all workers can
/// conclude before the control plane looks; beyond it a session fails.
pub const DELIVERY_QUEUE: usize = 1024;

/// Recording blocks waiting for the disk, over all calls of a worker (100 ms each).
pub const RECORD_QUEUE: usize = 4096;

/// Calls one worker will hold: both legs use a port pair, and the range has 5,000 pairs.
pub const MAX_CALLS: usize = 5000;

/// Subscriptions of one call: a recorder and whoever else listens. Each takes a pair of ports for each
/// party that it hears, and a frame of its own fifty times a second.
pub const MAX_SUBSCRIPTIONS: usize = 2;

/// Streams of one subscription: a call has two parties.
pub const MAX_COPIES: usize = 2;

/// How long a subscription waits for its first answer before its ports are given back: recorders
/// answer by themselves, and a request that nobody answers is given up by then (RFC 3261 section
/// 17.1.1.2, timer B: 32 s).
pub const UNANSWERED_SUBSCRIPTION: Duration = Duration::from_secs(60);

/// Links one worker will hold: legs whose peers are behind a WebSocket or an AudioSocket. Each takes
/// a task, and costs a few times what a leg on the network costs, so a core is full long before.
pub const MAX_LINKS: usize = 2048;

/// Longest datagram of a link: 20 ms of L16 at 24 kHz behind a fixed header, or 60 ms of G.711.
pub const LINK_DATAGRAM: usize = 972;

/// Datagrams that wait in one direction of a link (320 ms of voice): what a stall of the runtime
/// delays; what a slow peer delays more is lost, as on any line.
pub const LINK_FRAMES: usize = 16;

/// How long a flip waits for what the far end of a link is sending. An engine that has not taken a
/// frame by then is five frames behind, and loses its connection rather than the caller the cut.
pub const LINK_SETTLE: Duration = Duration::from_millis(100);

/// Time one generated frame lasts.
pub const FRAME: Duration = Duration::from_millis(20);

/// Generated frames leave at instants this far apart, for all calls of a worker together: a
/// thousand turns a second at most, where each of a thousand calls would take a hundred. A frame
/// comes at most so much later, a twentieth of what it lasts.
pub const GRID_STEP: Duration = Duration::from_millis(1);

/// Samples in one generated frame at 8 kHz.
pub const FRAME_SAMPLES: usize = 160;

/// Largest audio payload of one packet: 60 ms of G.711.
pub const MAX_FRAME: usize = 480;

/// Delay of caller-to-engine audio while armed, unless a request says otherwise: a detector needs
/// up to 38 ms and one packet more before it can know of a key.
pub const LOOK_AHEAD: Duration = Duration::from_millis(60);

/// The longest delay while armed: with more the parties talk over each other (ITU-T G.114 has
/// 400 ms for the whole way).
pub const MAX_LOOK_AHEAD: Duration = Duration::from_millis(200);

/// Audio of one party that is decoded at once: what a stall of the network brings in a burst.
pub const DECODE_BURST: Duration = Duration::from_millis(400);

/// How many times faster than it is spoken audio may be decoded over time: a sender's clock is never
/// twice ours.
pub const DECODE_PACE: u32 = 2;

/// What a packet counts for that says it lasts less: the shortest frame of Opus.
pub const DECODE_LEAST: Duration = Duration::from_micros(2500);

/// Frames that wait before the first is played where one codec becomes another: with one the next
/// would have to come on time.
pub const PLAYOUT_START: usize = 2;

/// Delay that late packets may add up to there: what a conversation bears (ITU-T G.114), and what
/// the jitter of a bad line of a mobile telephone comes to.
pub const PLAYOUT_SPARE: Duration = Duration::from_millis(200);

/// Frames (5 s of them) after which delay that was never needed is given back, a frame at a time.
pub const PLAYOUT_WINDOW: usize = 250;

/// Times that a sound may be played at once: music for those who wait for hours.
pub const MAX_REPEATS: u16 = 10_000;

/// The longest bound that may be put to a sound. Without one it ends by itself, or with its call.
pub const MAX_PLAY: Duration = Duration::from_secs(3600);

/// Keys that may wait to be pressed for a party: more than any number has that a script keys.
pub const PRESS_QUEUE: usize = 32;

/// How long a key may be pressed for a party, and how long a pause before it may be, at the least and
/// at the most: what proxies know of rtpengine.
pub const MIN_PRESS: Duration = Duration::from_millis(100);
/// See [`MIN_PRESS`].
pub const MAX_PRESS: Duration = Duration::from_secs(5);
/// See [`MIN_PRESS`].
pub const MIN_PRESS_PAUSE: Duration = Duration::from_millis(100);
/// See [`MIN_PRESS`].
pub const MAX_PRESS_PAUSE: Duration = Duration::from_secs(5);

/// How far a generated stream may fall behind before frames are skipped instead of sent in a burst.
pub const MAX_BACKLOG: Duration = Duration::from_millis(200);

/// Quiet that must be heard after a verdict before the route reopens: longer than the longest
/// pause inside a keyed sequence of end packets or an interrupted tone.
pub const DRAIN_QUIET: Duration = Duration::from_millis(500);

/// The same after a failure, and after an entry that time closed: the caller may be in the middle of
/// one that was cut short by a deadline, an operator or a pause, and go on keying.
pub const DRAIN_QUIET_UNFINISHED: Duration = Duration::from_millis(2_000);

/// Audio that must really have been heard in that quiet (half of it: 10 % loss and more is normal).
pub const DRAIN_HEARD: Duration = Duration::from_millis(250);

/// A pause between two packets of audio that is taken for a stall of the network, in which keys may
/// be on their way: longer than the usual packet times with the jitter of a bad line.
pub const DRAIN_STALL: Duration = Duration::from_millis(100);

/// Of packets that last longer than usual, what may come on top of their own time.
pub const DRAIN_JITTER: Duration = Duration::from_millis(60);

/// Mean amplitude of 16-bit audio above which a caller is taken to talk: about -33 dBm0, between
/// the noise of a bad line and a quiet voice.
pub const TALK_LEVEL: u16 = 500;

/// Samples of talk after which a caller is told to use the keypad: 2 s, longer than "hello?".
pub const TALK_ENOUGH: u32 = 16_000;

/// Draining longer than this raises an alarm and needs an operator.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// How often a draining session is looked at.
pub const DRAIN_TICK: Duration = Duration::from_millis(20);

/// How often the part of a recording that can no longer be taken back is fetched: one block.
pub const TAPE_TICK: Duration = Duration::from_millis(100);

/// SSRCs whose last sequence number is remembered over a cut, so that stragglers stay cut.
pub const CUT_MEMORY: usize = 4;

/// Consistent packets (same source and SSRC, consecutive sequence) that close a NAT latch.
pub const LATCH_PACKETS: u8 = 4;

/// RTCP report interval (RFC 3550 section 6.2 gives 5 s as the minimum for unicast pairs).
pub const RTCP_INTERVAL: Duration = Duration::from_secs(5);

/// Silence of a sending peer after which a call is ended.
pub const MEDIA_TIMEOUT: Duration = Duration::from_secs(60);

/// Time a port pair rests after use, so that stragglers of the last call reach nobody.
pub const PORT_QUARANTINE: Duration = Duration::from_secs(5);

/// Pairs tried before a call is refused because other programs hold the ports.
pub const BIND_ATTEMPTS: usize = 32;

const _: () = assert!(FRAME_SAMPLES as u128 == FRAME.as_millis() * 8);
const _: () = assert!(1_000_000 % GRID_STEP.as_nanos() == 0, "frames are whole milliseconds");
const _: () = assert!(MAX_FRAME >= FRAME_SAMPLES);
const _: () = assert!(DRAIN_HEARD.as_millis() <= DRAIN_QUIET.as_millis());
const _: () = assert!(DRAIN_QUIET.as_millis() < DRAIN_QUIET_UNFINISHED.as_millis());
const _: () = assert!(DRAIN_QUIET_UNFINISHED.as_millis() < DRAIN_LIMIT.as_millis());
const _: () = assert!(BUFFER > 12 + MAX_FRAME + TAG_ROOM);
