//! The daemon between scripted sources and platforms on loopback, one module per behaviour. See README.md.

// Tests may unwrap; without `cfg(test)` items the lint does not see that all of this is one.
#![allow(clippy::unwrap_used)]

mod failover;
mod fixtures_match_their_dumps;
mod http_side;
mod inputs_that_misbehave;
mod inputs_that_return;
mod outputs_over_tls;
mod outputs_that_refuse;
mod outputs_that_stall;
mod process;
mod push_inputs;
mod relays_to_every_output;
mod stage;
mod telling;
mod vod_inputs;
