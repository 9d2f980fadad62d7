//! The limits and identities of the losses, on random rows.
