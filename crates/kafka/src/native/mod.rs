//! What the safe bindings of the client library leave out: which partition an error is about
//! ([`events`]), and topic ids ([`topic_id`]). The only folder of the crate with `unsafe`, each
//! block with its proof; nothing native leaves it but values of our own.

pub(crate) mod events;
pub(crate) mod topic_id;
