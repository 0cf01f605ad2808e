//! Fast operations as candle custom ops, each beside its plain version in [`reference`].

pub mod reference;
