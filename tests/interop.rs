//! The daemon between real programs: ffmpeg as source, publisher, server and player, nginx with its RTMP module as
//! platform. What arrived is compared packet by packet with what was sent.
//!
//! | module | behaviour |
//! |---|---|
//! | `outputs` | a pulled stream arrives whole; a platform that dies and returns disturbs no other |
//! | `push` | a published stream arrives whole, over RTMP and RTMPS |
//! | `failover` | a backup of another encode takes over within one publish session |
//! | `twins` | one encode served twice: a killed or frozen primary costs no packet |
//! | `vod` | a looped file is one endless stream |
//! | `clock` | the system's clock jumps, as libfaketime tells it |
//! | `preview` | `/live/{relay}.flv` is read without a complaint |
//!
//! `compare.rs` holds what is true of every recording, and its own tests that each difference is found.

// Tests may unwrap; without `cfg(test)` items the lint does not see that all of this is one.
#![allow(clippy::unwrap_used)]

#[path = "interop/clip.rs"]
mod clip;
#[path = "interop/compare.rs"]
mod compare;
#[path = "interop/ffmpeg.rs"]
mod ffmpeg;
#[path = "interop/nginx.rs"]
mod nginx;
#[path = "interop/programs.rs"]
mod programs;
#[allow(dead_code, reason = "shared with the integration tests, which use all of it")]
mod stage;

#[path = "interop/clock.rs"]
mod clock;
#[path = "interop/failover.rs"]
mod failover;
#[path = "interop/outputs.rs"]
mod outputs;
#[path = "interop/preview.rs"]
mod preview;
#[path = "interop/push.rs"]
mod push;
#[path = "interop/systemd.rs"]
mod systemd;
#[path = "interop/twins.rs"]
mod twins;
#[path = "interop/vod.rs"]
mod vod;
