//! Which tokens a decoder keeps of a row, and how it steers itself by what they tell.

mod mirostat;
mod next_token;
mod switch;

pub use mirostat::{Mirostat, MirostatStep, SurpriseOf};
pub use next_token::NextToken;
pub use switch::{DecodingModel, EntropySwitch, SwitchStep};
