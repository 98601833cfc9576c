//! The daemon between scripted sources and platforms on loopback, one module per behaviour. See README.md.

// Tests may unwrap; without `cfg(test)` items the lint does not see that all of this is one.
#![allow(clippy::unwrap_used)]

mod clients_of_http;
mod crashes;
mod egress;
mod failover;
mod fixtures_match_their_dumps;
mod http_side;
mod inputs_that_misbehave;
mod inputs_that_return;
mod limits_of_http;
mod outputs_over_tls;
mod outputs_that_refuse;
mod outputs_that_stall;
mod process;
mod publishers_over_tls;
mod push_inputs;
mod relays_to_every_output;
mod reload;
mod service;
mod shortages;
mod stage;
mod strangers_at_the_ingest;
mod telling;
mod vod_inputs;
