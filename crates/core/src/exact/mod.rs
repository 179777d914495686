//! The exact float accumulator (see the module's files). To be filled.
