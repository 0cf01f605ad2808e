//! Times that can be believed, and what is made of them.
//!
//! From the ground up: [`shape`] says which steps are alike; [`sample`] times some of one shape as a training takes them, and
//! [`repeat`] takes one step over and over; [`predict`] adds such times up to that of a training that nobody has begun;
//! [`sets`] keeps a machine's times as a file of the study; [`rounds`] takes them, in processes of their own, and again where
//! somebody disturbed them; [`confirm`] decides for a whole study what is timed first, how long, and in how many visits;
//! [`roofline`] holds a step, part by part, against what the machine can do.

pub mod confirm;
pub mod predict;
pub mod repeat;
pub mod roofline;
pub mod rounds;
pub mod sample;
pub mod sets;
pub mod shape;
pub mod stand_in;
