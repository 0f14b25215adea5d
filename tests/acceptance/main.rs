//! Every promise of the contract, kept by the real program.
