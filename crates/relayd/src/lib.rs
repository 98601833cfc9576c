//! relayd: one live stream in, many platforms out, on a machine of your own.
//!
//! This crate is the shell around `relay`, `rtmp` and `flv`: sockets, clocks, files and signals. See ARCHITECTURE.md.

mod accept;
mod address_block;
pub mod cli;
mod clock;
pub mod config;
pub mod daemon;
pub mod egress;
pub mod events;
pub mod fanout;
pub mod http;
pub mod ingest;
pub mod input;
mod keep_up;
pub mod lanes;
pub mod log_writer;
pub mod logging;
pub mod output;
pub mod panic_hook;
pub mod relay_task;
pub mod reload;
pub mod resolver;
pub mod secret;
mod signals;
pub mod status;
pub mod stream;
pub mod systemd;
pub mod test_hooks;
mod throttle;
pub mod tls;
