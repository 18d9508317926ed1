//! What a person types: commands, their output, their errors.
